"""Offsets to the protocol's positions and back. Columns count in the units that client and server agreed on."""

from __future__ import annotations

from typing import NamedTuple

from dockc.grammar.source import Source, Span

UTF8, UTF16, UTF32 = "utf-8", "utf-16", "utf-32"


class Place(NamedTuple):
    """A position as the protocol has it: line and column from 0."""

    line: int
    column: int


class Places:
    """Positions in one text.

    Args:
        source: the text.
        units: what a column counts: bytes, UTF-16 units or characters.
    """

    def __init__(self, source: Source, units: str = UTF16) -> None:
        self._source = source
        self._units = units

    def offset(self, place: Place) -> int:
        """The character at a position; one beyond the end of its line, or of the text, is that end."""
        text, starts = self._source.text, self._source.line_starts
        if place.line >= len(starts):
            return len(text)
        start = starts[place.line]
        line = text[start : self._end(place.line)]
        if self._units == UTF32 or line.isascii():
            return start + min(place.column, len(line))
        left = place.column
        for index, char in enumerate(line):
            if left <= 0:
                return start + index
            left -= _size(char, self._units)
        return start + len(line)

    def place(self, offset: int) -> Place:
        """The position of a character."""
        line = self._source.line_at(offset) - 1
        start = self._source.line_starts[line]
        text = self._source.text
        if offset >= len(text) and text.endswith("\n"):
            return Place(line + 1, 0)
        if text.isascii() and start < offset < len(text) and text[offset - 1] not in "\r\n":
            return Place(line, offset - start)  # most of all places
        before = text[start : min(offset, self._end(line))]
        if self._units == UTF32 or before.isascii():
            return Place(line, len(before))
        return Place(line, sum(_size(char, self._units) for char in before))

    def range(self, span: Span) -> tuple[Place, Place]:
        """Both ends of a span."""
        return self.place(span.start), self.place(span.end)

    def _end(self, line: int) -> int:
        span = self._source.line_span(line + 1)
        end = span.end
        text = self._source.text
        if end > span.start and text[end - 1] == "\n":
            end -= 1
        if end > span.start and text[end - 1] == "\r":
            end -= 1
        return end


def _size(char: str, units: str) -> int:
    if units == UTF8:
        return len(char.encode("utf-8", "surrogateescape"))
    return 2 if ord(char) > 0xFFFF else 1
