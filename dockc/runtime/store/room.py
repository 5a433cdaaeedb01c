"""Room on a disk that has none: `dockc prune` must work where not even a database can be opened.

Opening a store makes a lease, a directory and a database's shared memory; that takes some kilobytes. Where they are
not to be had, and the ballast has been given up before, what the dead have left is removed, and then directories of
records that the rules give up, by a copy of the database in memory. The store copes with records whose directories
are gone; `prune` removes these records first.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.errors import StoreError
from dockc.runtime.content.locks import try_lock
from dockc.runtime.refs.core import now
from dockc.runtime.refs.database import Database
from dockc.runtime.refs.leases import living
from dockc.runtime.refs.plan import matcher, may_go
from dockc.runtime.refs.types import RecordType, UsageRecord
from dockc.runtime.snapshot.removal import remove_tree

if TYPE_CHECKING:
    from dockc.runtime.refs.database import Blob
    from dockc.runtime.refs.policy import Rule
    from dockc.runtime.refs.usage import Keep

ENOUGH = 1 << 20
"""Bytes that opening a store, and removing a record from it, can do with."""
_COPIES = ("/dev/shm", None)  # noqa: S108 - in memory, in a directory of our own; else wherever temporary files go


def free(root: Path) -> int:
    """Bytes that are free on the store's disk."""
    state = os.statvfs(root)
    return state.f_bavail * state.f_frsize


def make_room(root: Path, rules: Sequence[Rule], keep: Keep) -> tuple[str, ...]:
    """Free some space without writing anything, if there is next to none.

    Args:
        root: a store, which need not be opened for it.
        rules: what may go.
        keep: blobs that stay, with the records that have them.

    Returns:
        Records whose directories or blobs were removed: remove them first once the store is open.
    """
    try:
        if free(root) >= ENOUGH:
            return ()
        _remove_left_overs(root)
        if free(root) >= ENOUGH or not (root / "store.db").exists():
            return ()
        return _remove_records(root, rules, keep)
    except (OSError, StoreError):
        return ()  # whoever opens the store says what is wrong


def _remove_left_overs(root: Path) -> None:
    """What dead processes have left: unfinished work, parts of downloads; and combined layers that nobody uses."""
    alive = living(root)
    for path in (root / "staging").iterdir():
        if path.name not in alive:
            with contextlib.suppress(OSError):
                remove_tree(path)
    for path in (root / "content" / "ingest").iterdir():
        _remove_unlocked(path, path)
    if (root / "squashed").is_dir():
        for lock in (root / "squashed").glob("*.lock"):
            _remove_unlocked(lock, lock.with_suffix(""))


def _remove_unlocked(lock: Path, path: Path) -> None:
    descriptor = try_lock(lock, create=False)
    if descriptor is not None:
        with contextlib.suppress(OSError):
            remove_tree(path)
        os.close(descriptor)


def _remove_records(root: Path, rules: Sequence[Rule], keep: Keep) -> tuple[str, ...]:
    removed: list[str] = []
    asked = [(rule, matcher(rule.filters)) for rule in rules]
    moment = now()
    with _copied(root) as database:
        alive = living(root)
        held = {record for lease in alive for record in database.held_by(lease)}
        parents = {parent for _, parent in database.all_parents()}
        blobs: dict[str, list[Blob]] = {}
        users: dict[str, set[str]] = {}
        for blob in database.blobs():
            blobs.setdefault(blob.record, []).append(blob)
            users.setdefault(blob.descriptor.digest, set()).add(blob.record)
        for record in sorted(database.records(), key=lambda record: record.last_used_at):
            own = blobs.get(record.id, [])
            if record.id in parents or any(blob.descriptor.digest in keep for blob in own):
                continue
            seen = UsageRecord(
                id=record.id,
                record_type=RecordType(record.record_type),
                description=record.description,
                size=max(0, record.size),
                created_at=record.created_at,
                last_used_at=record.last_used_at if record.usage_count else None,
                usage_count=record.usage_count,
                in_use=record.id in held,
                mutable=record.state == "mutable",
                shared=False,
                lazy=False,
            )
            if record.retain or not any(may_go(seen, rule, moment, fits) for rule, fits in asked):
                continue
            removed.append(record.id)
            remove_tree(root / "snapshots" / record.id)
            for blob in own:
                if users[blob.descriptor.digest] == {record.id}:
                    algorithm, _, name = blob.descriptor.digest.partition(":")
                    (root / "content" / "blobs" / algorithm / name).unlink(missing_ok=True)
            if free(root) >= ENOUGH:
                break
    return tuple(removed)


@contextlib.contextmanager
def _copied(root: Path) -> Iterator[Database]:
    """The database as it is on disk, with its journal, opened somewhere else."""
    for place in _COPIES:
        if place is not None and not os.access(place, os.W_OK):
            continue
        with tempfile.TemporaryDirectory(prefix="dockc-", dir=place) as folder:
            copy = Path(folder) / "store.db"
            for suffix in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(root / f"store.db{suffix}", f"{copy}{suffix}")
            database = Database(copy)
            try:
                yield database
            finally:
                database.close()
            return
