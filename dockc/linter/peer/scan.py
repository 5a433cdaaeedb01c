"""Text, words and quotes as hadolint's parser takes them apart.

It differs from a build: a continuation inside a word leaves a blank where the next line is indented, `${…}` is opaque
in image names
only, and what it cannot read anywhere makes the whole file unreadable.
"""

from __future__ import annotations

import re
from functools import lru_cache

from dockc.base.pattern import pattern
from dockc.compiler.syntax.ast import Word
from dockc.grammar.source import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BLANKS = pattern(r"[ \t]+")


class Unreadable(ValueError):
    """hadolint does not read this."""


@lru_cache(maxsize=8)
def _patterns(escape: str) -> tuple[re.Pattern[str], ...]:
    e = re.escape(escape)
    return (
        # A continuation: what stands before the next line's text; the group is that line's indentation.
        re.compile(rf"{e}[ \t]*\n+(?:[ \t]*\#[^\n]*\n+)*([ \t]*)"),
        re.compile(rf"[^\n{e}]+"),
        re.compile(rf"{e}+(?!{e}|\n)"),
        re.compile(rf"[^ \t\n{e}]+"),
        re.compile(rf"(?:[ \t]+|\n+|{e}[ \t]*\n+(?:[ \t]*\#[^\n]*\n+)*[ \t]*)+"),
    )


