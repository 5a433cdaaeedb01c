"""Directories of cache mounts: persistent, found by key, shared between processes by their sharing mode.

A cache directory is a plain directory (never an overlay), so that several builds can use it at once. Who uses it
holds a lock on its lock file: shared for SHARED, exclusive for LOCKED and PRIVATE.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.errors import StoreError
from dockc.runtime.content.errors import telling
from dockc.runtime.content.locks import lock_file, locked, try_lock
from dockc.runtime.refs import database
from dockc.runtime.refs.core import new_id, now
from dockc.runtime.refs.ref import fresh_record
from dockc.runtime.refs.types import RecordType, Sharing
from dockc.runtime.refs.unpack import inherit_root, settle
from dockc.runtime.snapshot.squash import apply_changes

if TYPE_CHECKING:
    from dockc.runtime.refs.core import Core
    from dockc.runtime.refs.ref import ImmutableRef

META_KEY = "cache-dir"


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
        core.db.used(record_id, now())
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
) -> str | None:
    """A new directory of that key; None when another process has just made one."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    with locked(core.lock_path("cachekey", digest), cancelled):
        there = {record.id for record in core.db.by_meta(META_KEY, name.encode(), database.MUTABLE)}
        if there - known:
            return None
        record_id = new_id()
        with telling("making a cache directory", core.root), core.workspace("cache") as folder:
            made = folder / "new"
            (made / "fs").mkdir(parents=True)
            inherit_root(made / "fs", ())
            if base is not None:
                with base.mount(cancelled=cancelled) as source:
                    apply_changes(source, made / "fs", link=False)
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
