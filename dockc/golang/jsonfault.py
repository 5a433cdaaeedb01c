"""What is wrong with broken JSON, in the words of Go's `encoding/json`: users of the ecosystem's tools know them.

The grammar is that of RFC 8259; a text that ends early is read as if a blank followed, as there.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

END: Final = "unexpected end of JSON input"
_MAX_DEPTH = 10000
_BLANK = b" \t\r\n"
_CLOSING = {b"": b"", b"[": b"]", b"{": b"}"}
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
# A number, or as much of one as is there.
_NUMBER = re.compile(rb"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:(?<=[0-9])[eE][+-]?[0-9]*)?)?")
_HEX = b"0123456789abcdefABCDEF"
_VALUE, _KEY = "looking for beginning of value", "looking for beginning of object key string"


class _Fault(Exception):
    """The text is broken; the message says how."""


def json_fault(data: bytes) -> str:
    """The first problem of `data` as JSON, or "" where there is none."""
    try:
        _document(data + b" ")
    except _Fault as fault:
        return str(fault)
    return ""


def _bad(data: bytes, at: int, where: str) -> _Fault:
    """The character at a place is wrong there."""
    char = chr(data[at])
    shown = {
        "'": r"\'",
        '"': '"',
        "\\": r"\\",
        "\n": r"\n",
        "\t": r"\t",
        "\r": r"\r",
        "\a": r"\a",
        "\b": r"\b",
        "\f": r"\f",
        "\v": r"\v",
    }.get(char)
    if shown is None:
        shown = char if char.isprintable() else f"\\x{ord(char):02x}" if ord(char) < 0x80 else f"\\u{ord(char):04x}"
    return _Fault(f"invalid character '{shown}' {where}")


def _skip(data: bytes, at: int) -> int:
    """The next place that is not blank.

    Raises:
        _Fault: there is none.
    """
    while at < len(data) and data[at] in _BLANK:
        at += 1
    if at == len(data):
        raise _Fault(END)
    return at


def _document(data: bytes) -> None:
    """Read a whole text.

    Raises:
        _Fault: it is broken.
    """
    at, open_ = _value(data, _skip(data, 0), b"")
    while open_:
        at = _skip(data, at)
        at, open_ = _after(data, at, open_) if open_[-1] in b"]}" else _value(data, at, open_)
    while at < len(data):
        if data[at] not in _BLANK:
            raise _bad(data, at, "after top-level value")
        at += 1


# `open_` tells what is open, outermost first: `[` or `{` where a value of an array or object is to come, `]` or `}`
# after it.


def _value(data: bytes, at: int, open_: bytes) -> tuple[int, bytes]:
    """Read a value, of an array or object only its beginning."""
    open_ = open_[:-1] + _CLOSING[open_[-1:]]
    first = data[at : at + 1]
    if first in (b"[", b"{"):
        if len(open_) >= _MAX_DEPTH:
            raise _Fault("exceeded max depth")
        at = _skip(data, at + 1)
        if first == b"[":
            return (at + 1, open_) if data[at] == ord("]") else (at, open_ + b"[")
        return (at + 1, open_) if data[at] == ord("}") else (_key(data, at), open_ + b"{")
    if first == b'"':
        return _string(data, at), open_
    for word in (b"true", b"false", b"null"):
        if first == word[:1]:
            return _literal(data, at, word), open_
    if first == b"-" or first.isdigit():
        return _number(data, at), open_
    raise _bad(data, at, _VALUE)


def _after(data: bytes, at: int, open_: bytes) -> tuple[int, bytes]:
    """Read what follows a value of an array or object: its end, or a comma and the next key."""
    if data[at] == open_[-1]:
        return at + 1, open_[:-1]
    array = open_[-1:] == b"]"
    if data[at] != ord(","):
        raise _bad(data, at, "after array element" if array else "after object key:value pair")
    at = _skip(data, at + 1)
    if array:
        return at, open_[:-1] + b"["
    return _key(data, at), open_[:-1] + b"{"


def _key(data: bytes, at: int) -> int:
    """Read a key and its colon; the place where its value begins."""
    if data[at] != ord('"'):
        raise _bad(data, at, _KEY)
    at = _skip(data, _string(data, at))
    if data[at] != ord(":"):
        raise _bad(data, at, "after object key")
    return _skip(data, at + 1)


def _string(data: bytes, at: int) -> int:
    """The place after a string that begins here."""
    at += 1
    while True:
        at = _end(_PLAIN, data, at)
        if at == len(data):
            raise _Fault(END)
        if data[at] == ord('"'):
            return at + 1
        if data[at] < 0x20:
            raise _bad(data, at, "in string literal")
        at = _escape(data, at + 1)


def _escape(data: bytes, at: int) -> int:
    """The place after an escape whose backslash stands before."""
    if data[at] not in b'"\\/bfnrtu':
        raise _bad(data, at, "in string escape code")
    if data[at] != ord("u"):
        return at + 1
    for place in range(at + 1, at + 5):
        if place == len(data):
            raise _Fault(END)
        if data[place] not in _HEX:
            raise _bad(data, place, "in \\u hexadecimal character escape")
    return at + 5


def _end(what: re.Pattern[bytes], data: bytes, at: int) -> int:
    match = what.match(data, at)
    return match.end() if match else at


def _literal(data: bytes, at: int, word: bytes) -> int:
    for count, letter in enumerate(word):
        if at + count == len(data):
            raise _Fault(END)
        if data[at + count] != letter:
            raise _bad(data, at + count, f"in literal {word.decode()} (expecting '{chr(letter)}')")
    return at + len(word)


def _number(data: bytes, at: int) -> int:
    """The place after a number; a part that was begun must have digits."""
    end = _end(_NUMBER, data, at)
    last = data[end - 1]
    if last in b"0123456789":
        return end
    where = "after decimal point in" if last == ord(".") else "in" if end == at + 1 else "in exponent of"
    raise _bad(data, end, f"{where} numeric literal")
