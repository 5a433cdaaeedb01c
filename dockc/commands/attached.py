"""A program in a container with the streams, the terminal and the signals of this process, as `docker run` has it."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from dockc.errors import UsageError

if TYPE_CHECKING:
    from dockc.runtime.executor.base import ExecIO, Running

PASSED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
"""Signals that are the program's."""
_INSISTING = 3
"""So many of SIGINT and SIGTERM say that the program must end whether it wants to or not."""


class Attached:
    """What is this process's as long as the program does not run, and the program's while it does.

    Attributes:
        enough: set as soon as somebody insists that the program ends.
        status: the exit status in that case.
    """

    def __init__(
        self, stdout: Callable[[bytes], None], stderr: Callable[[bytes], None], *, interactive: bool, terminal: bool
    ) -> None:
        self.enough = threading.Event()
        self.status = 128 + signal.SIGTERM
        self._stdout, self._stderr = stdout, stderr
        self._interactive, self._terminal = interactive, terminal
        self._is_tty = os.isatty(0)
        self._before: dict[int, Any] = {}
        self._modes: list[Any] | None = None
        self._program: Running | None = None
        self._insisted = 0
        if terminal and interactive and not self._is_tty:
            raise UsageError("the input device is not a terminal", hint="Leave -t out, or run it in a terminal.")

    def io(self) -> ExecIO:
        """The program's streams."""
        from dockc.runtime.executor.base import ExecIO

        stdin = 0 if self._interactive else None
        return ExecIO(
            stdout=self._stdout, stderr=self._stderr, stdin=stdin, terminal=self._terminal, started=self._started
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        if self._modes is not None:
            termios.tcsetattr(0, termios.TCSANOW, self._modes)
            self._modes = None

    def _started(self, program: Running) -> None:
        """From here on signals and keys are the program's."""
        self._program = program
        if self._terminal and self._interactive:
            self._modes = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)  # what was typed already is for the program
        for number in PASSED:
            if (
                number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN
            ):  # what nohup and `&` ignore stays so
                self._before[number] = signal.signal(number, self._pass_on)
        self._resize()

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self._program is None:
            return
        if number == signal.SIGWINCH and self._terminal:
            self._resize()
            return
        if number in (signal.SIGINT, signal.SIGTERM):
            self._insisted += 1
            if self._insisted >= _INSISTING:
                self.status = 128 + number
                self.enough.set()
                sys.stderr.write(f"dockc: told {self._insisted} times to end: the program is killed\n")
                return
        self._program.signal(number)

    def _resize(self) -> None:
        if self._program is None or not self._terminal:
            return
        for number in (0, 1, 2):
            if os.isatty(number):
                size = os.get_terminal_size(number)
                self._program.resize(size.columns, size.lines)
                return
