"""Numbers and booleans in option texts, read and refused the way the reference's language does it.

The messages (`strconv.ParseInt: parsing "64m": invalid syntax`) reach users of any Dockerfile builder, so they are
part of the behaviour.
"""

from __future__ import annotations

from dockc.base.pattern import IGNORECASE, pattern
from dockc.golang.text import quote

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_DECIMAL = pattern(r"[+-]?[0-9_]*\.?[0-9_]*(?:[eE][+-]?[0-9][0-9_]*)?")
_HEXADECIMAL = pattern(r"[+-]?0[xX][0-9a-fA-F_]*\.?[0-9a-fA-F_]*[pP][+-]?[0-9][0-9_]*")
_NAMED = pattern(r"[+-]?(?:inf|infinity)|nan", IGNORECASE)
# Underscores stand between digits; the sign of base 16 is as good as one before them.
_STRAY = pattern(r"(?<![0-9])_|_(?![0-9])")
_STRAY_HEXADECIMAL = pattern(r"(?<![0-9a-fA-FxX])_|_(?![0-9a-fA-F])")


class NumberError(ValueError):
    """A text that is no such number.

    Attributes:
        reason: `invalid syntax` or `value out of range`.
    """

    def __init__(self, function: str, text: str, reason: str) -> None:
        super().__init__(f"strconv.{function}: parsing {quote(text)}: {reason}")
        self.reason = reason


def parse_int(text: str, *, base: int = 10, bits: int = 64, function: str = "ParseInt") -> int:
    """A signed number of at most `bits` bits.

    Raises:
        NumberError: not a number, or out of range.
    """
    body = text[1:] if text[:1] in ("+", "-") else text
    value = _digits(function, text, body, base, bits)
    if text[:1] == "-":
        value = -value
    limit = 1 << (bits - 1)
    if not -limit <= value < limit:
        raise NumberError(function, text, "value out of range")
    return value


def parse_uint(text: str, *, base: int = 10, bits: int = 64) -> int:
    """An unsigned number of at most `bits` bits; no sign is allowed.

    Raises:
        NumberError: not a number, or out of range.
    """
    return _digits("ParseUint", text, text, base, bits)


def parse_bool(text: str) -> bool:
    """One of the twelve spellings of true and false.

    Raises:
        NumberError: any other text.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise NumberError("ParseBool", text, "invalid syntax")


def _digits(function: str, text: str, body: str, base: int, bits: int) -> int:
    """The value of ASCII digits. They are read from the left: too large a number is out of range whatever follows."""
    value = 0
    for char in body:
        digit = _DIGITS.find(char.lower(), 0, base)
        if digit < 0:
            raise NumberError(function, text, "invalid syntax")
        value = value * base + digit
        if value >= 1 << bits:
            raise NumberError(function, text, "value out of range")
    if not body:
        raise NumberError(function, text, "invalid syntax")
    return value


_SUFFIXES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def parse_size(text: str) -> int:
    """An amount of memory in bytes: `64`, `64m`, `1.5 GiB`; powers of 1024.

    Raises:
        ValueError: not an amount of memory.
    """
    cut = max(text.rfind(char) for char in "0123456789. ")
    if cut == -1:
        raise ValueError(f"invalid size: '{text}'")
    number = text[:cut] if text[cut] == " " else text[: cut + 1]
    suffix = text[cut + 1 :]
    size = _float(number)
    if size < 0:
        raise ValueError(f"invalid size: '{text}'")
    if suffix:
        unit = suffix.lower()
        if len(suffix.encode("utf-8", "surrogateescape")) > 3:
            raise ValueError(f"invalid suffix: '{suffix}'")
        if unit != "b":
            factor = _SUFFIXES.get(unit[0])
            if factor is None or unit[1:] not in ("", "b", "ib"):
                raise ValueError(f"invalid suffix: '{unit}'")
            size *= factor
    if size != size or size >= 1 << 63:
        return -(1 << 63)
    return int(size)


def _float(text: str) -> float:
    """A floating point number: decimal, hexadecimal (`0x1p4`) or a word, with underscores between digits."""
    if _NAMED.fullmatch(text):
        return float(text)
    hexadecimal = _HEXADECIMAL.fullmatch(text) is not None
    stray = _STRAY_HEXADECIMAL if hexadecimal else _STRAY
    if not (hexadecimal or _DECIMAL.fullmatch(text)) or stray.search(text):
        raise NumberError("ParseFloat", text, "invalid syntax")
    digits = text.replace("_", "")
    try:
        value = float.fromhex(digits) if hexadecimal else float(digits)
    except OverflowError:
        value = float("inf")
    except ValueError:
        raise NumberError("ParseFloat", text, "invalid syntax") from None
    if value in (float("inf"), float("-inf")):
        raise NumberError("ParseFloat", text, "value out of range")
    return value
