"""Ending in time: told to end, a process does so within two seconds, whatever it is waiting for.

Cancelling is asked for first, and nearly everything listens. What cannot listen (a read of a FIFO that nobody writes
to, a system call on a dead network disk) is left behind: a store is made for builders that die at any moment.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

from dockc.errors import DockcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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


class _Told(BaseException):
    """SIGTERM came. No error that anything else would take for its own."""


@contextmanager
def ends_when_told() -> Iterator[None]:
    """Within the block SIGTERM ends what is done as an interrupt does, so that nothing half done is left; what does not
    listen to either is left behind. On the main thread; on others nothing changes.

    Raises:
        Terminated: SIGTERM came.
    """
    import signal

    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        told = number == signal.SIGTERM
        Deadline().start(Terminated.exit_code if told else 130, "terminated" if told else "interrupted")
        raise _Told if told else KeyboardInterrupt

    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    # What is ignored, or somebody else's matter, stays so.
    mine = {number: before for number, before in usual.items() if signal.getsignal(number) == before}
    for number in mine:
        signal.signal(number, stop)
    try:
        yield
    except _Told:
        raise Terminated("terminated") from None
    finally:
        for number, before in mine.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, before)
