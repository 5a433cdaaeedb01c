"""A whole file as hadolint reads it: instructions and comments with their lines, or nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from dockc.base.pattern import pattern
from dockc.base.record import Record, replace
from dockc.compiler.syntax import ast
from dockc.grammar.cst import CommentLine
from dockc.grammar.source import BOM, Source, Span
from dockc.linter.peer.instructions import read_instruction
from dockc.linter.peer.scan import Scanner, Unreadable

_ESCAPE = pattern(r"[ \t\n\r]*#[ \t]*escape[ \t]*=[ \t]*(.)")
_SYNTAX = pattern(r"[ \t\n\r]*#[ \t]*syntax[ \t]*=[ \t]*[^\n]")
_DIRECTIVE = pattern(r"#[ \t]*(escape|syntax)[ \t]*=[ \t]*(?!\Z)")
_BREAKS = " \t\n\r"


class Reading(Record):
    """What hadolint sees.

    Attributes:
        instructions: in order; `lines` and `span` are set.
        comments: comment lines.
    """

    instructions: tuple[ast.Instruction, ...]
    comments: tuple[CommentLine, ...]


def read(source: Source) -> Reading | None:
    """Read a file; None where hadolint cannot."""
    text = source.text
    start = len(BOM) if text.startswith(BOM) else 0
    removed: list[int] = []
    if "\r\n" in text:
        at = text.find("\r\n")
        while at >= 0:
            removed.append(at - start - len(removed))
            at = text.find("\r\n", at + 2)
    plain = text[start:].replace("\r\n", "\n") if removed or start else text
    try:
        return _File(plain, source, _moved(start, removed)).reading()
    except Unreadable:
        return None


def _moved(start: int, removed: list[int]) -> Callable[[int], int]:
    """From offsets in the text that is read to those in the source."""
    if not start and not removed:
        return int
    return lambda offset: offset + start + bisect_left(removed, offset)


class _File:
    def __init__(self, text: str, source: Source, moved: Callable[[int], int]) -> None:
        self.source = source
        self.scanner = Scanner(text, _escape(text), moved)
        self.instructions: list[ast.Instruction] = []
        self.comments: list[CommentLine] = []

    def reading(self) -> Reading:
        scanner = self.scanner
        scanner.pos = len(scanner.text) - len(scanner.text.lstrip(_BREAKS))
        while scanner.pos < len(scanner.text):
            if scanner.at("#"):
                self._comment()
            else:
                self._instruction()
            if not scanner.line_end():
                raise Unreadable("end of line")
        return Reading(tuple(self.instructions), tuple(self.comments))

    def _instruction(self) -> None:
        found = read_instruction(self.scanner)
        self.instructions.append(replace(found, lines=self.source.lines_of(found.span)))

    def _comment(self) -> None:
        scanner = self.scanner
        start = scanner.pos
        if found := _DIRECTIVE.match(scanner.text, start):
            scanner.pos = found.end()
            if found[1] == "syntax" and not scanner.at("\n"):
                scanner.rest()
            elif found[1] == "escape" and not scanner.at("\\"):
                scanner.pos += 1  # whatever it is, even the end of the line
            else:
                scanner.pos = start
        if scanner.pos == start:
            end = scanner.text.find("\n", start)
            scanner.pos = len(scanner.text) if end < 0 else end
            span = Span(scanner.moved(start), scanner.moved(scanner.pos))
            self.comments.append(CommentLine(span, scanner.text[start + 1 : scanner.pos]))


def _escape(text: str) -> str:
    """The escape character: that of a directive in the first lines, with nothing behind it."""
    for line in text.split("\n"):
        if found := _ESCAPE.match(line):
            return found[1] if found.end() == len(line) and found[1] != "\\" else "\\"
        if _SYNTAX.match(line) is None:
            break
    return "\\"
