"""A file of the store that is there to be given up: on a full disk, freeing space needs a little space itself.

Removing records writes to the databases. Where the disk has nothing left, the ballast is dropped first, so that `dockc
prune` works.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SIZE = 4 << 20
_ENOUGH = 64 << 20
_NAME = "ballast"


def settle(root: Path) -> None:
    """Drop the ballast where space is short, lay it down where there is plenty; call it before the databases are
    opened.
    """
    path = root / _NAME
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = os.statvfs(root)
    except OSError:
        return  # whoever opens the store says what is wrong
    free = state.f_bavail * state.f_frsize
    if free < SIZE // 2:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    elif free > _ENOUGH or free > 3 * SIZE:
        with contextlib.suppress(OSError):
            lay(path)


def lay(path: Path) -> None:
    """Make the file, with its blocks, unless it is there."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    try:
        os.posix_fallocate(handle, 0, SIZE)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
