"""A process's lease on the store: a locked file, whose lock goes when the process goes."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from dockc.runtime.content.locks import lock_file, try_lock
from dockc.runtime.snapshot.removal import remove_tree

_NO_FILE = frozenset({errno.EISDIR, errno.ELOOP, errno.ENXIO})
"""What opening a directory, a link or a socket says."""


class Lease:
    """This process's lease. `id` names the holder in the database, `staging` is the process's own directory."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "leases"
        self._folder.mkdir(exist_ok=True)
        self.id = f"{os.getpid()}-{secrets.token_hex(8)}"
        self.staging = root / "staging" / self.id
        # Locked under another name first: a lease file without a lock means a dead process.
        temporary = self._folder / f".{self.id}"
        self._path = self._folder / self.id
        while True:
            self._descriptor = lock_file(temporary)
            try:
                temporary.rename(self._path)
                break
            except FileNotFoundError:  # taken for a dead one's between making and locking
                os.close(self._descriptor)
        self.staging.mkdir(parents=True)

    def end(self) -> None:
        """Give the lease up; the caller has removed what it held and its staging directory."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def living(root: Path) -> set[str]:
    """Ids of all leases whose processes live. What is no file is nobody's lease."""
    found: set[str] = set()
    for path in (root / "leases").iterdir():
        name = path.name.lstrip(".")
        try:
            descriptor = try_lock(path, shared=True, create=False)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            continue
        if descriptor is None:
            if path.exists():
                found.add(name)
        else:
            os.close(descriptor)
    return found


def begun(root: Path, lease: str) -> float:
    """When a lease was taken, by the clock of that time (seconds since the epoch); 0 where that is not known any
    more.
    """
    try:
        return (root / "leases" / lease).stat().st_mtime
    except OSError:
        return 0.0


def forget_dead(root: Path) -> set[str]:
    """Remove the lease files of dead processes; returns the living ones' ids."""
    alive = living(root)
    for path in (root / "leases").iterdir():
        if path.name.lstrip(".") in alive:
            continue
        try:
            descriptor = try_lock(path, create=False)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            remove_tree(path)
            continue
        if descriptor is None:
            alive.add(path.name.lstrip("."))  # has just been taken
            continue
        path.unlink(missing_ok=True)
        os.close(descriptor)
    return alive
