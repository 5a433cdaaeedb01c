"""What may come next on a command line, for shells: `dockc __complete -- WORDS...` prints candidates, one a line, with
a tab and a sentence.

The last word is the one being typed. A line of `:file` or `:directory` asks the shell for its own names. Whatever goes
wrong gives no candidates: nobody
wants an error while they type.
"""

from __future__ import annotations

import os

from dockc.base.options import FLAG, LIST, PATH
from dockc.line.verbs import GROUPS, command, members, verb_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dockc.base.options import Options, Row

Candidate = tuple[str, str]
_MOST = 1 << 20


def candidates(words: Sequence[str]) -> Iterator[Candidate]:
    """Candidates for the last word.

    Args:
        words: the line after `dockc`; the last is what is being typed, perhaps "".
    """
    *before, typed = words or [""]
    verb, rest = verb_of(before)
    if not verb:
        yield from _verbs(before, typed)
        return
    options, _ = command(verb)
    rows = options.table()
    by_flag = {flag: row for row in rows for flag in (*row.flags, *row.off)}
    row = by_flag.get(rest[-1]) if rest else None
    flag, equals, value = typed.partition("=")
    if row is not None and row.kind != FLAG:
        yield from _values(row, typed, options, rest)
    elif typed.startswith("--") and equals and flag in by_flag:
        yield from (
            (f"{flag}={word}" if not word.startswith(":") else word, text)
            for word, text in _values(by_flag[flag], value, options, rest)
        )
    elif typed.startswith("-"):
        yield from ((name, one.help) for name, one in by_flag.items() if name.startswith(typed) and not one.hidden)
    else:
        yield from _argument(rows, rest, by_flag, typed, options)


def _verbs(before: Sequence[str], typed: str) -> Iterator[Candidate]:
    from dockc.line.help import summary

    group = " ".join(before)
    if group and group not in GROUPS:
        return
    for word, name in members(group):
        if word.startswith(typed):
            yield word, GROUPS.get(name) or summary(command(name)[0])


def _argument(
    rows: Sequence[Row], rest: Sequence[str], by_flag: dict[str, Row], typed: str, options: type[Options]
) -> Iterator[Candidate]:
    """Values of the argument that comes next."""
    places = [row for row in rows if not row.flags]
    given, skip = 0, False
    for word in rest:
        if skip:
            skip = False
        elif word.startswith("-") and word != "-":
            skip = word in by_flag and by_flag[word].kind != FLAG
        else:
            given += 1
    for row in places[given:] or [row for row in places[-1:] if row.kind == LIST]:
        yield from _values(row, typed, options, rest)
        return


def _values(row: Row, typed: str, options: type[Options], rest: Sequence[str]) -> Iterator[Candidate]:
    """Values of one option or argument that begin with what is typed."""
    kind = row.completes or ("file" if row.kind == PATH else "")
    head, comma, last = typed.rpartition(",") if kind in ("rule", "pass") else ("", "", typed)
    if kind in ("file", "directory"):
        yield f":{kind}", ""
        return
    found = _named(kind, options, rest)
    yield from ((head + comma + word, text) for word, text in found if word.startswith(last))


def _named(kind: str, options: type[Options], rest: Sequence[str]) -> Iterator[Candidate]:
    match kind:
        case "rule":
            from dockc.linter.registry import all_rules

            yield from ((rule.code, rule.name) for rule in sorted(all_rules(), key=lambda rule: rule.code))
        case "pass":
            from dockc.compiler.passes import get_pass, names

            yield from ((name, (get_pass(name).__doc__ or "").strip().split("\n")[0]) for name in names())
        case "stage":
            yield from ((name, "a stage") for name in _stages(options, rest))
        case "image":
            yield from _images()
        case _:
            yield from ((word, "") for word in kind.split("|") if word)


def _stages(options: type[Options], rest: Sequence[str]) -> list[str]:
    """Names of the stages of the Dockerfile that the line is about."""
    from dockc.compiler.compile import read as read_front
    from dockc.grammar.source import Source, decode
    from dockc.line.read import read

    line = read(options, rest[:-1] if rest and rest[-1].startswith("-") else rest, os.environ)
    context, file = getattr(line, "context", "."), getattr(line, "file", "")
    path = file or next(
        (p for p in (os.path.join(context, name) for name in ("Dockerfile", "dockerfile")) if os.path.isfile(p)), ""
    )
    if not path or not os.path.isfile(path):
        return []
    with open(path, "rb") as stream:
        text = decode(stream.read(_MOST))
    dockerfile = read_front(Source.from_text(text, path)).result.dockerfile
    return [stage.name for stage in dockerfile.stages if stage.name] if dockerfile is not None else []


def _images() -> Iterator[Candidate]:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.store.images import listing
    from dockc.runtime.store.place import default_root

    root = default_root() / "content"
    if root.is_dir():
        for image in listing(ContentStore(root)):
            yield image.name, ", ".join(image.platforms)
