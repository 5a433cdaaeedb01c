"""Cancelling what runs in a thread: events that are asked while something waits or works."""

from __future__ import annotations

import threading
import time

from dockc.errors import DockcError

LONGEST_PAUSE = 0.1
"""Seconds after which whoever waits looks again."""


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
            left = LONGEST_PAUSE if until is None else min(LONGEST_PAUSE, until - time.monotonic())
            if left <= 0:
                return self.is_set()
            super().wait(left)
        return True


def check_cancelled(cancelled: threading.Event | None) -> None:
    """Raise `Cancelled` when the event is set."""
    if cancelled is not None and cancelled.is_set():
        raise Cancelled
