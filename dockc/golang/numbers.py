"""Numbers and booleans in option texts, read and refused the way the reference's language does it.

The messages (`strconv.ParseInt: parsing "64m": invalid syntax`) reach users of any Dockerfile builder, so they are
part of the behaviour.
"""

from __future__ import annotations

from dockc.golang.text import quote

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


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
    value = _digits(body, base)
    if value is None:
        raise NumberError(function, text, "invalid syntax")
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
    value = _digits(text, base)
    if value is None:
        raise NumberError("ParseUint", text, "invalid syntax")
    if value >= 1 << bits:
        raise NumberError("ParseUint", text, "value out of range")
    return value


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


def _digits(text: str, base: int) -> int | None:
    """The value of ASCII digits, None for anything else; a number longer than any limit stays cheap."""
    allowed = _DIGITS[:base]
    if not text or any(char not in allowed for char in text.lower()):
        return None
    significant = text.lstrip("0")
    return int(significant[:80] or "0", base)


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
    """A floating point number without the spaces and word forms that only Python reads."""
    if not text or not text.isascii() or text != text.strip():
        raise NumberError("ParseFloat", text, "invalid syntax")
    if "_" in text or text.lower().lstrip("+-").startswith(("nan", "inf")):
        raise NumberError("ParseFloat", text, "invalid syntax")
    try:
        value = float(text)
    except ValueError:
        raise NumberError("ParseFloat", text, "invalid syntax") from None
    if value in (float("inf"), float("-inf")):
        raise NumberError("ParseFloat", text, "value out of range")
    return value
