"""`dockc lock`: the compiler's answers written down, and the same pins as a BuildKit source policy.

The lock file is an answers file (see `compiler.resolve`) with image configs, digests, commits and download digests of everything that
the Dockerfile asks about. `--locked` compiles with these answers alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dockc import frontend
from dockc.errors import UsageError
from dockc.frontend import CompileRequest

if TYPE_CHECKING:
    from dockc.compiler.resolve import Answers


def lock_command(
    request: CompileRequest, *, output: Path | None, check: bool, policy: Path | None, log: Callable[[str], object]
) -> int:
    """Compile, and write or compare what was answered.

    Returns:
        0, or 1 when `check` finds the file out of date.

    Raises:
        DockcError: the file does not compile, or something cannot be found out.
    """
    path = output or _default_path(request)
    inputs = frontend.load(request)
    _, answers = frontend.compile_all(request, inputs, log)
    text = pinned(answers).dump()
    if check:
        try:
            same = path.read_text("utf-8") == text
        except OSError as exc:
            raise UsageError(f"cannot read {path}: {exc.strerror}", hint="Make it with `dockc lock`.") from exc
        if not same:
            log(f"{path} is out of date\n")
        return 0 if same else 1
    _write(path, text)
    log(f"{path}: {len(answers.images)} images, {len(answers.git)} git commits, {len(answers.http)} downloads\n")
    if policy is not None:
        _write(policy, json.dumps(source_policy(answers), indent=1) + "\n")
    return 0


def pinned(answers: Answers) -> Answers:
    """What belongs into a lock file: everything but the files of the context, which are at hand in every checkout."""
    from dockc.compiler.resolve import Answers

    return Answers(images=answers.images, http=answers.http, git=answers.git)


def source_policy(answers: Answers) -> dict[str, object]:
    """The pins as a BuildKit source policy: rules that turn each source into its exact version.

    Source: BuildKit, docs/build-repro.md and sourcepolicy/pb/policy.proto (actions ALLOW, DENY, CONVERT).
    """
    rules: list[dict[str, object]] = []
    seen: set[str] = set()
    for ref, platform, store in sorted(answers.images):
        answer = answers.images[ref, platform, store]
        if store or not answer.digest or "@" in ref or ref in seen:
            continue
        seen.add(ref)
        identifier = f"docker-image://{ref}"
        rules.append(_convert(identifier, {"identifier": f"{identifier}@{answer.digest}"}))
    rules += [
        _convert(url, {"attrs": {"http.checksum": answers.http[url].digest}})
        for url in sorted(answers.http)
        if answers.http[url].digest
    ]
    for identifier in sorted(answers.git):
        if commit := answers.git[identifier].commit:
            base = identifier.partition("#")[0]
            _, colon, subdir = identifier.partition("#")[2].partition(":")
            rules.append(_convert(identifier, {"identifier": f"{base}#{commit}{colon}{subdir}"}))
    return {"version": 1, "rules": rules}


def _convert(identifier: str, updates: dict[str, object]) -> dict[str, object]:
    return {"action": "CONVERT", "selector": {"identifier": identifier, "match_type": "EXACT"}, "updates": updates}


def _default_path(request: CompileRequest) -> Path:
    if request.file == "-":
        raise UsageError("a Dockerfile from standard input needs --output for its lock file")
    dockerfile = Path(request.file) if request.file else Path(request.context) / "Dockerfile"
    return dockerfile.with_name(dockerfile.name + ".lock")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}") from exc
