"""`dockc lock`: the compiler's answers written down, and the same pins as a BuildKit source policy.

The lock file is an answers file (see `compiler.resolve`) with image configs, digests, commits and download digests of everything that
the Dockerfile takes from outside. `--locked` compiles with these answers alone, and holds every source to them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from dockc import frontend
from dockc.compiler.resolve import Answers
from dockc.errors import DockcError, UsageError
from dockc.frontend import CompileRequest
from dockc.pins import loose_sources


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
    answers = find_out(request, log)
    if check:
        try:
            text = path.read_text("utf-8")
        except OSError as exc:
            raise UsageError(f"cannot read {path}: {exc.strerror}", hint="Make it with `dockc lock`.") from exc
        except UnicodeDecodeError as exc:
            raise UsageError(f"cannot read {path}: not UTF-8 text") from exc
        changes = differences(Answers.load(text, str(path)), answers)
        if changes:
            log(f"{path} is out of date\n" + "".join(f"  {change}\n" for change in changes))
        return 1 if changes else 0
    _write(path, answers.dump())
    log(f"{path}: {len(answers.images)} images, {len(answers.git)} git commits, {len(answers.http)} downloads\n")
    if policy is not None:
        _write(policy, json.dumps(source_policy(answers), indent=1) + "\n")
    return 0


def find_out(request: CompileRequest, log: Callable[[str], object]) -> Answers:
    """Everything that belongs into a lock file: what the compiler asked, and the sources that are fetched in the build.

    Files of the context do not belong there; they are at hand in every checkout.

    Raises:
        DockcError: the file does not compile, or something cannot be found out.
    """
    inputs = frontend.load(request)
    compiled, answers = frontend.compile_all(request, inputs, log)
    open_questions = {one: None for each in compiled for one in loose_sources(each.module) if not answers.has(one)}
    if open_questions:
        from dockc.remote import ask_world

        answers = answers.merged(ask_world(tuple(open_questions), inputs, request.store))
    for one in answers.images.values():
        if one.error:
            raise DockcError(f"{one.ref}: {one.error}")
    return Answers(images=answers.images, http=answers.http, git=answers.git)


def differences(old: Answers, new: Answers) -> list[str]:
    """What is in one of two lock files only, or is something else there, a line each."""
    before, after = _named(old), _named(new)
    lines = []
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was is None:
            lines.append(f"{name}: not in the lock file")
        elif now is None:
            lines.append(f"{name}: not used any more")
        elif was[0] != now[0]:
            lines.append(f"{name}: {was[0] or 'unknown'} in the lock file, {now[0] or 'unknown'} now")
        elif was != now:
            lines.append(f"{name}: other details")
    return lines


def _named(answers: Answers) -> dict[str, tuple[str, object]]:
    """By a name for people: what identifies the content, and everything that is known."""
    named: dict[str, tuple[str, object]] = {}
    for (ref, platform, store), image in answers.images.items():
        place = f" in store {store}" if store else ""
        named[f"image {ref} for {platform}{place}"] = (image.digest, (image.ref, image.config))
    for url, http in answers.http.items():
        named[url] = (http.digest, (http.last_modified, http.newest, http.archive))
    for identifier, git in answers.git.items():
        named[identifier] = (git.commit, git.commit_object)
    return named


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
    dockerfile = frontend.dockerfile_path(request)
    if dockerfile is None:
        raise UsageError("a Dockerfile from standard input needs --output for its lock file")
    return Path(f"{dockerfile}.lock")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}") from exc
