"""What takes space (`dockc du`) and removing it (`dockc prune`)."""

from __future__ import annotations

import heapq
import os
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base import record as lean
from dockc.errors import UsageError
from dockc.runtime.content.locks import try_lock
from dockc.runtime.refs import database
from dockc.runtime.refs.core import now
from dockc.runtime.refs.leases import begun, living
from dockc.runtime.refs.types import RecordType, UsageRecord

if TYPE_CHECKING:
    from dockc.runtime.refs.core import Core
    from dockc.runtime.refs.database import Blob, Record

_DAY = 86400.0
_HOUR = 3600 * 10**9  # nanoseconds
_HIDDEN_TYPES = (RecordType.INTERNAL, RecordType.FRONTEND)
_FILTER = re.compile(r"(?P<key>[a-z]+)(?:(?P<op>==|!=|~=|=)(?P<value>.*))?", re.S)
_TRUE_OR_FALSE = ("inuse", "mutable", "immutable", "shared", "private", "lazy")
_TEXTS = ("id", "type", "description", "parents")


class PrunePolicy(lean.Record):
    """What to remove.

    Attributes:
        all: internal and frontend records too.
        filters: see `parse_filter`; a record that matches any of them may go. None: every record.
        keep_duration: nanoseconds; records used within them stay.
        keep_storage: bytes; removal stops when no more than these are used.
        keep_blobs: digests of blobs that stay, with the records that hold them (images with a name).
    """

    all: bool = False
    filters: tuple[Callable[[UsageRecord], bool], ...] = ()
    keep_duration: int = 0
    keep_storage: int = 0
    keep_blobs: frozenset[str] = frozenset()


class Pruned(lean.Record):
    """What was removed: the records as they were, and all bytes freed."""

    records: tuple[UsageRecord, ...] = ()
    size: int = 0
    other_blobs: int = 0


def parse_filter(text: str) -> Callable[[UsageRecord], bool]:
    """A condition on records: `key`, `key==value`, `key!=value`, `key~=regex`; a comma is "and".

    Keys: id, type, description, parents (texts); inuse, mutable, immutable, shared, private, lazy (true or
    false, bare is true). `until` is not a filter but `PrunePolicy.keep_duration`.

    Raises:
        UsageError: an unknown key or a regular expression that does not compile.
    """
    conditions = [_condition(part.strip()) for part in text.split(",") if part.strip()]
    if not conditions:
        raise UsageError("an empty filter")
    return lambda record: all(condition(record) for condition in conditions)


def _condition(text: str) -> Callable[[UsageRecord], bool]:
    found = _FILTER.fullmatch(text)
    key = found["key"] if found else ""
    if found is None or key not in (*_TRUE_OR_FALSE, *_TEXTS):
        known = ", ".join((*_TEXTS, *_TRUE_OR_FALSE))
        raise UsageError(f"unknown filter {text!r}", hint=f"Filter by {known}.")
    operator, value = found["op"] or "", found["value"] or ""
    if key in _TRUE_OR_FALSE:
        wanted = value.lower() not in ("false", "0", "no") if operator else True
        return lambda record: _truth(record, key) is (wanted if operator != "!=" else not wanted)
    if operator == "~=":
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise UsageError(f"filter {text!r}: {error}") from None
        return lambda record: any(pattern.search(text) for text in _texts(record, key))
    if not operator:
        return lambda record: any(_texts(record, key))
    return lambda record: (value in _texts(record, key)) is (operator != "!=")


def _truth(record: UsageRecord, key: str) -> bool:
    if key == "immutable":
        return not record.mutable
    if key == "private":
        return not record.shared
    return bool(getattr(record, "in_use" if key == "inuse" else key))


def _texts(record: UsageRecord, key: str) -> Sequence[str]:
    if key == "parents":
        return record.parents
    return (str(record.record_type if key == "type" else getattr(record, key)),)


