"""How many builds a store remembers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dockc.base.record import Record
from dockc.errors import UsageError

KEEP_BUILDS = 100
"""Builds that are kept: the newest."""
KEEP_BYTES = 256 << 20
"""Bytes that all records together may take; the oldest go. No record becomes larger: what a build prints beyond that is
left out, and its record says how much."""


class Keep(Record, kw_only=True):
    """Which builds are kept. Pinned ones and those that run always are.

    Attributes:
        entries: the newest so many.
        age: those that ended within so many seconds, however many.
        size: bytes of all records together, whatever else is said.
    """

    entries: int = KEEP_BUILDS
    age: float = 0.0
    size: int = KEEP_BYTES


def read_keep(table: Mapping[str, Any], name: str, usual: Keep) -> Keep:
    """How many builds are remembered, and how long in any case, by a table `[history]` as `buildkitd.toml` has it.

    Args:
        table: `maxEntries`, a number, and `maxAge`, seconds or a duration such as 48h.
        name: the file, for errors.
        usual: what counts where the table says nothing.

    Raises:
        UsageError: a key or value that it does not have.
    """
    from dockc.golang.durations import DurationError, parse_duration

    for key in table:
        if key not in {"maxAge", "maxEntries"}:
            raise UsageError(f"{name}: unknown key history.{key}", hint="Known: maxAge, maxEntries.")
    age, entries = table.get("maxAge", int(usual.age)), table.get("maxEntries", usual.entries)
    if isinstance(age, str):
        try:
            age = parse_duration(age) // 1_000_000_000
        except DurationError as error:
            raise UsageError(f"{name}: history.maxAge: {error}") from None
    for key, value in (("maxAge", age), ("maxEntries", entries)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UsageError(f"{name}: history.{key} is {value}", hint="maxAge is seconds or 48h, maxEntries a number.")
    return Keep(entries=entries, age=float(age))
