"""Rules by which the store is collected, in BuildKit's words, and how its configuration files write them.

A rule says which records may go (`filters`, `all`, `keep_duration`) and how far: down to `max_used_space`, and further
until `min_free_space` is free on the disk, but never below `reserved_space`. A rule without any of the three takes
everything that may go. Rules are applied one after the other.

Source: moby/buildkit, docs/buildkitd.toml.md and cmd/buildkitd/config (meaning of the words, defaults by disk size).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dockc.base.record import Record, replace
from dockc.base.units import duration_text, size_text
from dockc.errors import UsageError
from dockc.golang import durations, numbers
from dockc.golang.filters import FilterError
from dockc.golang.filters import parse as parse_filter_text

_GIB = 1 << 30
_GB = 10**9
_SECOND = 10**9
_HOUR = 3600 * _SECOND
_UNKNOWN_DISK = 2 * _GB
_LARGEST = (1 << 63) - 1
TYPES = ("regular", "internal", "frontend", "source.local", "source.git.checkout", "exec.cachemount")
"""Types of records, as `type==` asks for them."""
FIELDS = ("id", "type", "description", "parents", "inuse", "mutable", "immutable", "shared", "private", "lazy")
"""What filters can ask for."""


class Disk(Record):
    """The disk that a store is on, in bytes.

    Attributes:
        total: its size; 0 where that is not known.
        free: what nobody uses, the reserve of root included.
    """

    total: int
    free: int

    @classmethod
    def of(cls, path: Path) -> Disk:
        """The disk of a path; all zero where nothing can be learned."""
        try:
            state = os.statvfs(path)
        except OSError:
            return cls(0, 0)
        return cls(state.f_frsize * state.f_blocks, state.f_frsize * state.f_bfree)


class Space(Record):
    """An amount of space: bytes, or a share of the disk in percent."""

    bytes: int = 0
    percent: int = 0

    def on(self, disk: Disk) -> int:
        """Bytes; a share is rounded up to full gigabytes (of GiB found), as BuildKit does."""
        if self.bytes or not self.percent:
            return self.bytes
        if not disk.total:
            return _UNKNOWN_DISK
        return (disk.total * self.percent // 100 // _GIB + 1) * _GB


class Rule(Record, kw_only=True):
    """One rule, its shares of the disk worked out.

    Attributes:
        all: internal and frontend records too.
        filters: a record that fits any of them may go; none let every record.
        keep_duration: nanoseconds; what was used within them stays.
        reserved_space: bytes that are never gone below.
        max_used_space: bytes that may be used; 0 is no limit.
        min_free_space: bytes that are to be free on the disk; 0 is no limit.
    """

    all: bool = False
    filters: tuple[str, ...] = ()
    keep_duration: int = 0
    reserved_space: int = 0
    max_used_space: int = 0
    min_free_space: int = 0

    @property
    def limited(self) -> bool:
        """Whether the rule goes only as far as space demands."""
        return bool(self.reserved_space or self.max_used_space or self.min_free_space)

    def keeps(self, used: int, free: int) -> int | None:
        """Bytes down to which the rule goes; None where it takes all that may go.

        Args:
            used: bytes that records use now.
            free: bytes that are free on the disk now.
        """
        if not self.limited:
            return None
        keep = self.max_used_space
        missing = self.min_free_space - free
        if self.min_free_space and missing > 0:
            keep = min(keep, used - missing) if keep else used - missing
        elif self.min_free_space and not keep:
            keep = used
        return max(keep, self.reserved_space)

    def __str__(self) -> str:
        """In words: `type==source.local, unused for 48h, beyond 512MB`."""
        parts = []
        if self.filters:
            parts.append(" or ".join(self.filters))
        elif self.all:
            parts.append("internal records too")
        if self.keep_duration:
            parts.append(f"unused for {duration_text(self.keep_duration)}")
        if self.max_used_space:
            parts.append(f"beyond {size_text(self.max_used_space)}")
        if self.min_free_space:
            parts.append(f"while less than {size_text(self.min_free_space)} are free")
        if self.reserved_space:
            parts.append(f"never below {size_text(self.reserved_space)}")
        return ", ".join(parts) or "everything"


class Written(Record, kw_only=True):
    """One rule as a file writes it; see `Rule`."""

    all: bool = False
    filters: tuple[str, ...] = ()
    keep_duration: int = 0
    reserved_space: Space = Space()
    max_used_space: Space = Space()
    min_free_space: Space = Space()

    def on(self, disk: Disk) -> Rule:
        """The rule on a disk."""
        return Rule(
            all=self.all,
            filters=self.filters,
            keep_duration=self.keep_duration,
            reserved_space=self.reserved_space.on(disk),
            max_used_space=self.max_used_space.on(disk),
            min_free_space=self.min_free_space.on(disk),
        )


class Policy(Record, kw_only=True):
    """What a file says of collection.

    Attributes:
        enabled: whether the store is collected at all.
        reserved_space, max_used_space, min_free_space: of the default rules; all empty for the defaults by disk size.
        rules: in the place of the default rules, or none.
    """

    enabled: bool = True
    reserved_space: Space = Space()
    max_used_space: Space = Space()
    min_free_space: Space = Space()
    rules: tuple[Written, ...] = ()

    def on(self, disk: Disk) -> tuple[Rule, ...]:
        """The rules on a disk, in their order; none where nothing is collected."""
        if not self.enabled:
            return ()
        if self.rules:
            return tuple(rule.on(disk) for rule in self.rules)
        spaces = (self.reserved_space, self.max_used_space, self.min_free_space)
        if spaces == (Space(), Space(), Space()):
            spaces = default_spaces(disk)
        reserved, most, free = (space.on(disk) for space in spaces)
        capped = Rule(reserved_space=reserved, max_used_space=most, min_free_space=free)
        return (
            Rule(
                filters=("type==source.local", "type==exec.cachemount", "type==source.git.checkout"),
                keep_duration=48 * _HOUR,
                max_used_space=512_000_000,
            ),
            replace(capped, keep_duration=60 * 24 * _HOUR),
            capped,
            replace(capped, all=True),
        )


def default_spaces(disk: Disk) -> tuple[Space, Space, Space]:
    """Reserved, most used and least free space where nothing is configured: 10 % of the disk and at most 10 GB, 80 %
    and at most 100 GB, 20 %.
    """
    reserved, most = Space(percent=10), Space(percent=80)
    if reserved.on(disk) > 10 * _GB:
        reserved = Space(10 * _GB)
    if most.on(disk) > 100 * _GB:
        most = Space(100 * _GB)
    return reserved, most, Space(percent=20)


# --- how files write it ---------------------------------------------------------------------------------


def parse_space(text: str) -> Space:
    """`10GB`, `512MiB`, `1000000`, `20%`; units count in 1024s, as BuildKit's files and buildx's flags read them.

    Raises:
        UsageError: it is no amount of space.
    """
    wrong = UsageError(f"invalid disk space: {text}", hint="Write it as 512MB, 10GB or 20%.")
    if text.endswith("%"):
        try:
            percent = numbers.parse_int(text[:-1])
        except numbers.NumberError:
            raise wrong from None
        if percent < 0:
            raise wrong
        return Space(percent=percent)
    try:
        size = numbers.parse_size(text)
    except ValueError:
        raise wrong from None
    if size < 0:  # more than fits
        raise wrong
    return Space(size)


def parse_duration(text: str) -> int:
    """Nanoseconds of `48h`, `1h30m`, or of a number of seconds, as BuildKit's files write it.

    Raises:
        UsageError: it is no duration, or a negative one.
    """
    try:
        found = durations.parse_duration(text)
    except durations.DurationError:
        try:
            found = numbers.parse_int(text) * _SECOND
        except numbers.NumberError:
            found = -1
    if not 0 <= found <= _LARGEST:
        raise UsageError(f"invalid duration: {text}", hint="Write it as 48h, 90m or a number of seconds.")
    return found


def check_filters(filters: Sequence[str]) -> tuple[str, ...]:
    """Filters that can be understood, and ask for what records have.

    Raises:
        UsageError: one that is not so.
    """
    for text in filters:
        try:
            conditions = parse_filter_text(text)
        except FilterError as error:
            raise UsageError(str(error), hint="Such as type==exec.cachemount,description~=npm.") from None
        for condition in conditions:
            if ".".join(condition.path) not in FIELDS:
                known = ", ".join(FIELDS)
                raise UsageError(f"unknown filter {'.'.join(condition.path)!r}", hint=f"Filter by {known}.")
    return tuple(filters)


_SPACES = {"reservedSpace": "reserved_space", "maxUsedSpace": "max_used_space", "minFreeSpace": "min_free_space"}


def read_policy(table: Mapping[str, Any], where: str, *, enabled: str = "gc", rules: str = "gcpolicy") -> Policy:
    """The policy in a table of a configuration file; other keys of the table are passed over.

    Args:
        table: `[worker.oci]` of buildkitd.toml, or `[gc]` of dockc's own.
        where: the table's name, for errors.
        enabled, rules: the keys that switch it off, and of the list of rules.

    Raises:
        UsageError: what cannot be understood.
    """
    on = table.get(enabled, True)
    if not isinstance(on, bool):
        raise UsageError(f"{where}.{enabled} is neither true nor false")
    spaces = {name: _space(table, key, where) for key, name in _SPACES.items()}
    if not any(space != Space() for space in spaces.values()):
        spaces["reserved_space"] = _space(table, "gckeepstorage", where)
    else:
        _space(table, "gckeepstorage", where)
    listed = table.get(rules, [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise UsageError(f"{where}.{rules} is not a list of tables", hint=f"Write [[{where}.{rules}]] above each rule.")
    written = tuple(_rule(one, f"{where}.{rules}[{number}]") for number, one in enumerate(listed, 1))
    return Policy(enabled=on, rules=written, **spaces)


def _rule(table: Mapping[str, Any], where: str) -> Written:
    for key in table:
        if key not in {*_SPACES, "all", "filters", "keepDuration", "keepBytes"}:
            raise UsageError(f"unknown key {where}.{key}")
    everything = table.get("all", False)
    if not isinstance(everything, bool):
        raise UsageError(f"{where}.all is neither true nor false")
    filters = table.get("filters", [])
    if not isinstance(filters, list) or not all(isinstance(one, str) for one in filters):
        raise UsageError(f"{where}.filters is not a list of texts")
    spaces = {name: _space(table, key, where) for key, name in _SPACES.items()}
    old = _space(table, "keepBytes", where)
    if spaces["reserved_space"] == Space():
        spaces["reserved_space"] = old
    try:
        duration = parse_duration(text) if (text := _text(table, "keepDuration", where)) else 0
        return Written(all=everything, filters=check_filters(filters), keep_duration=duration, **spaces)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from None


def _space(table: Mapping[str, Any], key: str, where: str) -> Space:
    text = _text(table, key, where)
    try:
        return parse_space(text) if text else Space()
    except UsageError as error:
        raise UsageError(f"{where}.{key}: {error.message}", hint=error.hint) from None


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    found = table.get(key, "")
    if isinstance(found, bool) or not isinstance(found, (str, int, float)):
        raise UsageError(f"{where}.{key} is neither a number nor a text")
    return str(found)
