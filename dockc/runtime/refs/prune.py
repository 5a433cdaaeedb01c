"""Removing what takes space (`dockc prune`, and collection by itself): a plan is made and carried out.

What somebody has begun to use since the plan was made stays, with all that it stands on; then there is another plan,
until nothing more can go.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base import record as lean
from dockc.base.record import replace
from dockc.golang.filters import parse
from dockc.runtime.content.locks import lock_file, try_lock
from dockc.runtime.refs.core import now
from dockc.runtime.refs.leases import begun, living
from dockc.runtime.refs.plan import Plan, last_use, plan
from dockc.runtime.refs.policy import Disk, Rule
from dockc.runtime.refs.recovery import recover
from dockc.runtime.refs.types import RecordType, UsageRecord
from dockc.runtime.refs.usage import Keep, Keeper, census, kept_now, measured

if TYPE_CHECKING:
    from dockc.runtime.refs.core import Core

_DAY = 86400.0
_ROUNDS = 3
Told = Callable[[UsageRecord], None]
"""Takes each record that was removed, with the bytes that came free as its size; called from the thread that prunes."""


class Pruned(lean.Record):
    """What was removed: the records with the bytes that came free with each, and all bytes freed.

    Attributes:
        rules: for each record, the number of the rule that took it, from 0.
        other_blobs: bytes of blobs that no record had.
    """

    records: tuple[UsageRecord, ...] = ()
    size: int = 0
    other_blobs: int = 0
    rules: tuple[int, ...] = ()


def joined(one: Pruned, other: Pruned) -> Pruned:
    """What two runs have removed, the one after the other. Rules are told where both know them."""
    known = all(len(found.rules) == len(found.records) for found in (one, other))
    return Pruned(
        one.records + other.records,
        one.size + other.size,
        one.other_blobs + other.other_blobs,
        one.rules + other.rules if known else (),
    )


def planned(core: Core, rules: Sequence[Rule], keep: Keep | None = None) -> Plan:
    """What `prune` would do now."""
    return plan(census(core, keep, guests=core.guests), rules)


def prune(core: Core, rules: Sequence[Rule], keep: Keep | Keeper | None = None, told: Told | None = None) -> Pruned:
    """Remove what the rules say, one process at a time.

    Args:
        core: the store.
        rules: applied one after the other.
        keep: blobs of images with a name: the records that have them stay. Builds that end meanwhile name more: where it is
            a function, theirs stay, too.
        told: is told of each record as it goes.
    """
    lock = lock_file(_lock(core))
    try:
        return _prune(core, rules, keep, told, "dockc prune")
    finally:
        os.close(lock)


def collect(core: Core, rules: Sequence[Rule], keep: Keeper) -> Pruned:
    """Keep the store within its rules; meant for the end of a build, and quick when there is nothing to do.

    Another process that is at it already is left to it.
    """
    if not rules or not _due(core, rules):
        return Pruned()
    lock = try_lock(_lock(core))
    if lock is None:
        return Pruned()
    try:
        return _prune(core, rules, keep, None, "collection")
    finally:
        os.close(lock)


def _lock(core: Core) -> Path:
    return core.root / "locks" / "prune"


def _due(core: Core, rules: Sequence[Rule]) -> bool:
    """Whether any rule may have something to take, by sums alone."""
    moment = now()
    core.db.no_later(moment)
    used = measured(core)
    free = Disk.of(core.root).free
    oldest = dict(core.db.oldest())
    for item in core.guests.items().values() if core.guests is not None else ():
        kind, when = str(item.usage.record_type), last_use(item.usage)
        oldest[kind] = min(when, oldest.get(kind, when))
    for rule in rules:
        keep = rule.keeps(used, free)
        if keep is not None and used <= keep:
            continue
        found = [when for kind, when in oldest.items() if kind in _types(rule)]
        if found and moment - min(found) >= rule.keep_duration:
            return True
    return False


def _types(rule: Rule) -> frozenset[str]:
    """The types of records that a rule may be about."""
    asked = [
        {one.value for one in parse(text) if one.path == ("type",) and one.operator == "=="} for text in rule.filters
    ]
    if asked and all(asked):
        return frozenset().union(*asked)
    return frozenset(RecordType)


def _prune(core: Core, rules: Sequence[Rule], keep: Keep | Keeper | None, told: Told | None, who: str) -> Pruned:
    recover(core)  # what dead processes held is nobody's
    core.db.no_later(now())
    removed: list[UsageRecord] = []
    numbers: list[int] = []
    busy: set[str] = set()
    for _ in range(_ROUNDS):
        found = census(core, keep, guests=core.guests)
        before, refused = len(removed), len(busy)
        for one in plan(found, rules, busy).taken:
            record = found.items[one.id].usage
            core.rule = f"{who}: {rules[one.rule]}" if replace(rules[one.rule], all=False) != Rule() else who
            size = _remove(core, record)
            if size < 0:
                busy.add(one.id)
                continue
            record = replace(record, size=size)
            removed.append(record)
            numbers.append(one.rule)
            if told is not None:
                told(record)
        if len(removed) == before or (len(busy) == refused and not any(rule.min_free_space for rule in rules)):
            break
    core.rule = ""
    core.squashed.clean(everything=bool(removed))
    wide = any(rule.all and not rule.filters and not rule.limited for rule in rules)
    partial = core.content.clean(partial_older_than=0.0 if wide else _DAY)
    last = [rules[number] for number in set(numbers)]
    other = 0
    for rule in rules:
        if not rule.filters and (not rule.limited or (rule.all and rule in last)):
            other += _remove_loose_blobs(core, keep, rule.keep_duration / 1e9)
    size = sum(record.size for record in removed) + partial + other
    return Pruned(tuple(removed), size, other, tuple(numbers))


def _remove(core: Core, record: UsageRecord) -> int:
    """The bytes that came free; -1 where somebody needs the record, or has used it since it was counted: his image may have
    a name by now.
    """
    found = core.db.find(record.id)
    if found is None and core.guests is not None:
        return core.guests.remove(record.id)
    if found is not None and found.usage_count != record.usage_count:
        return -1
    return core.remove(record.id) if _unlocked(core, record) else -1


def _unlocked(core: Core, record: UsageRecord) -> bool:
    """Whether nobody has locked a cache directory or retained ref.

    The lock is let go at once: who takes it after this finds the record gone and looks for another.
    """
    if not record.mutable:
        return True
    for kind in ("cache", "mutable"):
        path = core.lock_path(kind, record.id)
        lock = try_lock(path, create=False)
        if lock is None and path.exists():
            return False
        if lock is not None:
            os.close(lock)
    return True


def _remove_loose_blobs(core: Core, keep: Keep | Keeper | None, younger: float) -> int:
    """Blobs that no record has (manifests, configs, interrupted exports) and nobody has touched for some seconds.

    While other processes work, only those that nobody has touched for a day before the oldest of them began, nor for
    the last day: they may be about to be used, and a clock that has jumped makes anything look old. What a process that
    has ended by then has named is looked up last.
    """
    here = list(core.content.digests())
    others = living(core.root) - {core.lease.id}
    oldest = min(map(partial(begun, core.root), others), default=0.0)
    named = {blob.descriptor.digest for blob in core.db.blobs()} | set(kept_now(keep))
    freed = 0
    for digest in here:
        if digest in named or (younger and core.content.age(digest) < younger):
            continue
        if not others or (core.content.age(digest) > _DAY and core.content.touched(digest) < oldest - _DAY):
            freed += core.content.remove(digest)
    return freed
