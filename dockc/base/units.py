"""Sizes and durations as people write them on command lines."""

from __future__ import annotations

import re

from dockc.base.pattern import pattern
from dockc.errors import UsageError

_SIZE = pattern(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)", re.IGNORECASE)
_MEMORY = pattern(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.IGNORECASE | re.ASCII)
_PART = pattern(r"(\d+(?:\.\d+)?)(ns|us|ms|h|m|s|d)")
_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}


def parse_size(text: str) -> int:
    """Bytes: `10GB` counts thousands, `10GiB` and `10G` count 1024s.

    Raises:
        UsageError: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"invalid size: {text}", hint="Write it as 512MB, 10GB or 2GiB.")
    power = "kmgt".find(found[2].lower()) + 1 if found[2] else 0
    unit = 1000 if found[3].lower() == "b" else 1024
    return int(float(found[1]) * unit**power)


def parse_memory(text: str) -> int:
    """Bytes of memory as container engines read them: `64m`, `1g` and `1GB` all count in 1024s.

    Raises:
        UsageError: it is no size.
    """
    found = _MEMORY.fullmatch(text)
    if found is None:
        raise UsageError(f"invalid size: {text}", hint="Write it as 64m or 2g.")
    power = "kmgtp".find(found[2].lower()) + 1 if found[2] else 0
    return int(float(found[1]) * 1024**power)


def parse_duration(text: str) -> int:
    """Nanoseconds of `1h30m`, `24h`, `7d`.

    Raises:
        UsageError: it is no duration.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"invalid duration: {text}", hint="Write it as 90s, 24h or 7d.")
    return int(sum(float(number) * _NANOSECONDS[unit] for number, unit in parts))


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
    return f"{nanoseconds / 1e9:g}s"
