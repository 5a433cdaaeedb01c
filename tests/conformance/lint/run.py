"""One case: what lint says in a peer's profile, and how that differs from what the peer said."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dockc.compiler.checks import Warning
from dockc.compiler.compile import read
from dockc.grammar.source import Source
from dockc.linter.checks import check
from dockc.linter.config import hadolint_file
from dockc.linter.options import Checker, LintOptions
from dockc.linter.runner import lint_source

PROFILES = ("hadolint", "buildkit")
UNPARSEABLE = "DL1000"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A Dockerfile, a profile, options, and the peer's answer."""

    name: str
    profile: str
    source: bytes
    options: LintOptions
    expected: Any
    unstable: bool = False

    @property
    def needs_shellcheck(self) -> bool:
        """Whether the expectation holds findings of ShellCheck."""
        return self.profile == "hadolint" and any(item["code"].startswith("SC") for item in self.expected)


def load(directory: Path, profiles: Sequence[str] = PROFILES) -> Iterator[Case]:
    """All cases below a directory, in either layout."""
    corpus = (directory / "manifest.json").is_file()
    yield from (_corpus if corpus else _cases)(directory, profiles)


def _cases(directory: Path, profiles: Sequence[str]) -> Iterator[Case]:
    for path in sorted(directory.rglob("*.Dockerfile")):
        stem = path.name.removesuffix(".Dockerfile")
        name = path.relative_to(directory).as_posix().removesuffix(".Dockerfile")
        for profile in profiles:
            expectation = path.with_name(f"{stem}.{profile}.json")
            if expectation.is_file():
                options = (_hadolint if profile == "hadolint" else _buildkit)(path, stem)
                expected = json.loads(expectation.read_bytes())
                yield Case(name=name, profile=profile, source=path.read_bytes(), options=options, expected=expected)


def _hadolint(path: Path, stem: str) -> LintOptions:
    options = LintOptions(profile="hadolint")
    config = path.with_name(f"{stem}.hadolint.yaml")
    return hadolint_file(config.read_text(), config.name).options(options) if config.is_file() else options


def _buildkit(path: Path, stem: str) -> LintOptions:
    given: dict[str, Any] = {}
    file = path.with_name(f"{stem}.opts.json")
    if file.is_file():
        given = json.loads(file.read_bytes())
    ignore = path.with_name(f"{path.name}.dockerignore")
    return LintOptions(
        profile="buildkit",
        attrs={f"build-arg:{key}": value for key, value in given.get("build-args", {}).items()},
        images=given.get("image-arch", {}),
        ignore_file=ignore.read_bytes() if ignore.is_file() else None,
    )


def _corpus(directory: Path, profiles: Sequence[str]) -> Iterator[Case]:
    for entry in json.loads((directory / "manifest.json").read_bytes()):
        file = entry["file"]
        source = (directory / file).read_bytes()
        peer = directory / "expected-hadolint" / f"{file}.json"
        if "hadolint" in profiles and peer.is_file():
            options = LintOptions(profile="hadolint")
            yield Case(
                name=file, profile="hadolint", source=source, options=options, expected=json.loads(peer.read_bytes())
            )
        built = directory / "expected" / f"{file}.json"
        if "buildkit" in profiles and built.is_file():
            expected = json.loads(built.read_bytes())
            if "lint" in expected:
                yield Case(
                    name=file,
                    profile="buildkit",
                    source=source,
                    options=LintOptions(profile="buildkit"),
                    expected=_from_build(expected),
                    unstable="lint" in expected.get("unstable", ()),
                )


def _from_build(expected: dict[str, Any]) -> dict[str, Any]:
    """The result of a check-only run in the form of the lint cases."""
    out: dict[str, Any] = {
        "warnings": [
            {
                "ruleName": item["rule"],
                "description": item["description"],
                "url": item.get("url", ""),
                "detail": item["message"],
                "ranges": [{"start": {"line": r["start"][0]}, "end": {"line": r["end"][0]}} for r in item["ranges"]],
            }
            for item in expected["lint"]["warnings"]
        ]
    }
    if problem := expected["lint"].get("build_error"):
        ranges = [{"start": {"line": r["start"][0]}, "end": {"line": r["end"][0]}} for r in problem.get("ranges", ())]
        message = problem["message"]
        out["buildError"] = {"message": message, "ranges": ranges}
        out["alternatives"] = expected.get("error", {}).get("alternatives", ())
    return out


# --- comparing ----------------------------------------------------------------------------------------


def differences(case: Case, checker: Checker | None) -> list[str]:
    """What is not as expected; [] when all is well."""
    return _against_hadolint(case, checker) if case.profile == "hadolint" else _against_buildkit(case)


def unparseable(case: Case) -> bool:
    """Whether the peer could not parse the file, so that it says nothing about it."""
    return case.profile == "hadolint" and any(item["code"] == UNPARSEABLE for item in case.expected)


def _against_hadolint(case: Case, checker: Checker | None) -> list[str]:
    if unparseable(case):
        return []
    report = lint_source(Source("Dockerfile", case.source), replace(case.options, checker=checker))
    actual = [(f.line, f.code, f.severity.value, f.message) for f in report.findings]
    expected = [(i["line"], i["code"], i["level"], i["message"]) for i in case.expected]
    if checker is None:
        expected = [item for item in expected if not item[1].startswith("SC")]
    return _multisets(actual, expected)


def _against_buildkit(case: Case) -> list[str]:
    result = check(read(Source("Dockerfile", case.source)), case.options)
    actual = [_warning(w) for w in result.warnings]
    expected = [
        (w["ruleName"], w["detail"], w["description"], w.get("url", ""), _ranges(w["ranges"]))
        for w in case.expected["warnings"]
    ]
    found = _multisets(actual, expected)
    problem = case.expected.get("buildError")
    error = result.error
    if problem is None or error is None:
        if problem is not None:
            found.append(f"no build error, but expected: {problem['message']}")
        if error is not None:
            found.append(f"unexpected build error: {error.message}")
        return found
    accepted = (problem["message"], *case.expected.get("alternatives", ()))
    # The reference names the rules in random order.
    same = _names(error.message) == _names(problem["message"]) and (
        case.unstable or error.message.startswith("lint violation found for rules: ")
    )
    if error.message not in accepted and not same:
        found.append(f"build error: {error.message!r}, expected {problem['message']!r}")
    lines = _merged(item for location in error.locations for item in location)
    if lines != _ranges(problem["ranges"]):
        found.append(f"build error's lines: {lines}, expected {_ranges(problem['ranges'])}")
    return found


def _warning(warning: Warning) -> tuple[Any, ...]:
    lines = tuple((line, line) for line in warning.lines)
    return (warning.rule, warning.message, warning.description, warning.url, lines)


def _ranges(ranges: Any) -> tuple[tuple[int, int], ...]:
    return tuple((r["start"]["line"], r["end"]["line"]) for r in ranges)


def _merged(ranges: Iterator[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)


def _names(message: str) -> set[str]:
    return set(message.partition(": ")[2].split(", "))


def _multisets(actual: Sequence[tuple[Any, ...]], expected: Sequence[tuple[Any, ...]]) -> list[str]:
    have, want = Counter(actual), Counter(expected)
    found = [f"missing: {_line(item)}" for item in (want - have).elements()]
    found += [f"too much: {_line(item)}" for item in (have - want).elements()]
    if not found and list(actual) != list(expected) and [i[0] for i in actual] != [i[0] for i in expected]:
        found.append("order: not as expected")
    return found


def _line(item: tuple[Any, ...]) -> str:
    return " ".join(str(part) for part in item)
