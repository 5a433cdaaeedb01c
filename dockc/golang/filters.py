"""Filters as BuildKit's calls take them: `type==regular,description~=^RUN`, conditions that are all to hold.

    filter    = condition ("," condition)*
    condition = path [("==" | "!=" | "~=") value]     without an operator: the field is there
    path      = field ("." field)*
    field     = letters, digits, "_"; or "quoted"
    value     = characters without "," and space; or "quoted"; behind ~= also /quoted/ and |quoted|

Quoted text has the escapes of a string literal of Go. Several filters are alternatives, an empty one lets everything
through. Filters come from anyone who may speak to a daemon: their expressions are Go's, matched in linear time.

Source: the grammar of containerd's package pkg/filters, which BuildKit's daemon reads filters by.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dockc.base.pattern import pattern
from dockc.base.record import Record
from dockc.golang.regex import BadExpression, Expression

_FIELD = pattern(r"[A-Za-z0-9_]+")
_OPERATOR = pattern(r"[=!~]+")
_VALUE = pattern(r"[^,\s\x00-\x1f\x7f]+")
_SPACE = pattern(r"\s*")
_ESCAPE = pattern(r"\\(?:([abfnrtv\\])|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{3})|(.))", re.S)
_SHORT = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_OPERATORS = ("==", "!=", "~=")
LONGEST = 4096
"""Characters of one filter."""
_PARTS = 5000  # of an expression


class FilterError(ValueError):
    """A text that is no filter."""


class Condition(Record):
    """One condition.

    Attributes:
        path: of the field.
        operator: `==`, `!=`, `~=`, or "" where the field is only to be there.
        value: as it was written, unquoted.
        expression: the value of `~=`, compiled; a part of the field's text is to match.
    """

    path: tuple[str, ...]
    operator: str = ""
    value: str = ""
    expression: Expression | None = None

    def holds(self, found: str | None) -> bool:
        """Whether it holds for a field's text; None where there is none."""
        if not self.operator:
            return found is not None
        if self.expression is not None:
            return self.expression.match(found or "")
        if self.operator == "==":
            return found == self.value
        return (found or "") != self.value


Lookup = Callable[[tuple[str, ...]], "str | None"]
"""The text of a field of the thing in question; None where it has none."""


def parse(text: str) -> tuple[Condition, ...]:
    """The conditions of one filter; none of an empty one.

    Raises:
        FilterError: it is none.
    """
    if len(text) > LONGEST:
        raise FilterError(f"a filter of {len(text)} characters is too long: {LONGEST} are allowed")
    return tuple(_Reader(text).conditions()) if text else ()


def match(filters: tuple[tuple[Condition, ...], ...], lookup: Lookup) -> bool:
    """Whether any filter lets a thing through; where there are none, each is."""
    return not filters or any(all(one.holds(lookup(one.path)) for one in conditions) for conditions in filters)


class _Reader:
    """Mutable: `_at`, the place in the text."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def conditions(self) -> list[Condition]:
        found = [self._condition()]
        while self._at < len(self._text):
            if self._text[self._at] != ",":
                raise self._wrong("expected a comma")
            self._at += 1
            found.append(self._condition())
        return found

    def _condition(self) -> Condition:
        path = [self._field()]
        while self._next() == ".":
            self._at += 1
            path.append(self._field())
        if self._next() in {"", ","}:
            return Condition(tuple(path))
        self._skip()
        begin, operator = self._at, self._take(_OPERATOR)
        if operator not in _OPERATORS:
            self._at = begin
            raise self._wrong("expected ==, != or ~=")
        self._skip()
        value = self._value(operator)
        if operator != "~=":
            return Condition(tuple(path), operator, value)
        try:
            return Condition(tuple(path), operator, value, Expression(value, _PARTS))
        except BadExpression as exc:
            raise FilterError(f"invalid filter {self._text!r}: {value!r} is no regular expression: {exc}") from None

    def _field(self) -> str:
        self._skip()
        if self._next() == '"':
            return self._quoted('"')
        found = self._take(_FIELD)
        if not found:
            raise self._wrong("expected the name of a field")
        return found

    def _value(self, operator: str) -> str:
        first = self._next()
        if first == '"' or (first in {"/", "|"} and operator == "~="):
            return self._quoted(first)
        if first in {"", ",", ".", "/", "|", "=", "!", "~"}:
            raise self._wrong("expected a value")
        found = self._take(_VALUE)
        if not found:
            raise self._wrong("expected a value")
        return found

    def _quoted(self, quote: str) -> str:
        out: list[str] = []
        at = self._at + 1
        while True:
            char = self._text[at : at + 1]
            if char in {"", "\n"}:
                raise self._wrong("the quoted text has no end")
            if char == quote:
                self._at = at + 1
                return "".join(out)
            if char != "\\":
                out.append(char)
                at += 1
                continue
            escape = _ESCAPE.match(self._text, at)
            text = self._unescaped(escape, quote) if escape is not None else None
            if escape is None or text is None:
                self._at = at
                raise self._wrong("unknown escape")
            out.append(text)
            at = escape.end()

    @staticmethod
    def _unescaped(escape: re.Match[str], quote: str) -> str | None:
        short, two, four, eight, octal, other = escape.groups()
        if short:
            return _SHORT[short]
        if other:
            return other if other == quote else None
        number = int(octal, 8) if octal else int(two or four or eight, 16)
        return chr(number) if number <= (0xFF if octal else 0x10FFFF) else None

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self) -> None:
        self._take(_SPACE)

    def _take(self, what: re.Pattern[str]) -> str:
        found = what.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found.group()

    def _wrong(self, said: str) -> FilterError:
        where = f"at character {self._at + 1}" if self._at < len(self._text) else "at the end"
        return FilterError(f"invalid filter {self._text!r}: {said} {where}")