def disk_usage(path: Path) -> int:
    """Bytes that a directory takes on the disk; a file with several names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    todo = [str(path)]
    while todo:
        folder = todo.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue  # removed meanwhile, or not ours to read; the same below
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                todo.append(entry.path)
            elif status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
    return total


def usage(core: Core) -> list[UsageRecord]:
    """Every record, oldest first; sizes that nobody has measured yet are measured now."""
    held = core.db.held()
    children: dict[str, int] = {}
    parents: dict[str, list[str]] = {}
    for child, parent in core.db.all_parents():
        children[parent] = children.get(parent, 0) + 1
        parents.setdefault(child, []).append(parent)
    blobs: dict[str, list[Blob]] = {}
    users: dict[str, set[str]] = {}
    for blob in core.db.blobs():
        blobs.setdefault(blob.record, []).append(blob)
        users.setdefault(blob.descriptor.digest, set()).add(blob.record)
    out: list[UsageRecord] = []
    for record in core.db.records():
        own = blobs.get(record.id, [])
        here = [b for b in own if core.content.has(b.descriptor.digest)]
        blob_sizes = {b.descriptor.digest: b.descriptor.size for b in here if len(users[b.descriptor.digest]) == 1}
        out.append(
            UsageRecord(
                id=record.id,
                record_type=RecordType(record.record_type),
                description=record.description,
                size=_directory_size(core, record) + sum(blob_sizes.values()),
                created_at=record.created_at,
                last_used_at=record.last_used_at if record.usage_count else None,
                usage_count=record.usage_count,
                in_use=record.id in held,
                mutable=record.state == database.MUTABLE,
                shared=children.get(record.id, 0) > 0,
                lazy=bool(own) and not here and not record.snapshot,
                parents=tuple(parents.get(record.id, ())),
            )
        )
    return out


def _directory_size(core: Core, record: Record) -> int:
    if not record.snapshot:
        return 0
    if record.size >= 0:
        return record.size
    size = disk_usage(core.changes_dir(record.id))
    if record.state == database.COMMITTED or record.retain:
        core.db.update(record.id, size=size)
    return size


def prune(core: Core, policy: PrunePolicy) -> Pruned:
    """Remove records from the outside in, least recently used first."""
    records = {record.id: record for record in usage(core)}
    total = sum(record.size for record in records.values())
    children = dict.fromkeys(records, 0)
    for record in records.values():
        for parent in record.parents:
            if parent in children:
                children[parent] += 1
    queue = [(_age_key(r), r.id) for r in records.values() if not children[r.id]]
    heapq.heapify(queue)
    kept = {blob.record for blob in core.db.blobs() if blob.descriptor.digest in policy.keep_blobs}
    removed: list[UsageRecord] = []
    freed = 0
    while queue and (not policy.keep_storage or total > policy.keep_storage):
        record = records[heapq.heappop(queue)[1]]
        if record.id in kept or not may_go(record, policy) or not _unlocked(core, record):
            continue
        bytes_freed = core.remove(record.id)
        if bytes_freed < 0:
            continue
        removed.append(record)
        freed += bytes_freed
        total -= record.size
        for parent in set(record.parents):
            if parent not in records:
                continue
            children[parent] -= record.parents.count(parent)
            if not children[parent]:
                heapq.heappush(queue, (_age_key(records[parent]), parent))
    core.squashed.clean(everything=bool(removed))
    partial = core.content.clean(partial_older_than=0.0 if policy.all else _DAY)
    other = 0 if policy.filters or policy.keep_storage else _remove_loose_blobs(core, policy.keep_blobs)
    return Pruned(tuple(removed), freed + partial + other, other)


def collect(core: Core, keep_blobs: frozenset[str] = frozenset()) -> Pruned:
    """Keep the store within its share of the disk; meant for the end of a build, and quick when there is room.

    The store may take 60 % of the disk as long as 20 % of it stay free, and 10 % in any case. What was used within
    the last hour stays.
    """
    disk = shutil.disk_usage(core.root)
    share, spare, least = disk.total * 6 // 10, disk.total * 2 // 10, disk.total // 10
    if disk.total - disk.free <= share and disk.free >= spare:
        return Pruned()
    used = sum(record.size for record in usage(core))
    allowed = max(least, min(share, used + disk.free - spare))
    if used <= allowed:
        return Pruned()
    return prune(core, PrunePolicy(keep_storage=allowed, keep_duration=_HOUR, keep_blobs=keep_blobs))


def _age_key(record: UsageRecord) -> tuple[int, int]:
    return (record.last_used_at or record.created_at, record.usage_count)


def may_go(record: UsageRecord, policy: PrunePolicy) -> bool:
    """Whether a policy gives a record up, as long as nothing stands on it."""
    if record.in_use or (not policy.all and record.record_type in _HIDDEN_TYPES):
        return False
    if policy.keep_duration and now() - (record.last_used_at or record.created_at) < policy.keep_duration:
        return False
    return not policy.filters or any(matches(record) for matches in policy.filters)


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


def _remove_loose_blobs(core: Core, keep: frozenset[str]) -> int:
    """Blobs that no record has (manifests, configs, interrupted exports).

    While other processes work, only those that nobody has touched for a day before the oldest of them began, nor for
    the last day: they may be about to be used, and a clock that has jumped makes anything look old.
    """
    others = living(core.root) - {core.lease.id}
    oldest = min(map(partial(begun, core.root), others), default=0.0)
    named = {blob.descriptor.digest for blob in core.db.blobs()} | keep
    freed = 0
    for digest in list(core.content.digests()):
        if digest in named:
            continue
        if not others or (core.content.age(digest) > _DAY and core.content.touched(digest) < oldest - _DAY):
            freed += core.content.remove(digest)
    return freed