class Scanner:
    """A place in a text. Line ends are `\\n`.

    Attributes:
        text, escape: what is read.
        moved: from offsets in the text to those in the source.
        pos: the next character.
        last_opener: where the last `<<` stands, or -1.
    """

    __slots__ = ("_break", "_end", "_escapes", "_line", "_word", "escape", "last_opener", "moved", "pos", "text")

    def __init__(self, text: str, escape: str, moved: Callable[[int], int]) -> None:
        self.text = text
        self.escape = escape
        self.moved = moved
        self.pos = 0
        self.last_opener = text.rfind("<<")
        self._break, self._line, self._escapes, self._word, self._end = _patterns(escape)

    def at(self, text: str) -> bool:
        """Whether this text comes next."""
        return self.text.startswith(text, self.pos)

    def take(self, text: str) -> bool:
        """Go past a text, if it comes next."""
        if not self.at(text):
            return False
        self.pos += len(text)
        return True

    def need(self, text: str) -> None:
        """Go past a text that has to come next."""
        if not self.take(text):
            raise Unreadable(text)

    def word(self, text: str, start: int) -> Word:
        """A word with its place: from `start` to here."""
        return Word(text, Span(self.moved(start), self.moved(self.pos)))

    def brk(self) -> str | None:
        """Go past continuations: what they leave, a blank or nothing; None where there is none."""
        found = self._break.match(self.text, self.pos)
        blank = ""
        if found is None:
            return None
        while found is not None:
            if found[1]:
                blank = " "
            self.pos = found.end()
            found = self._break.match(self.text, self.pos)
        return blank

    def blanks(self) -> None:
        """Go past blanks."""
        if found := _BLANKS.match(self.text, self.pos):
            self.pos = found.end()

    def space(self) -> bool:
        """Go past blanks and continuations; whether there was a blank."""
        blank = False
        while True:
            if found := _BLANKS.match(self.text, self.pos):
                self.pos = found.end()
                blank = True
            elif (left := self.brk()) is not None:
                blank = blank or bool(left)
            else:
                return blank

    def need_space(self) -> None:
        """Go past blanks that have to be there."""
        if not self.space():
            raise Unreadable("space")

    def separated(self) -> bool:
        """Go past blanks, if they are there; continuations alone separate nothing."""
        before = self.pos
        if not self.space() and self.pos != before:
            raise Unreadable("space")
        return self.pos != before

    def followed(self, text: str) -> bool:
        """Go past blanks, if they are there and this text comes behind them."""
        before = self.pos
        if self.space() and self.at(text):
            return True
        self.pos = before
        return False

    def line_end(self) -> bool:
        """Go past the end of an instruction and what is empty behind it; whether the instruction ends here."""
        if self.pos == len(self.text):
            return True
        found = self._end.match(self.text, self.pos)
        if found is None:
            return False
        self.pos = found.end()
        return True

    def rest(self) -> str:
        """The text up to the end of the line, continued lines included. It may not be empty."""
        out: list[str] = []
        while True:
            if (left := self.brk()) is not None:
                out.append(left)
            elif found := self._line.match(self.text, self.pos) or self._escapes.match(self.text, self.pos):
                out.append(found[0])
                self.pos = found.end()
            elif self.at(self.escape):
                raise Unreadable("escape")
            else:
                break
        text = "".join(out)
        if not text:
            raise Unreadable("empty")
        return text

    def until(self, stops: str) -> str:
        """A word: up to a blank, the end of the line or one of the characters. It may not be empty."""
        found = self.maybe_until(stops)
        if found is None:
            raise Unreadable("word")
        return found

    def maybe_until(self, stops: str) -> str | None:
        """Like `until`; None where nothing could be taken."""
        out: list[str] = []
        taken = False
        while True:
            if (left := self.brk()) is not None:
                out.append(left)
            elif found := self._word.match(self.text, self.pos):
                piece = found[0]
                cut = min((at for stop in stops if (at := piece.find(stop)) >= 0), default=len(piece))
                if cut:
                    out.append(piece[:cut])
                    self.pos += cut
                if cut < len(piece):
                    return "".join(out) if taken or cut else None
            elif self.at(self.escape) and self.escape not in stops:
                found = self._escapes.match(self.text, self.pos)
                if found is None:
                    raise Unreadable("escape")
                out.append(found[0])
                self.pos = found.end()
            else:
                return "".join(out) if taken else None
            taken = True

    def expanded(self, stops: str) -> str | None:
        """Like `maybe_until`, but `${…}` belongs to the word with all that it holds."""
        out: list[str] = []
        while True:
            if self.at("$"):
                out.append(self._expansion())
            elif (piece := self.maybe_until(f"{stops}$")) is not None:
                out.append(piece)
            else:
                return "".join(out) if out else None

    def _expansion(self) -> str:
        start = self.pos
        self.pos += 1
        if not self.take("{"):
            return "$"
        depth = 1
        while depth and self.pos < len(self.text):
            c = self.text[self.pos]
            if c in " \t\n":
                break
            depth += {"{": 1, "}": -1}.get(c, 0)
            self.pos += 1
        return self.text[start : self.pos]

    def quoted(self, quote: str) -> str:
        """A string in quotes behind the opening one; escaped quotes and continuations are taken out."""
        text = self._string(quote, "")
        self.need(quote)
        return text

    def value(self, stops: str) -> str:
        """Text put together from quoted strings and plain text up to a blank or one of the characters; it may be
        empty.
        """
        out: list[str] = []
        while True:
            if self.take('"'):
                out.append(self.quoted('"'))
            elif self.take("'"):
                out.append(self.quoted("'"))
            else:
                before = self.pos
                piece = self._string(" \t", f"{stops}\"'")
                if self.pos == before:
                    return "".join(out)
                if not piece:
                    raise Unreadable("empty string")
                out.append(piece)

    def _string(self, quotes: str, stops: str) -> str:
        """Text up to an unescaped quote or one of `stops`; the escape character takes a quote's meaning."""
        out: list[str] = []
        plain = _plain(self.escape, quotes + stops)
        while True:
            if (left := self.brk()) is not None:
                out.append(left)
            elif found := plain.match(self.text, self.pos):
                out.append(found[0])
                self.pos = found.end()
            elif self.at(self.escape):
                run = self.pos
                while self.text.startswith(self.escape, run):
                    run += 1
                escaped = self.text[run : run + 1]
                if not escaped or escaped not in quotes:
                    out.append(self.text[self.pos : run])
                    self.pos = run
                elif run == self.pos + 1:
                    out.append(escaped)
                    self.pos = run + 1
                else:
                    raise Unreadable("escape")
            else:
                return "".join(out)


@lru_cache(maxsize=32)
def _plain(escape: str, others: str) -> re.Pattern[str]:
    return re.compile(rf"[^\n{re.escape(escape + others)}]+")


#: The escapes of `["…"]` in COPY and ADD that hadolint reads and that occur.
_LITERALS = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


def literal(scanner: Scanner, quote: str) -> str:
    """A string in quotes as Haskell writes them."""
    scanner.need(quote)
    out: list[str] = []
    text = scanner.text
    while not scanner.take(quote):
        c = text[scanner.pos : scanner.pos + 1]
        if c == "\\":
            c = _LITERALS.get(text[scanner.pos + 1 : scanner.pos + 2], "")
            scanner.pos += 1
        if not c:
            raise Unreadable("literal")
        out.append(c)
        scanner.pos += 1
    return "".join(out)
