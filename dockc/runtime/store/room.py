"""Room on a disk that has none: `dockc prune` must work where nothing can be written, not a byte and not a file.

Removing a record the usual way writes first: a lease, a directory of its own, the database. Where there is no room for
that, and the reserve (`ballast`) is used up, the order is turned round: the files of what the rules give up are removed
first, and the records are written off once there is room for it.

    snapshots/<id>   ->  snapshots/~<id>     renamed, then emptied: the record is going
    store.db, cache.db                       `recover`, at the next opening that can write, deletes the records of all
                                             `~<id>`, and these directories at last

A kill at any moment leaves a record that is whole, or one that is marked as going. While that is done nobody can begin to
use a record: the database is locked where it can be opened, and where there is no room for that (SQLite needs shared
memory beside it) nobody else can open it either.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.record import Record, replace
from dockc.errors import DiskFull
from dockc.runtime.content.errors import FULL, Free
from dockc.runtime.content.locks import try_lock
from dockc.runtime.refs.database import Database
from dockc.runtime.refs.leases import living
from dockc.runtime.refs.plan import plan
from dockc.runtime.refs.prune import Pruned
from dockc.runtime.refs.recovery import going_place
from dockc.runtime.refs.usage import census
from dockc.runtime.snapshot.removal import remove_tree

if TYPE_CHECKING:
    from dockc.runtime.refs.plan import Item
    from dockc.runtime.refs.policy import Rule
    from dockc.runtime.refs.usage import Keep

ENOUGH = 1 << 20
"""Bytes that opening a store, and removing a record from it, can do with."""
FILES = 32
"""And so many files."""
_COPIES = ("/dev/shm", None)  # noqa: S108 - in memory, in a directory of our own; else wherever temporary files go
_LOCKS = ("cache", "mutable")


class _Looked(Record):
    """A store that is not open: what a census needs of one."""

    root: Path
    db: Database


def has_room(root: Path) -> bool:
    """Whether a store can be opened and written."""
    return Free.at(root).has(ENOUGH, FILES)


def make_room(root: Path, rules: Sequence[Rule], keep: Keep, *, everything: bool = False) -> Pruned:
    """Free space without writing anything, if there is next to none.

    Args:
        root: a store, which need not be opened for it.
        rules: what may go.
        keep: blobs that stay, with the records that have them.
        everything: all that the rules give up, and not only as much as is needed to open the store.

    Returns:
        What has gone. The records themselves are removed by whoever opens the store next.

    Raises:
        StoreError: the database cannot be read.
    """
    if not (root / "store.db").is_file() or (not everything and has_room(root)):
        return Pruned()
    _remove_left_overs(root)
    if not everything and has_room(root):
        return Pruned()
    with _looked_at(root) as database:
        return _remove_records(root, database, rules, keep, everything=everything)


def _remove_left_overs(root: Path) -> None:
    """What dead processes have left: unfinished work, parts of downloads; and combined layers that nobody uses."""
    alive = living(root)
    for path in _listed(root / "staging"):
        if path.name not in alive:
            with contextlib.suppress(OSError):
                remove_tree(path)
    for path in _listed(root / "leases"):
        if path.name.lstrip(".") not in alive:
            _remove_unlocked(path, path)
    for path in _listed(root / "content" / "ingest"):
        _remove_unlocked(path, path)
    for lock in _listed(root / "squashed"):
        if lock.suffix == ".lock":
            _remove_unlocked(lock, lock.with_suffix(""))
    for path in _listed(root / "snapshots"):
        if path.name.startswith("~"):
            _empty(path)


def _listed(folder: Path) -> list[Path]:
    """What a directory of the store holds; what lies behind a link is somebody else's."""
    try:
        return [] if folder.is_symlink() else list(folder.iterdir())
    except FileNotFoundError:
        return []


def _remove_unlocked(lock: Path, path: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = try_lock(lock, create=False)
        if descriptor is not None:
            try:
                remove_tree(path)
            finally:
                os.close(descriptor)


def _remove_records(root: Path, database: Database, rules: Sequence[Rule], keep: Keep, *, everything: bool) -> Pruned:
    found = census(_Looked(root, database), keep, alive=living(root), note=False)
    users: dict[str, int] = {}
    for digest, _ in {(blob.descriptor.digest, blob.record) for blob in database.blobs()}:
        users[digest] = users.get(digest, 0) + 1
    todo = list(plan(found, rules, _locked_records(root, found.items)).taken)
    gone, numbers, size = [], [], 0
    progress = True
    while todo and progress:
        progress = False
        waiting, below = [], set[str]()
        for one in todo:
            item = found.items[one.id]
            # From the outside in: what a record stands on stays until it is marked itself.
            if one.id in below or not _mark(root, one.id, item, users):
                below |= set(item.usage.parents)
                waiting.append(one)
                continue
            progress = True
            _empty(going_place(root, one.id))
            for digest in item.blobs:
                users[digest] -= 1
                if not users[digest]:
                    _blob(root, digest).unlink(missing_ok=True)
            gone.append(replace(item.usage, size=one.size))
            numbers.append(one.rule)
            size += one.size
            if not everything and has_room(root):
                return Pruned(tuple(gone), size, 0, tuple(numbers))
        todo = waiting
    return Pruned(tuple(gone), size, 0, tuple(numbers))


def _locked_records(root: Path, items: Mapping[str, Item]) -> set[str]:
    """Cache directories and retained refs that somebody has locked."""
    found = set()
    for name, item in items.items():
        for kind in _LOCKS if item.usage.mutable else ():
            path = root / "locks" / f"{kind}-{name}"
            lock = try_lock(path, create=False)
            if lock is not None:
                os.close(lock)
            elif path.exists():
                found.add(name)
    return found


def _mark(root: Path, name: str, item: Item, users: Mapping[str, int]) -> bool:
    """Mark a record as going; False where there is no room even for that.

    Its directory becomes the mark, or else a blob that nobody else has: neither needs room. Only what has no files (a
    merge, a layer that was never fetched) needs a new one.
    """
    mark = going_place(root, name)
    own = [_blob(root, digest) for digest in item.blobs if users[digest] == 1]
    try:
        for source in (root / "snapshots" / name, *own):
            with contextlib.suppress(FileNotFoundError):
                source.rename(mark)
                return True
        mark.touch(mode=0o600)
    except OSError as error:
        if error.errno not in FULL:
            raise
        return False
    return True


def _empty(mark: Path) -> None:
    """Remove all that a mark holds, and not the mark itself; what cannot be removed now is left to `recover`."""
    with contextlib.suppress(OSError):
        if mark.is_dir():
            for path in list(mark.iterdir()):
                remove_tree(path)
        else:
            os.truncate(mark, 0)


def _blob(root: Path, digest: str) -> Path:
    algorithm, _, name = digest.partition(":")
    return root / "content" / "blobs" / algorithm / name


@contextlib.contextmanager
def _looked_at(root: Path) -> Iterator[Database]:
    """The database, which nobody else writes meanwhile."""
    try:
        database = Database(root / "store.db")
    except DiskFull:
        with _copied(root) as database:
            yield database
        return
    try:
        with database.transaction():
            yield database
    finally:
        database.close()


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
