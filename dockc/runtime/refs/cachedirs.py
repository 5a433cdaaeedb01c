"""Directories of cache mounts: persistent, found by key, shared between processes by their sharing mode.

A cache directory is a plain directory (never an overlay), so that several builds can use it at once. Who uses it
holds a lock on its lock file: shared for SHARED, exclusive for LOCKED and PRIVATE.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.errors import DockcError, StoreError
from dockc.runtime.cancel import Cancelled
from dockc.runtime.content.errors import telling
from dockc.runtime.content.locks import lock_file, locked, try_lock
from dockc.runtime.refs import database
from dockc.runtime.refs.core import new_id
from dockc.runtime.refs.ref import fresh_record
from dockc.runtime.refs.types import CacheMount, Fill, RecordType, Sharing
from dockc.runtime.refs.unpack import inherit_root, settle
from dockc.runtime.refs.usage import disk_usage
from dockc.runtime.snapshot.squash import apply_changes

if TYPE_CHECKING:
    from dockc.runtime.refs.core import Core
    from dockc.runtime.refs.ref import ImmutableRef

META_KEY = "cache-dir"
_BASES = re.compile(r"(?::[0-9a-z]{25})+\Z")  # ids of the file systems that a directory began as


def mount_id(key: str) -> tuple[str, bool]:
    """The id that people know a directory by, from its key; and whether it is based on files of a build.

    Keys begin with the frontend's name space, which is empty, and a slash. Bytes of a flag that are no ASCII stand in them as a
    character each, as BuildKit's Dockerfile frontend reads flags: people know them as the text that they are.
    """
    plain = _BASES.sub("", key)
    name = plain[1:] if plain.startswith("/") and len(plain) > 1 else plain
    if not name.isascii():
        with suppress(UnicodeError):
            name = name.encode("latin-1").decode()
    return name, plain != key


def key_of(name: str) -> str:
    """The key of the mount that steps have under an id, not based on anything: see `mount_id`."""
    return f"/{name if name.isascii() else name.encode('utf-8', 'surrogateescape').decode('latin-1')}"


def cache_mounts(core: Core) -> list[CacheMount]:
    """All cache mounts, latest used first."""
    found = []
    for record_id, value in core.db.values_of_meta(META_KEY, database.MUTABLE):
        record = core.db.find(record_id)
        if record is None:
            continue
        name, based = mount_id(value.decode("utf-8", "surrogateescape"))
        path = core.lock_path("cache", record.id)
        lock = try_lock(path, create=False)
        if lock is not None:
            os.close(lock)
        busy = lock is None and path.exists()
        found.append(CacheMount(record.id, name, based, record.description, record.last_used_at, busy))
    return sorted(found, key=lambda one: (-one.last_used, one.record))


@contextmanager
def entered(
    core: Core, mount: CacheMount, cancelled: threading.Event | None, *, alone: bool = False
) -> Iterator[Path | None]:
    """The directory of a mount, which nobody removes while the block runs; None when it is gone.

    Waits for steps that have it for themselves (`sharing=locked` and `private`), with `alone` for all.
    """
    lock = lock_file(core.lock_path("cache", mount.record), cancelled, shared=not alone)
    if not _hold(core, mount.record, lock):
        yield None
        return
    try:
        yield core.changes_dir(mount.record)
    finally:
        core.unhold(mount.record)
        os.close(lock)


def remove(core: Core, mount: CacheMount) -> int:
    """Remove a mount; returns the bytes it took, -1 if it is in use."""
    lock = try_lock(core.lock_path("cache", mount.record))
    if lock is None:
        return -1
    try:
        if core.db.find(mount.record) is None:
            core.lock_path("cache", mount.record).unlink(missing_ok=True)
            return 0
        size = disk_usage(core.changes_dir(mount.record))
        return -1 if core.remove(mount.record) < 0 else size
    finally:
        os.close(lock)


def make_filled(core: Core, name: str, fill: Fill, cancelled: threading.Event | None) -> bool:
    """Make the mount `name`, not based on anything, with these files; False where there is one already.

    Raises:
        DockcError: the files cannot be had; nothing is made.
    """
    key = key_of(name)
    if core.db.by_meta(META_KEY, key.encode("utf-8", "surrogateescape"), database.MUTABLE):
        return False
    return _make(core, key, None, cancelled, f"cached mount {name}", set(), fill) is not None


@contextmanager
def cache_dir(
    core: Core,
    key: str,
    sharing: Sharing,
    base: ImmutableRef | None,
    cancelled: threading.Event | None,
    description: str,
) -> Iterator[Path]:
    """See `RefManager.cache_dir`."""
    name = key if base is None else f"{key}:{base.id}"
    record_id, lock = _take(core, name, sharing, base, cancelled, description)
    try:
        core.db.update(record_id, size=-1)
        yield core.changes_dir(record_id)
    finally:
        with suppress(StoreError):  # a full disk: its size is what it was before
            core.db.update(record_id, size=-1)
        core.unhold(record_id)
        os.close(lock)


def forget(core: Core, names: Collection[str]) -> None:
    """See `RefManager.forget_cache_dirs`."""
    for record_id, value in core.db.values_of_meta(META_KEY, database.MUTABLE):
        key = value.decode("utf-8", "replace")
        if key not in names and not any(key.startswith(f"{name}:") for name in names):
            continue
        lock = try_lock(core.lock_path("cache", record_id))
        if lock is None:  # in use: it is nobody's next one, and goes when the store is opened again
            core.db.set_meta(record_id, META_KEY, None)
            core.db.update(record_id, retain=0)
            continue
        try:
            core.remove(record_id)
        finally:
            os.close(lock)


def _take(
    core: Core,
    name: str,
    sharing: Sharing,
    base: ImmutableRef | None,
    cancelled: threading.Event | None,
    description: str,
) -> tuple[str, int]:
    """Find or make a directory that may be used now; returns its record, held, and its lock."""
    while True:
        candidates = core.db.by_meta(META_KEY, name.encode(), database.MUTABLE)
        for record in candidates:
            lock = try_lock(core.lock_path("cache", record.id), shared=sharing is Sharing.SHARED)
            if lock is not None and _hold(core, record.id, lock):
                return record.id, lock
        if candidates and sharing is Sharing.LOCKED:
            first = candidates[0].id
            lock = lock_file(core.lock_path("cache", first), cancelled)
            if _hold(core, first, lock):
                return first, lock
            continue
        made = _make(core, name, base, cancelled, description, known={c.id for c in candidates})
        if made is not None:
            lock = lock_file(core.lock_path("cache", made), cancelled, shared=sharing is Sharing.SHARED)
            if _hold(core, made, lock):
                return made, lock


def _hold(core: Core, record_id: str, lock: int) -> bool:
    """Hold the record, unless it was pruned before we had its lock."""
    with core.db.transaction():
        if core.db.find(record_id) is not None:
            core.hold(record_id)
            return True
    os.close(lock)
    return False


def _make(
    core: Core,
    name: str,
    base: ImmutableRef | None,
    cancelled: threading.Event | None,
    description: str,
    known: set[str],
    fill: Fill | None = None,
) -> str | None:
    """A new directory of that key; None when another process has just made one.

    Without `fill`, files that a build's caches have (`Core.mounts_offered`) are taken; who offers them tells of it, and
    where they cannot be had, the directory begins as if nobody had offered them.
    """
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    with locked(core.lock_path("cachekey", digest), cancelled):
        there = {record.id for record in core.db.by_meta(META_KEY, name.encode(), database.MUTABLE)}
        if there - known:
            return None
        record_id = new_id()
        with telling("making a cache directory", core.root), core.workspace("cache") as folder:
            made = _begun(folder / "new", base, cancelled)
            if fill is not None:
                fill(made / "fs", cancelled)
            elif (offered := _offer(core, name)) is not None:
                try:
                    offered(made / "fs", cancelled)
                except Cancelled:
                    raise
                except DockcError:
                    made = _begun(folder / "again", base, cancelled)
            with core.db.transaction():
                record = fresh_record(
                    record_id,
                    kind=database.LAYER,
                    state=database.MUTABLE,
                    record_type=RecordType.EXEC_CACHE_MOUNT,
                    description=description or f"cached mount {name}",
                    retain=True,
                )
                core.db.add(record, ())
                core.db.set_meta(record_id, META_KEY, name.encode())
                settle(core, record_id, made)
        return record_id


def _begun(made: Path, base: ImmutableRef | None, cancelled: threading.Event | None) -> Path:
    """A directory to be settled, as it is without anybody's files."""
    (made / "fs").mkdir(parents=True)
    inherit_root(made / "fs", ())
    if base is not None:
        with base.mount(cancelled=cancelled) as source:
            apply_changes(source, made / "fs", link=False)
    return made


def _offer(core: Core, name: str) -> Fill | None:
    for offered in list(core.mounts_offered):
        if (fill := offered(*mount_id(name))) is not None:
            return fill
    return None
