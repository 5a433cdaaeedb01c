"""Child processes whose failure never passes for success.

A process that ignores SIGCHLD, or that has another part which waits for any child, never learns how a child of its
ended:
wait(2) says ECHILD, and `subprocess` makes 0 of that. A library cannot choose its caller, so here an unknown end is an
error.
Programs of dockc make it known again at their start (`line.process`); steps tell their status on a pipe of their own.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from dockc.errors import DockcError

LOST = 1 << 16
"""`returncode` of a child whose end nobody knows; no status is as large."""
_PAUSE = 0.01


class ChildLost(DockcError):
    """It cannot be known how a child ended."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"it cannot be known how {name} ended: this process ignores SIGCHLD, or another part of it waited for "
            "the child",
            hint="Set SIGCHLD to its default before dockc is called, and wait for your own children only.",
        )


class Child(subprocess.Popen[bytes]):
    """A `Popen` that raises `ChildLost` where the other one would give status 0."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self._name = os.path.basename(command[0])  # noqa: PTH119
        super().__init__(command, **options)

    def poll(self) -> int | None:
        """The status, None while the child runs, `LOST` where it is unknown."""
        if sys.platform == "win32":  # a child's end cannot be lost there
            return super().poll()
        if self.returncode is None:
            self._look(os.WNOHANG)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The status, -n for signal n.

        Raises:
            TimeoutExpired: it still runs after `timeout` seconds.
            ChildLost: nobody can tell.
        """
        if sys.platform == "win32":
            return super().wait(timeout)
        if self.returncode is None and timeout is not None:
            self._wait_until_ended(timeout)
        if self.returncode is None:
            self._look(0)
        if self.returncode == LOST:
            raise ChildLost(self._name)
        return self.returncode

    def _look(self, flags: int) -> None:
        try:
            pid, status = os.waitpid(self.pid, flags)
        except ChildProcessError:
            self.returncode = LOST
            return
        if pid == self.pid:
            self.returncode = os.waitstatus_to_exitcode(status)

    def _wait_until_ended(self, timeout: float) -> None:
        try:
            number = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return  # and `_look` will find nothing either
        except (OSError, AttributeError):
            self._ask_until_ended(timeout)
            return
        try:
            waiting = select.poll()
            waiting.register(number, select.POLLIN)
            if not waiting.poll(max(timeout, 0) * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout)
        finally:
            os.close(number)

    def _ask_until_ended(self, timeout: float) -> None:
        """Where the kernel has no descriptors of processes."""
        until = time.monotonic() + timeout
        while self.poll() is None:
            if (left := until - time.monotonic()) <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(min(_PAUSE, left))


def run(
    command: Sequence[str], *, data: bytes | None = None, timeout: float | None = None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end and take what it writes.

    Args:
        command: the program and its arguments.
        data: its standard input; None is an empty one.
        timeout: seconds after which it is killed.
        options: further ones of `Popen`.

    Raises:
        OSError: it does not start.
        TimeoutExpired: it was killed.
        ChildLost: it cannot be known how it ended.
    """
    stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
    with Child(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as child:
        try:
            out, err = child.communicate(data, timeout)
        except BaseException:
            child.kill()
            raise
        return subprocess.CompletedProcess(command, child.returncode, out, err)
