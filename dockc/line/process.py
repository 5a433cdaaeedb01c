"""The state that a program of dockc gives its process at start, whoever called it.

A caller hands on more than arguments: signals that are ignored or held back, a umask, descriptors that are closed or
full.
What is put right here is the program's own; the library leaves the process of its caller alone and is right without it.
"""

from __future__ import annotations

# `signal` makes enumerations of all numbers, a tenth of the time of a short command
import _signal as signal  # type: ignore[import-not-found]
import io
import os
import sys

from dockc.base.output import OutputLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _typeshed import ReadableBuffer

_OWNER = 0o700


def begin() -> None:
    """Put the process in order; to be called once, first of all.

    * Descriptors 0, 1 and 2 are open, so that no file of ours is taken for one of them, and Python's streams are there.
    * SIGCHLD has its default: a status of a child is never lost. No signal is held back; what the caller ignores on
      purpose
      (SIGINT and SIGHUP of a background job, of nohup) stays ignored.
    * The umask takes nothing from the owner: what the program makes can be used by it.
    """
    _open_standard()
    if sys.platform != "win32":  # which has neither
        if signal.getsignal(signal.SIGCHLD) != signal.SIG_DFL:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if signal.pthread_sigmask(signal.SIG_BLOCK, ()):
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
    umask = os.umask(0o077)
    os.umask(umask & ~_OWNER)
    _patient_streams()


def _open_standard() -> None:
    for number, mode in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)  # the lowest that is free: this one, as those below are open
            os.set_inheritable(opened, True)


def _patient_streams() -> None:
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    sys.stdout = _stream(_Output(1), sys.stdout)
    sys.stderr = _stream(_Messages(2), sys.stderr)


def _stream(raw: _Patient, like: Any) -> io.TextIOWrapper:
    errors = getattr(like, "errors", None) or "surrogateescape"
    encoding = getattr(like, "encoding", None) or "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors, line_buffering=isinstance(raw, _Messages) or raw.isatty()
    )


def forget_output() -> None:
    """Drop what is still buffered for standard output, whose reader is gone or whose disk is full: to be tried once
    only.
    """
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(output, _Output):
        output.lost = True


class _Patient(io.FileIO):
    """A descriptor to write to, waited for where somebody made it non-blocking."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "wb", closefd=False)

    def write(self, data: ReadableBuffer, /) -> int:
        """Write at least a part."""
        while (count := super().write(data)) is None:
            import select

            ready = select.poll()
            ready.register(self.fileno(), select.POLLOUT)
            ready.poll()
        return count


class _Output(_Patient):
    """Standard output: results. One that cannot be written is an error of one line."""

    lost = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, or say why not; a reader that is gone stays a `BrokenPipeError`."""
        if self.lost:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self.lost = True
            if isinstance(error, BrokenPipeError):
                raise BrokenPipeError(
                    "the reader of the output is gone"
                ) from None  # without its number, by which click knows it and ends with 1
            raise OutputLost(f"cannot write the output: {error.strerror}") from error


class _Messages(_Patient):
    """Standard error: what is said there is for people, and no build is lost because nobody listens."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, or drop what cannot be written: the reader is gone, the disk is full."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes
