"""Locks between processes: flock(2) on files, which the kernel lets go of when the holder dies."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dockc.errors import DockcError

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1


class Cancelled(DockcError):
    """The caller's `cancelled` event was set while waiting."""

    def __init__(self, message: str = "cancelled") -> None:
        super().__init__(message)


class AnyOf(threading.Event):
    """An event that counts as set when it or another one is: one failure ends all, and so does the caller."""

    def __init__(self, other: threading.Event | None) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        """Whether either is set."""
        return super().is_set() or (self._other is not None and self._other.is_set())

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for either; looks at the other one ten times a second."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _LONGEST_PAUSE if until is None else min(_LONGEST_PAUSE, until - time.monotonic())
            if left <= 0:
                return self.is_set()
            super().wait(left)
        return True


def check_cancelled(cancelled: threading.Event | None) -> None:
    """Raise `Cancelled` when the event is set."""
    if cancelled is not None and cancelled.is_set():
        raise Cancelled


def lock_file(path: Path, cancelled: threading.Event | None = None, *, shared: bool = False) -> int:
    """Open (or make) a file and wait for its lock; returns the open descriptor, which carries the lock.

    Closing the descriptor, or the end of the process, unlocks. Two opens in one process exclude each other too.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    pause = _FIRST_PAUSE
    try:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                check_cancelled(cancelled)
                if cancelled is not None:
                    cancelled.wait(pause)
                else:
                    time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
    except BaseException:
        os.close(descriptor)
        raise


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
