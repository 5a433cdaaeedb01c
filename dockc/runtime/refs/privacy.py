"""Keeping others out of a store: whoever reaches a layer's directory can run the setuid programs of every image.

The store's own directory may be anybody's and of any mode (made beforehand by an administrator, by a volume); what
lies in it is for its owner alone.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from dockc.errors import StoreError

log = logging.getLogger(__name__)

FOLDERS = ("snapshots", "leases", "staging", "locks", "content", "squashed")
"""The directories of a store."""
OWN_FOLDERS = tuple(name for name in FOLDERS if name != "content")
"""Those of which everything is removed that nobody knows: never a link to a directory of somebody else."""
FILES = ("store.db", "cache.db")
"""Its databases: they hold command lines and build arguments."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITERS = stat.S_IWGRP | stat.S_IWOTH


def close_to_others(root: Path) -> tuple[str, ...]:
    """Make the directories and databases of a store, or take away what groups and others may do with them.

    Returns:
        What was open, or still is (somebody else's store), one sentence each; said as warnings too.

    Raises:
        OSError: the store cannot be written.
        StoreError: one of its directories is a link.
    """
    said: list[str] = []
    status = root.stat()
    if status.st_mode & _WRITERS and not status.st_mode & stat.S_ISVTX:
        if _limit(root, status, _WRITERS):
            said.append(f"other users could write to the store {root}: closed (mode {_octal(status)} before)")
        else:
            said.append(f"other users can write to the store {root} (mode {_octal(status)})")
    if status.st_uid not in (os.geteuid(), 0) and not _is_unmapped(status.st_uid):
        said.append(f"the store {root} belongs to another user (uid {status.st_uid}), who can change all that is built")
    opened = []
    for name in FOLDERS:
        (root / name).mkdir(mode=0o700, exist_ok=True)
        if name in OWN_FOLDERS and (root / name).is_symlink():
            raise StoreError(
                f"{root / name} is a link: it must be a directory of the store, as what nobody knows in it is removed",
                hint="`dockc doctor --fix` removes the link.",
            )
        opened += _opened(root / name)
    for name in FILES:
        for suffix in ("", "-wal", "-shm"):
            opened += _opened(root / f"{name}{suffix}")
    if opened:
        said.append(f"other users could enter the store {root}: closed ({', '.join(opened)})")
    for line in said:
        log.warning("%s", line)
    return tuple(said)


def _opened(path: Path) -> list[str]:
    """The name, if groups or others had a right; nobody has one after this."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return []
    return [path.name] if status.st_mode & _OTHERS and _limit(path, status, _OTHERS) else []


def _limit(path: Path, status: os.stat_result, without: int) -> bool:
    try:
        os.chmod(path, stat.S_IMODE(status.st_mode) & ~without)  # noqa: PTH101 - as all of this module
    except PermissionError:
        return False
    return True


def _is_unmapped(uid: int) -> bool:
    """Whether the id stands for owners that this user namespace cannot name."""
    try:
        return uid == int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return False


def _octal(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):04o}"
