"""A matcher for the regular expressions that ignore patterns turn into, in linear time for any pattern.

Ignore patterns are defined through Go's regular expressions (RE2 syntax), and a pattern may carry through
classes and escapes of that syntax. Python's `re` reads some of them otherwise, and backtracks: a hostile
pattern with many stars would take exponential time. The expressions in question do not nest, so a set of
positions, held as the bits of an int, simulates them exactly; the sets met are remembered as the rows of a
table, built as texts are read.

Scripts (`\\p{Greek}`) are not known here; a pattern with one counts as unreadable.

Source of the syntax: https://github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from dockc.base.pattern import pattern
from dockc.base.record import Record

Predicate = Callable[[str], bool]

_LITERAL_ESCAPES = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_POSIX_CLASSES: dict[str, str] = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": "\x00-\x7f",
    "blank": "\t ",
    "cntrl": "\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@[-`{-~",
    "space": "\t-\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_PERL_CLASSES = {"d": "0-9", "s": "\t\n\f\r ", "w": "0-9A-Za-z_"}
_CATEGORIES = frozenset("CLMNPSZ") | {
    major + minor
    for major, minors in {
        "C": "cfnos",
        "L": "lmotu",
        "M": "cen",
        "N": "dlo",
        "P": "cdefios",
        "S": "ckmo",
        "Z": "lps",
    }.items()
    for minor in minors
}
_REPEAT = pattern(r"\{(0|[1-9][0-9]*)(,(0|[1-9][0-9]*)?)?\}", re.ASCII)
_MAX_REPEAT = 1000
_MAX_ITEMS = 20_000
"""Positions of one expression after its counted repetitions are written out."""

_MAX_CELLS = 1 << 16
"""Remembered transitions of one automaton; beyond it the table starts anew, so memory stays bounded."""

_SURROGATES = pattern("[\ud800-\udfff]")


class BadExpression(ValueError):
    """The expression is not valid in RE2 syntax."""


class _Item(Record):
    """One position of the sequence.

    Attributes:
        kind: "one" (a character), "star" (any number of them), "enter" (the optional directory prefix: skip
            it, or go into the position after this one), "inside" (in that prefix), "begin", "end", "word",
            "nonword".
        accepts: which characters the position takes; always false for the assertions.
    """

    kind: str
    accepts: Predicate


def _nothing(_: str) -> bool:
    return False


def _not_newline(char: str) -> bool:
    return char != "\n"


def _anything(_: str) -> bool:
    return True


def _equals(wanted: str) -> Predicate:
    return lambda char: char == wanted


def _in_ranges(spec: str) -> Predicate:
    """Membership in a string of single characters and `lo-hi` ranges (it cannot hold a literal -)."""
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(spec):
        if spec[at + 1 : at + 2] == "-" and at + 2 < len(spec):
            ranges.append((spec[at], spec[at + 2]))
            at += 3
        else:
            ranges.append((spec[at], spec[at]))
            at += 1
    return lambda char: any(low <= char <= high for low, high in ranges)


def _not(inner: Predicate) -> Predicate:
    return lambda char: not inner(char)


class _Parser:
    """Reads one expression into items. The state is `at`, the index of the next character."""

    def __init__(self, expression: str) -> None:
        self.text = expression
        self.at = 0

    def items(self) -> list[_Item]:
        """All branches, one after the other, each closed by "accept"."""
        out: list[_Item] = []
        while True:
            branch = self._branch()
            # A match may begin and end anywhere unless the branch says otherwise.
            if not branch or branch[0].kind != "begin":
                branch.insert(0, _Item("star", _anything))
            if branch[-1].kind != "end":
                branch.append(_Item("star", _anything))
            out += branch
            out.append(_Item("accept", _nothing))
            if len(out) > _MAX_ITEMS:
                raise BadExpression("expression is too large")
            if self.at >= len(self.text):
                return out
            self.at += 1

    def _branch(self) -> list[_Item]:
        out: list[_Item] = []
        text = self.text
        repeatable = False  # whether the last item is one that a counted repetition may follow
        while self.at < len(text) and text[self.at] != "|" and len(out) <= _MAX_ITEMS:
            char = text[self.at]
            counted = _REPEAT.match(text, self.at) if char == "{" else None
            if counted is not None:
                self.at = counted.end()
                if not repeatable:
                    raise BadExpression("nothing to repeat")
                out += self._counted(out.pop(), counted)
                repeatable = False
                continue
            repeatable = True
            if char in "^$":
                self.at += 1
                out.append(_Item("begin" if char == "^" else "end", _nothing))
            elif text.startswith("(.*/)?", self.at):
                self.at += 6
                out.append(_Item("enter", _nothing))
                out.append(_Item("inside", _not_newline))
                repeatable = False
            elif char == ".":
                self.at += 1
                out.append(self._starred(_not_newline))
            elif char == "[":
                self.at += 1
                out.append(self._starred(self._class()))
            elif char == "\\":
                out.extend(self._escape())
                repeatable = bool(out)
            else:
                self.at += 1
                out.append(_Item("one", _equals(char)))
            repeatable = repeatable and out[-1].kind != "star"
        return out

    def _starred(self, accepts: Predicate) -> _Item:
        if self.text.startswith("*", self.at):
            self.at += 1
            return _Item("star", accepts)
        return _Item("one", accepts)

    @staticmethod
    def _counted(item: _Item, count: re.Match[str]) -> list[_Item]:
        """`item` written out as often as `{low}`, `{low,}` or `{low,high}` asks."""
        low = int(count[1])
        high = low if count[2] is None else None if count[3] is None else int(count[3])
        if low > _MAX_REPEAT or (high is not None and not low <= high <= _MAX_REPEAT):
            raise BadExpression("repeat count out of range")
        if item.kind != "one":  # an assertion holds twice where it holds once
            return [item] if low else []
        rest = [_Item("star", item.accepts)] if high is None else [_Item("maybe", item.accepts)] * (high - low)
        return [item] * low + rest

    def _escape(self) -> list[_Item]:
        """The items of an escape outside a class; `\\Q` makes literals of everything up to `\\E`."""
        kind = self.text[self.at + 1 : self.at + 2]
        assertions = {"A": "begin", "z": "end", "b": "word", "B": "nonword"}
        if kind in assertions:
            self.at += 2
            return [_Item(assertions[kind], _nothing)]
        if kind == "Q":
            quoted, found, _ = self.text[self.at + 2 :].partition("\\E")
            self.at += 2 + len(quoted) + len(found)
            return [_Item("one", _equals(char)) for char in quoted]
        group = self._group()
        if group is not None:
            return [_Item("one", group)]
        return [_Item("one", _equals(self._character()))]

    def _group(self) -> Predicate | None:
        """A class escape (`\\d`, `\\pL` and their negations) at this place, or None."""
        kind = self.text[self.at + 1 : self.at + 2]
        if kind in ("p", "P"):
            return self._unicode_group(negated=kind == "P")
        spec = _PERL_CLASSES.get(kind.lower())
        if spec is None or not kind:
            return None
        self.at += 2
        member = _in_ranges(spec)
        return member if kind.islower() else _not(member)

    def _unicode_group(self, *, negated: bool) -> Predicate:
        """`\\pL`, `\\p{Lu}`, `\\p{^Lu}` or `\\p{Any}`."""
        start = self.at + 2
        if self.text.startswith("{", start):
            end = self.text.find("}", start)
            name = self.text[start + 1 : end] if end >= 0 else ""
            self.at = end + 1
        else:
            name = self.text[start : start + 1]
            self.at = start + 1
        if name.startswith("^"):
            negated = not negated
            name = name[1:]
        if name != "Any" and name not in _CATEGORIES:
            raise BadExpression(f"unknown character class {name!r}")

        def member(char: str) -> bool:
            return name == "Any" or unicodedata.category(char).startswith(name)

        return _not(member) if negated else member

    def _character(self) -> str:
        """One literal character, escaped or not."""
        text = self.text
        if self.at >= len(text):
            raise BadExpression("expression ends early")
        char = text[self.at]
        self.at += 1
        if char != "\\":
            return char
        if self.at >= len(text):
            raise BadExpression("trailing backslash")
        char = text[self.at]
        self.at += 1
        if char.isascii() and not char.isalnum():
            return char
        if char == "x":
            hexadecimal = re.compile("([0-9A-Fa-f]{2})|{([0-9A-Fa-f]+)}").match(text, self.at)
            if hexadecimal:
                self.at = hexadecimal.end()
                code = int(hexadecimal[1] or hexadecimal[2].lstrip("0") or "0", 16)
                if code <= 0x10FFFF:
                    return chr(code)
        elif char in "01234567":
            # A single digit other than zero would be a back-reference, which the syntax does not have.
            more = re.compile("[0-7]{0,2}").match(text, self.at)
            digits = char + (more.group() if more else "")
            if char == "0" or len(digits) > 1:
                self.at += len(digits) - 1
                return chr(int(digits, 8))
        elif char in _LITERAL_ESCAPES:
            return _LITERAL_ESCAPES[char]
        raise BadExpression(f"unknown escape \\{char}")

    def _class(self) -> Predicate:
        """The rest of a character class, after its bracket."""
        text = self.text
        negated = text.startswith("^", self.at)
        self.at += negated
        members: list[Predicate] = []
        first = True
        while first or not text.startswith("]", self.at):
            first = False
            if text.startswith("[:", self.at):
                closing = text.find(":]", self.at + 2)
                if closing >= 0:
                    name = text[self.at + 2 : closing]
                    inverted = name.startswith("^")
                    spec = _POSIX_CLASSES.get(name[inverted:])
                    if spec is None:
                        raise BadExpression(f"unknown character class [:{name}:]")
                    member = _in_ranges(spec)
                    members.append(_not(member) if inverted else member)
                    self.at = closing + 2
                    continue
            if text.startswith("\\", self.at):
                group = self._group()
                if group is not None:
                    members.append(group)
                    continue
            low = high = self._character()
            if text.startswith("-", self.at) and self.at + 1 < len(text) and text[self.at + 1] != "]":
                self.at += 1
                high = self._character()
                if high < low:
                    raise BadExpression(f"range {low}-{high} is empty")
            members.append(lambda char, low=low, high=high: low <= char <= high)  # type: ignore[misc]
        self.at += 1

        def member_of_any(char: str) -> bool:
            return any(accepts(char) for accepts in members)

        return _not(member_of_any) if negated else member_of_any


class _Row(dict[str, "_Row"]):
    """One state: which positions are alive after the text so far, and where each next character leads."""

    __slots__ = ("automaton", "before", "bits")

    def __init__(self, automaton: Automaton, bits: int, before: str) -> None:
        super().__init__()
        self.automaton = automaton
        self.bits = bits
        self.before = before

    def __missing__(self, char: str) -> _Row:
        return self.automaton.step(self, char)


class Automaton:
    """One compiled expression.

    The mutable state is the table of rows, which only `step` extends; it holds nothing that changes an
    answer. Several threads may match with one automaton.
    """

    def __init__(self, expression: str) -> None:
        """Compile `expression`.

        Raises:
            BadExpression: it is not valid RE2 syntax.
        """
        self._items = _Parser(expression).items()
        self._accepting = 0
        self._starts = 0
        start = True
        for index, item in enumerate(self._items):
            self._starts |= start << index
            start = item.kind == "accept"
            self._accepting |= start << index
        # Only word boundaries look at the character before; without them all rows forget it, and are fewer.
        self._looks_back = any(item.kind in ("word", "nonword") for item in self._items)
        self._rows: dict[tuple[int, str], _Row] = {}
        self._cells = 0

    def match(self, text: str) -> bool:
        """Whether the expression matches `text` as Go's Regexp.MatchString would."""
        if not text.isascii():
            text = _SURROGATES.sub("�", text)  # a byte that is not UTF-8 reads as the replacement character
        row = self._row(self._starts, "")
        for char in text:
            row = row[char]
            if not row.bits:
                return False
        return bool(self._spread(row.bits, row.before, "", at_start=not text) & self._accepting)

    def step(self, row: _Row, char: str) -> _Row:
        """The row after `row` for `char`; remembered in `row`."""
        at_start = not row.before
        alive = self._spread(row.bits, row.before, char, at_start=at_start)
        after = 0
        for index, item in enumerate(self._items):
            if not alive >> index & 1 or not item.accepts(char):
                continue
            if item.kind in ("one", "maybe"):
                after |= 1 << (index + 1)
            elif item.kind == "star":
                after |= 1 << index
            else:  # "inside": stay in, and leave after each slash
                after |= 1 << index
                if char == "/":
                    after |= 1 << (index + 1)
        if self._cells >= _MAX_CELLS:
            self._rows = {}
            self._cells = 0
            return self._row(after, char)
        self._cells += 1
        target = self._row(after, char)
        row[char] = target
        return target

    def _row(self, bits: int, before: str) -> _Row:
        if before and not self._looks_back:
            before = "."
        row = self._rows.get((bits, before))
        if row is None:
            row = self._rows[bits, before] = _Row(self, bits, before)
        return row

    def _spread(self, bits: int, before: str, after: str, *, at_start: bool) -> int:
        """Add the positions that are reached without taking a character, between `before` and `after`."""
        for index, item in enumerate(self._items):  # all such moves lead forward: one pass is enough
            if not bits >> index & 1:
                continue
            kind = item.kind
            if kind in ("star", "maybe"):
                bits |= 2 << index
            elif kind == "enter":
                bits |= 6 << index
            elif kind == "begin":
                bits |= at_start << (index + 1)
            elif kind == "end":
                bits |= (not after) << (index + 1)
            elif kind in ("word", "nonword"):
                boundary = _is_word(before) != _is_word(after)
                bits |= (boundary == (kind == "word")) << (index + 1)
        return bits


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")
