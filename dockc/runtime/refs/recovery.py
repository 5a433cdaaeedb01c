"""Cleaning up after processes that did not: dead leases, their unfinished snapshots, what nobody knows of."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from dockc.errors import DiskFull
from dockc.runtime.content.locks import try_lock
from dockc.runtime.executor import cgroup
from dockc.runtime.refs import database
from dockc.runtime.refs.core import now
from dockc.runtime.refs.leases import forget_dead, living
from dockc.runtime.snapshot.mounts import mounted_below, unmount
from dockc.runtime.snapshot.removal import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from dockc.runtime.refs.core import Core

log = logging.getLogger(__name__)


def recover(core: Core) -> None:
    """Bring the store into a state as if dead processes had ended properly. Quick when there is nothing to do.

    Another process that is at it already is left alone.
    """
    lock = try_lock(core.root / "locks" / "recovery")
    if lock is None:
        return
    try:
        # Inside the transaction nobody can begin to hold something: a lease not seen alive now is dead.
        with core.db.transaction():
            alive = forget_dead(core.root)
            for lease in core.db.holders() - alive:
                core.db.unhold(lease, now())
            orphans = _forget_unfinished(core)
        finish_removals(core)
        for path in orphans:
            log.info("removing what an interrupted build left: %s", path.name)
            core.discard(path)
        # Listed before the living are counted: a process locks its lease first and makes its directory then.
        staged = list((core.root / "staging").iterdir())
        alive = living(core.root)
        for path in staged:
            if path.name not in alive:
                clear_staging(path)
        core.content.clean()
    finally:
        os.close(lock)


_GOING = "~"


def going_place(root: Path, record_id: str) -> Path:
    """What marks a record as going (see `store.room`): its directory under another name, or a file."""
    return root / "snapshots" / f"{_GOING}{record_id}"


def finish_removals(core: Core) -> None:
    """Remove the records whose files were removed first, on a disk that had no room to write; then their marks.

    Where there is still none they stay marked.
    """
    waiting = {path.name[len(_GOING) :]: path for path in (core.root / "snapshots").glob(f"{_GOING}*")}
    try:
        core.rule = "dockc prune"
        while waiting:
            done = [name for name in waiting if core.db.find(name) is None or core.remove(name) >= 0]
            for name in done:
                remove_tree(waiting.pop(name))
            if not done:
                log.warning("%d records that were to be removed are in use again", len(waiting))
                return
    except DiskFull as error:
        log.debug("records stay marked: %s", error)
    finally:
        core.rule = ""


def _forget_unfinished(core: Core) -> list[Path]:
    """Delete records of unfinished snapshots; returns directories that no record owns."""
    known: set[str] = set()
    held = core.db.held()
    for record in core.db.records():
        if record.state == database.MUTABLE and not record.retain and record.id not in held:
            core.db.delete(record.id)
        else:
            known.add(record.id)
    return [
        path
        for path in (core.root / "snapshots").iterdir()
        if path.name not in known and not path.name.startswith(_GOING)
    ]


def clear_staging(path: Path) -> None:
    """Remove a process's own directory and its control groups, never reaching into what may still be mounted there."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)  # nobody's: never look at what it leads to
        return
    for place in mounted_below(path):
        unmount(place)
    if not cgroup.sweep(path / "executor"):
        log.warning("control groups of an interrupted build are still in use; the next one sweeps them")
        return
    try:
        remove_tree(path)
    except OSError as error:
        log.warning("cannot remove %s yet: %s", path, error.strerror)
