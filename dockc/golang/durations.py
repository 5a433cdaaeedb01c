"""Durations as the reference's language writes them: `1h30m`, `1.5s`, `250ms`.

Source: Go's time.ParseDuration; the messages are its own.
"""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.errors import DockcError

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = pattern(r"([0-9]*)(?:(\.)([0-9]*))?([^.0-9]*)")
_LIMIT = 1 << 63


class DurationError(DockcError, ValueError):
    """A text that is no duration."""


def parse_duration(text: str) -> int:
    """Nanoseconds. Raises DurationError."""
    rest = text[1:] if text[:1] in ("+", "-") and text else text
    negative = text[:1] == "-"
    if rest == "0":
        return 0
    invalid = DurationError(f"time: invalid duration {_quote(text)}")
    if not rest:
        raise invalid
    total = at = 0
    while at < len(rest):
        match = _PART.match(rest, at)
        assert match is not None
        whole, _, fraction, unit = match.groups()
        if not whole and not fraction:
            raise invalid
        value = _whole(whole)
        if value > _LIMIT:
            raise invalid
        if not unit:
            raise DurationError(f"time: missing unit in duration {_quote(text)}")
        factor = _UNITS.get(unit)
        if factor is None:
            raise DurationError(f"time: unknown unit {_quote(unit)} in duration {_quote(text)}")
        value *= factor
        if value > _LIMIT:
            raise invalid
        value += _fraction(fraction or "", factor)
        if value > _LIMIT:
            raise invalid
        total += value
        if total > _LIMIT:
            raise invalid
        at = match.end()
    if not negative and total > _LIMIT - 1:
        raise invalid
    return -total if negative else total


def _whole(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) < 25 else _LIMIT + 1


def _fraction(digits: str, factor: int) -> int:
    """The nanoseconds of a fraction, with the reference's rounding: digits beyond 63 bits do not count."""
    number, scale = 0, 1.0
    for digit in digits:
        if number > (_LIMIT - 1) // 10:
            break
        following = number * 10 + int(digit)
        if following > _LIMIT:
            break
        number = following
        scale *= 10
    return int(float(number) * (float(factor) / scale)) if number else 0


def _quote(text: str) -> str:
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif " " <= char < "\x80":
            out.append(char)
        else:
            out += [f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape")]
    return '"' + "".join(out) + '"'
