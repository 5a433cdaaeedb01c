"""Sizes and durations as people write them on command lines."""

from __future__ import annotations

import re

from dockc.base.pattern import pattern
from dockc.errors import UsageError

# More digits than these make no number that anything can have.
_NUMBER = r"([0-9]{1,20})(?:\.([0-9]{1,20}))?"
_SIZE = pattern(rf"{_NUMBER}\s*([kmgt]?)(i?b?)", re.IGNORECASE | re.ASCII)
_MEMORY = pattern(rf"{_NUMBER} ?([kmgtp]?)i?b?", re.IGNORECASE | re.ASCII)
_PART = pattern(rf"{_NUMBER}(ns|us|ms|h|m|s|d)")
_MOST = (1 << 63) - 1
_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}


def parse_size(text: str) -> int:
    """Bytes: `10GB` counts thousands, `10GiB` and `10G` count 1024s.

    Raises:
        UsageError: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"invalid size: {text}", hint="Write it as 512MB, 10GB or 2GiB.")
    power = "kmgt".find(found[3].lower()) + 1 if found[3] else 0
    unit = 1000 if found[4].lower() == "b" else 1024
    return _fitting("size", text, _units(found[1], found[2], unit**power))


def parse_memory(text: str) -> int:
    """Bytes of memory as container engines read them: `64m`, `1g` and `1GB` all count in 1024s.

    Raises:
        UsageError: it is no size.
    """
    found = _MEMORY.fullmatch(text)
    if found is None:
        raise UsageError(f"invalid size: {text}", hint="Write it as 64m or 2g.")
    power = "kmgtp".find(found[3].lower()) + 1 if found[3] else 0
    return _fitting("size", text, _units(found[1], found[2], 1024**power))


def parse_duration(text: str) -> int:
    """Nanoseconds of `1h30m`, `24h`, `7d`.

    Raises:
        UsageError: it is no duration.
    """
    total = at = 0
    while found := _PART.match(text, at):
        total += _units(found[1], found[2], _NANOSECONDS[found[3]])
        at = found.end()
    if not text or at < len(text):
        raise UsageError(f"invalid duration: {text}", hint="Write it as 90s, 24h or 7d.")
    return _fitting("duration", text, total)


def _units(whole: str, fraction: str | None, unit: int) -> int:
    """So many units, without the rounding of a floating point number: `1.001s` is 1,001,000,000 ns."""
    digits = fraction or ""
    scale: int = 10 ** len(digits)
    return int(whole + digits) * unit // scale


def _fitting(what: str, text: str, value: int) -> int:
    if value > _MOST:
        raise UsageError(f"invalid {what}: {text} is too large")
    return value


def size_text(count: int) -> str:
    """`528B`, `1.46kB`, `3.42MB`: powers of a thousand."""
    if count < 1000:
        return f"{count}B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        value /= 1000
        if value < 999.995:
            return f"{value:.2f}{unit}"
    return f"{value / 1000:.2f}EB"


def duration_text(nanoseconds: int) -> str:
    """`60d`, `48h`, `90m`, `10s`, `1.5s`."""
    for unit, least in (("d", 3), ("h", 1), ("m", 1)):
        size = _NANOSECONDS[unit]
        if nanoseconds >= size * least and not nanoseconds % size:
            return f"{nanoseconds // size}{unit}"
    whole, rest = divmod(nanoseconds, 10**9)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".") + "s"
