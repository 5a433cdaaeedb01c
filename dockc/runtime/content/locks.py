"""Locks between processes: flock(2) on files, which the kernel lets go of when the holder dies."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dockc.runtime.cancel import LONGEST_PAUSE, check_cancelled

_FIRST_PAUSE = 0.002


def lock_file(path: Path, cancelled: threading.Event | None = None, *, shared: bool = False) -> int:
    """Open (or make) a file and wait for its lock; returns the open descriptor, which carries the lock.

    Closing the descriptor, or the end of the process, unlocks. Two opens in one process exclude each other too.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _wait(descriptor, cancelled, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_at(descriptor: int, path: Path) -> bool:
    """Whether what was opened still lies there: who removes files with their locks may have been quicker."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _wait(descriptor: int, cancelled: threading.Event | None, kind: int) -> None:
    pause = _FIRST_PAUSE
    while True:
        try:
            return fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            check_cancelled(cancelled)
            if cancelled is not None:
                cancelled.wait(pause)
            else:
                time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


def hold(descriptor: int, cancelled: threading.Event | None = None, *, shared: bool = False) -> None:
    """Wait for the lock of something that is open, as long as it stays so; a file system without locks has it free."""
    try:
        _wait(descriptor, cancelled, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except OSError:
        return


def try_hold(descriptor: int) -> bool:
    """Whether the lock can be had alone, now. If not, it may be that it is not even shared any more."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def try_lock(path: Path, *, shared: bool = False, create: bool = True) -> int | None:
    """Like `lock_file`, but returns None when somebody else holds the lock (or, without `create`, no file is there)."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:
        if create:
            raise
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def locked(path: Path, cancelled: threading.Event | None = None) -> Iterator[None]:
    """Hold the lock of a file for a block."""
    descriptor = lock_file(path, cancelled)
    try:
        yield
    finally:
        os.close(descriptor)
