"""Comments that steer lint: hadolint's pragmas, BuildKit's `check=`, and dockc's own.

# hadolint ignore=DL3008,SC2086        findings of the next instruction (for hadolint itself: on the line right below)
# hadolint global ignore=DL3008        the whole file
# hadolint stage ignore=DL3008         the stage whose FROM is right below
# hadolint shell=powershell            what ShellCheck assumes from here on
# dockc ignore=DL3008,DK0203 reason    findings of the next instruction, wherever they stand in it
# check=skip=StageNameCasing           BuildKit's own
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping

from dockc.base.pattern import pattern
from dockc.base.record import Record
from dockc.grammar.source import Span
from dockc.linter.context import Context

_CODES = r"[DLSC0-9]+(?:[ \t]*,[ \t]*[DLSC0-9]+)*"
_REASON = r"[ \t]*(?:#[^\n]*)?"
_HADOLINT = pattern(rf"[ \t]*hadolint[ \t]+(?:(global|stage)[ \t]+)?ignore[ \t]*=[ \t]*({_CODES}){_REASON}")
_SHELL = pattern(rf"[ \t]*hadolint[ \t]+shell[ \t]*=[ \t]*([^\n\t #]+){_REASON}")
_OWN = pattern(r"[ \t]*dockc[ \t]+ignore[ \t]*=[ \t]*([A-Za-z0-9_\-]+(?:[ \t]*,[ \t]*[A-Za-z0-9_\-]+)*)(?:[ \t]+(.*))?")


def is_pragma(comment: str) -> bool:
    """Whether a comment, `#` included, steers lint."""
    body = comment.strip().removeprefix("#").rstrip()
    return any(known.fullmatch(body) for known in (_HADOLINT, _SHELL, _OWN))


class Pragma:
    """One suppressing comment.

    Attributes:
        kind: `line`, `global`, `stage` or `own`.
        codes: what it suppresses.
        line: its own line.
        span: the comment.
        first, last: lines it covers; (1, 0) when it covers nothing.
        reason: free text of an own one.
        used: codes that it has suppressed; filled while findings are filtered.
    """

    __slots__ = ("codes", "first", "kind", "last", "line", "reason", "span", "used")

    def __init__(self, kind: str, codes: frozenset[str], line: int, span: Span, *, reason: str = "") -> None:
        self.kind = kind
        self.codes = codes
        self.line = line
        self.span = span
        self.first = 1
        self.last = 0
        self.reason = reason
        self.used: set[str] = set()

    def covers(self, code: str, line: int) -> bool:
        """Whether it suppresses this."""
        return code in self.codes and self.first <= line <= self.last


class Pragmas(Record):
    """All of a file's pragmas, and where ShellCheck's shell changes: `(line, shell)`.

    `wide` has those of a stage or the file by code; `narrow` those of one instruction, by code and in order of the
    lines they cover.
    """

    items: tuple[Pragma, ...]
    shells: tuple[tuple[int, str], ...]
    wide: Mapping[str, tuple[Pragma, ...]]
    narrow: Mapping[str, tuple[Pragma, ...]]

    def suppress(self, code: str, line: int) -> bool:
        """Whether a finding is suppressed; marks what did it."""
        hit = False
        narrow = self.narrow.get(code, ())
        at = bisect_right(narrow, line, key=lambda item: item.first)
        first = narrow[at - 1].first if at else 0
        while at and narrow[at - 1].first == first:  # those of one instruction
            at -= 1
            if narrow[at].covers(code, line):
                narrow[at].used.add(code)
                hit = True
        for item in self.wide.get(code, ()):
            if item.covers(code, line):
                item.used.add(code)
                hit = True
        return hit

    def unused(self) -> Iterable[tuple[Pragma, frozenset[str]]]:
        """Pragmas with the codes that suppressed nothing."""
        for item in self.items:
            left = item.codes - item.used
            if left:
                yield item, left


def read(context: Context) -> Pragmas:
    """Find the pragmas of a file."""
    items: list[Pragma] = []
    shells: list[tuple[int, str]] = []
    last_line = len(context.source.line_starts) + 1
    starts = sorted(stage[0].line for stage in context.stages if stage)
    for line, comment in context.comments:
        text = context.source.text[comment.span.start : comment.span.end].strip().lstrip("\ufeff")
        body = text.removeprefix("#")
        if "hadolint" not in body and "dockc" not in body:
            continue
        if found := _HADOLINT.fullmatch(body):
            scope, codes = found[1] or "line", frozenset(c.strip() for c in found[2].split(","))
            item = Pragma(scope, codes, line, comment.span)
            match scope:
                case "line" if context.parity:
                    item.first = item.last = line + 1
                case "line":
                    _cover_next(item, context)
                case "global":
                    item.first, item.last = 1, last_line
                case _:
                    item.first, item.last = _stage(context, line, starts, last_line)
            items.append(item)
        elif found := _SHELL.fullmatch(body):
            shells.append((line, found[1]))
        elif found := _OWN.fullmatch(body.rstrip()):
            codes = frozenset(c.strip() for c in found[1].split(","))
            item = Pragma("own", codes, line, comment.span, reason=(found[2] or "").strip())
            _cover_next(item, context)
            items.append(item)
    wide: dict[str, list[Pragma]] = {}
    narrow: dict[str, list[Pragma]] = {}
    for item in items:
        for code in item.codes:
            (wide if item.kind in {"global", "stage"} else narrow).setdefault(code, []).append(item)
    ordered = {code: tuple(sorted(those, key=lambda item: item.first)) for code, those in narrow.items()}
    return Pragmas(tuple(items), tuple(shells), {code: tuple(those) for code, those in wide.items()}, ordered)


def _cover_next(item: Pragma, context: Context) -> None:
    """Let a pragma cover all lines of the instruction that follows it."""
    # A comment stands between instructions, or within one: then the next one is meant.
    at = bisect_right(context.starts, item.line)
    if at < len(context.entries):
        item.first, item.last = context.entries[at].node.lines


def _stage(context: Context, line: int, starts: list[int], last_line: int) -> tuple[int, int]:
    """Lines that a stage pragma on `line` covers: up to the next FROM.

    hadolint counts from the line behind the one below the pragma, up to the next FROM itself. Elsewhere the FROM right
    below the pragma is covered, and the next stage's is not.
    """
    at = bisect_right(starts, line + 1)
    following = starts[at] if at < len(starts) else None
    if context.parity:
        return line + 2, last_line if following is None else following
    return line + 1, last_line if following is None else following - 1
