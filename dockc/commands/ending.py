"""Ending in time: told to end, a process does so within two seconds, whatever it is waiting for.

Cancelling is asked for first, and nearly everything listens. What cannot listen (a read of a FIFO that nobody writes
to, a system call on a dead network disk) is left behind: a store is made for builders that die at any moment.
"""

from __future__ import annotations

import os
import threading

from dockc.errors import DockcError

FAILED = "failed to solve: "
"""What BuildKit's clients say before the message of whatever ended a build: scripts look for these words."""

PATIENCE = 1.7
"""Seconds between being told and going at once; a step's own grace is shorter."""


class Terminated(DockcError):
    """The process was told to end (SIGTERM); the steps that ran have ended by now."""

    exit_code = 143


class Deadline:
    """Ends the process in time once it has started; `stop` when the process has ended its work by itself."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def start(self, status: int, word: str, seconds: float = PATIENCE) -> None:
        """End the process with `status` in `seconds`, saying `word` on standard error; a second time does nothing."""
        if self._timer is None:
            self._timer = threading.Timer(seconds, _go, (status, word))
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        """Do not end the process."""
        if self._timer is not None:
            self._timer.cancel()


def _go(status: int, word: str) -> None:
    try:
        os.write(2, f"error: {word}\n".encode())
    finally:
        os._exit(status)
