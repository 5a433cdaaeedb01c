"""Physical lines to logical lines: comments, directives, continuations, heredoc bodies.

Facts from BuildKit's frontend/dockerfile/parser/parser.go. A line ends after `\\n`; carriage returns at its end
are dropped with it. A line is continued by an escape character that is last but for blanks and is not itself
preceded by one. Inside a continued line, comment lines and empty lines are left out.
"""

from __future__ import annotations

from dockc.base.record import NamedTuple
from dockc.golang.strings import SPACES
from dockc.grammar.cst import Logical
from dockc.grammar.directives import DirectiveReader, DuplicateDirective, Found
from dockc.grammar.source import BOM, Source, Span, decode, encode

#: Longest physical line the reference reads, in bytes, line end included (one less without a line end).
MAX_LINE = 65536


class Problem(NamedTuple):
    """A fault of a line outside of any instruction; `line` is the number that the reference reports."""

    code: str
    message: str
    line: int
    span: Span
    help: str = ""


class Comment(NamedTuple):
    """A comment line, a directive, or both; `text` as the reference keeps it."""

    span: Span
    text: str
    directive: Found | None
    problem: Problem | None


class Blank(NamedTuple):
    """An empty line."""

    span: Span


class Scanner:
    """Reads a source from the top.

    Its state: the next line to read, the escape character, and the reader of directives.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.escape = "\\"
        self.line = 0  # lines read so far; also the number of the last line read
        self.too_long: Problem | None = None
        self._directives = DirectiveReader()
        starts = source.line_starts
        text = source.text
        self._starts = starts
        self._count = 0 if not text else len(starts)
        self._check_lengths = len(source.data) >= MAX_LINE
        self._ends: dict[tuple[bool, str], int] = {}

    def __bool__(self) -> bool:
        """Whether there are lines left that can be read."""
        return self.line < self._count and self.too_long is None

    def _next(self) -> tuple[int, str] | None:
        """Offset and text of the next line, its line end included; None at the end or at a line too long."""
        if self.line >= self._count or self.too_long is not None:
            return None
        starts, text = self._starts, self.source.text
        start = starts[self.line]
        end = starts[self.line + 1] if self.line + 1 < self._count else len(text)
        raw = text[start:end]
        if self._check_lengths and len(raw) * 4 >= MAX_LINE and _size(raw) > MAX_LINE - (not raw.endswith("\n")):
            self.too_long = Problem(
                "line-too-long",
                f"dockerfile line greater than max allowed size of {MAX_LINE - 1}",
                self.line,
                Span(start, end),
                "break the line with continuations, or move the text to a file",
            )
            return None
        self.line += 1
        return start, raw

    def skip_long_line(self) -> Span:
        """Go on after a line that is too long; returns its place."""
        assert self.too_long is not None
        span = self.too_long.span
        self.too_long = None
        self.line += 1
        return span

    def item(self) -> Comment | Blank | Logical | None:
        """The next comment, blank line or logical line; None at the end."""
        line = self._next()
        if line is None:
            return None
        start, raw = line
        end = start + len(raw)
        if self.line == 1 and raw.startswith(BOM):
            start, raw = start + 1, raw[1:]
        content = raw.rstrip("\r\n")
        stripped = content.lstrip(SPACES)
        if stripped.startswith("#"):
            return self._comment(raw, stripped, Span(start, end))
        if not self._directives.done:
            self._directives.read(stripped)
        if not stripped:
            return Blank(Span(start, end))
        return self._logical(start + len(content) - len(stripped), stripped)

    def _comment(self, raw: str, stripped: str, span: Span) -> Comment:
        # The reference drops the first byte of the line, be it the # or a space before it.
        rest = raw[1:] if raw[0].isascii() else decode(encode(raw)[1:])
        text = rest.strip(SPACES)
        directive = problem = None
        if not self._directives.done:
            try:
                directive = self._directives.read(stripped)
            except DuplicateDirective as duplicate:
                problem = Problem("duplicate-directive", str(duplicate), self.line - 1, span, "keep only one of them")
            if directive and directive.name == "escape":
                if directive.value in ("\\", "`"):
                    self.escape = directive.value
                else:
                    at = raw.find(directive.value, raw.find("=") + 1)
                    begin = span.end - len(raw) + at
                    problem = Problem(
                        "invalid-escape-token",
                        f"invalid escape token '{directive.value}' does not match ` or \\",
                        self.line - 1,
                        span if at < 0 else Span(begin, begin + len(directive.value)),
                        "use a backslash or a backtick",
                    )
        return Comment(span, text, directive, problem)

    def _logical(self, start: int, stripped: str) -> Logical:
        first = self.line
        piece, more = self._continued(stripped)
        if not more:
            return Logical(piece, (0,), (start,), first, first)
        texts, starts, shifts = [piece], [0], [start]
        size = len(piece)
        empty = False
        while more:
            line = self._next()
            if line is None:
                if self.too_long is not None:
                    # The reference gives up reading once it comes here again, and takes what fits for a line till then.
                    self.too_long = self.too_long._replace(line=self.line + 1)
                break
            start, raw = line
            content = raw.rstrip("\r\n")
            lead = content.lstrip(SPACES)
            if lead.startswith("#"):
                continue
            if not lead:
                empty = True
                continue
            piece, more = self._continued(content)
            if piece:
                texts.append(piece)
                starts.append(size)
                shifts.append(start - size)
                size += len(piece)
        text = "".join(texts)
        if not text.isascii():
            text = decode(encode(text))  # a continuation may have stood between the bytes of one character
        return Logical(text, tuple(starts), tuple(shifts), first, self.line, empty)

    def _continued(self, content: str) -> tuple[str, bool]:
        """A line without its continuation, and whether it has one."""
        escape = self.escape
        trimmed = content.rstrip(" \t")
        if trimmed.endswith(escape) and trimmed[-2:-1] != escape:
            return trimmed[:-1], True
        return content, False

    def heredoc(self, name: str, chomp: bool) -> tuple[Span, Span, bool]:
        """Read a heredoc body: its place, the place of the line that ends it, and whether there was one."""
        begin = self._starts[self.line] if self.line < self._count else len(self.source.text)
        at = begin
        if self._ends and self._ends.get((chomp, name), 0) <= self.line:
            self.line, at = self._count, len(self.source.text)
            return Span(begin, at), Span(at, at), False
        while True:
            line = self._next()
            if line is None:
                self._index_ends()
                return Span(begin, at), Span(at, at), False
            start, raw = line
            at = start + len(raw)
            content = raw.rstrip("\r\n")
            if (content.lstrip("\t") if chomp else content) == name:
                return Span(begin, start), Span(start, at), True

    def _index_ends(self) -> None:
        """After a heredoc without end: note where each text stands last, so that more of them are not all searched
        for.
        """
        if self._ends or self.too_long is not None:
            return
        text, starts = self.source.text, (*self._starts[: self._count], len(self.source.text))
        for number, start in enumerate(starts[:-1], 1):
            content = text[start : starts[number]].rstrip("\r\n")
            if self._check_lengths and _size(content) >= MAX_LINE - 1:
                self._ends.clear()
                return
            self._ends[False, content] = self._ends[True, content.lstrip("\t")] = number

    def rewind(self, line: int) -> None:
        """Go back so that the 1-based line after `line` is read next (recovery from an endless heredoc)."""
        self.line = line
        self.too_long = None


def _size(raw: str) -> int:
    return len(encode(raw))
