"""Source text and places in it: the first form on the way from text to image."""

from __future__ import annotations

from bisect import bisect_right

from dockc.base.record import NamedTuple

BOM = "\ufeff"


class Span(NamedTuple):
    """A half-open range of character offsets into `Source.text`."""

    start: int
    end: int

    def join(self, other: Span) -> Span:
        """The smallest span that covers both."""
        return Span(min(self.start, other.start), max(self.end, other.end))


class Position(NamedTuple):
    """A place as people count: line from 1, column from 0, in characters."""

    line: int
    column: int


class Source:
    """A named file and its bytes. Immutable; equal where name and bytes are.

    Attributes:
        name: what messages call the file; also the name in source maps.
        data: the exact bytes.
        text: `data` decoded as UTF-8. A byte that does not decode becomes a lone surrogate (PEP 383), so
            that `encode(text) == data` holds for every file. A byte order mark stays in the text.
        line_starts: character offset of the first character of each line; lines end after `\\n`.
    """

    __slots__ = ("data", "line_starts", "name", "text")

    name: str
    data: bytes
    text: str
    line_starts: tuple[int, ...]

    def __init__(self, name: str, data: bytes) -> None:
        text = decode(data)
        starts = [0]
        find = text.find
        at = find("\n") + 1
        while at:
            starts.append(at)
            at = find("\n", at) + 1
        if starts[-1] == len(text) and len(starts) > 1:
            starts.pop()
        put = object.__setattr__
        put(self, "name", name)
        put(self, "data", data)
        put(self, "text", text)
        put(self, "line_starts", tuple(starts))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Source.{name} is frozen")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Source):
            return NotImplemented
        return self.name == other.name and self.data == other.data

    def __hash__(self) -> int:
        return hash((self.name, self.data))

    def __repr__(self) -> str:
        return f"Source({self.name!r}, {self.data!r})"

    def __reduce__(self) -> tuple[type[Source], tuple[str, bytes]]:
        return Source, (self.name, self.data)

    @classmethod
    def from_text(cls, text: str, name: str = "Dockerfile") -> Source:
        """A source for text that did not come from a file."""
        return cls(name, encode(text))

    def line_at(self, offset: int) -> int:
        """The 1-based line that holds the character at `offset`; before the text, the first."""
        return bisect_right(self.line_starts, offset) or 1

    def position(self, offset: int) -> Position:
        """Line and column of a character offset."""
        line = self.line_at(offset)
        return Position(line, offset - self.line_starts[line - 1])

    def line_span(self, line: int) -> Span:
        """The characters of a 1-based line, its line end included."""
        start = self.line_starts[line - 1]
        end = self.line_starts[line] if line < len(self.line_starts) else len(self.text)
        return Span(start, end)

    def line_text(self, line: int) -> str:
        """A 1-based line without its line end."""
        start, end = self.line_span(line)
        return self.text[start:end].rstrip("\r\n")

    def lines_of(self, span: Span) -> tuple[int, int]:
        """First and last 1-based line that a span touches."""
        return self.line_at(span.start), self.line_at(max(span.start, span.end - 1))

    def slice(self, span: Span) -> str:
        """The text under a span."""
        return self.text[span.start : span.end]


def decode(data: bytes) -> str:
    """UTF-8 to text; bytes that do not decode become lone surrogates (PEP 383)."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The inverse of `decode`."""
    return text.encode("utf-8", "surrogateescape")
