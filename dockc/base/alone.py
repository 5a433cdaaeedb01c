"""Changing a file of the user's that several processes change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dockc.base.openflags import CLOEXEC, NOFOLLOW


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """No other process of this user changes meanwhile what a lock's file stands for, where the system and the directory let
    us keep it off. Directories are made; so is the file, which stays.
    """
    with ExitStack() as stack:
        with suppress(OSError, ImportError):
            import fcntl

            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | CLOEXEC | NOFOLLOW, 0o600)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
