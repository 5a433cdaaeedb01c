"""What a lock file holds: the compiler's answers with the pins of everything that is fetched, and the same as a
BuildKit source policy.
"""

from __future__ import annotations

from collections.abc import Callable

from dockc.compiler.questions import Answers, converse
from dockc.engine.compile import asker, compile_all
from dockc.engine.pins import loose_sources
from dockc.engine.request import CompileRequest, load
from dockc.errors import HIDDEN, DockcError


def find_out(request: CompileRequest, log: Callable[[str], object]) -> Answers:
    """Everything that belongs into a lock file: what the compiler asked, and the sources that are fetched in the build.

    Files of the context do not belong there; they are at hand in every checkout.

    Raises:
        DockcError: the file does not compile, or something cannot be found out.
    """
    inputs = load(request)
    compiled, answers = converse(compile_all(request, inputs, log), asker(request, inputs))
    open_questions = {one: None for each in compiled for one in loose_sources(each.module) if not answers.has(one)}
    if open_questions:
        from dockc.engine.world import ask_world

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


def pins(answers: Answers) -> list[dict[str, str]]:
    """What each source is pinned to, by a name for people."""
    return [{"source": name, "pin": pin} for name, (pin, _) in sorted(_named(answers).items())]


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
    for url in sorted(answers.http):
        if digest := answers.http[url].digest:
            # A lock file knows a URL without its password; the policy's selector must meet the whole one.
            selector = url.replace(HIDDEN, "*")
            updates: dict[str, object] = {"attrs": {"http.checksum": digest}}
            rules.append(_convert(selector, updates, match="EXACT" if selector == url else "WILDCARD"))
    for identifier in sorted(answers.git):
        if commit := answers.git[identifier].commit:
            base = identifier.partition("#")[0]
            _, colon, subdir = identifier.partition("#")[2].partition(":")
            rules.append(_convert(identifier, {"identifier": f"{base}#{commit}{colon}{subdir}"}))
    return {"version": 1, "rules": rules}


def _convert(identifier: str, updates: dict[str, object], *, match: str = "EXACT") -> dict[str, object]:
    return {"action": "CONVERT", "selector": {"identifier": identifier, "match_type": match}, "updates": updates}
