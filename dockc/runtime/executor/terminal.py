"""The builder's side of a terminal that a program in a container has: keys in, text out, the size of the window.

The pair is made by the helper, inside of the container where it is ours, so that names there are right; its master
comes
here over a pair of sockets. An OCI runtime gets the other end for its own streams and makes the container's terminal
itself.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import selectors
import socket
import struct
import termios
from collections.abc import Callable, Iterator

_CHUNK = 65536


class Door:
    """Where the master of a terminal arrives.

    Attributes:
        theirs: the end for the helper.
    """

    def __init__(self, ours: socket.socket, theirs: int) -> None:
        self.theirs = theirs
        self._ours = ours

    def fileno(self) -> int:
        """What is readable as soon as there is something to take."""
        return self._ours.fileno()

    def take(self) -> int:
        """The master's descriptor; -1 where the other side went away without sending one."""
        numbers = array.array("i")
        _, extra, _, _ = self._ours.recvmsg(1024, socket.CMSG_LEN(numbers.itemsize), socket.MSG_CMSG_CLOEXEC)
        for level, kind, data in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
        return numbers[0] if numbers else -1


@contextlib.contextmanager
def open_door() -> Iterator[Door]:
    """Open a door; the helper's end is none of the standard descriptors."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        number = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
        theirs.close()
        try:
            yield Door(ours, number)
        finally:
            os.close(number)


class Pump:
    """Moves bytes between a master and the builder's own input and output, as a part of a loop over a selector.

    Args:
        master: the descriptor, owned by this object from now on.
        keys: where input comes from, -1 for none.
        show: takes the program's output.
    """

    def __init__(self, master: int, keys: int, show: Callable[[bytes], None]) -> None:
        self._master = master
        self._keys = keys
        self._show = show
        self._waiting = bytearray()
        self._selector: selectors.BaseSelector | None = None
        os.set_blocking(master, False)

    def join(self, selector: selectors.BaseSelector) -> None:
        """Take part in a loop: it calls the data of what is ready with the events."""
        self._selector = selector
        selector.register(self._master, selectors.EVENT_READ, self._on_master)
        if self._keys >= 0:
            with contextlib.suppress(PermissionError):  # a regular file: never waited for, so it is read at once
                selector.register(self._keys, selectors.EVENT_READ, self._on_keys)
                return
            self._read_whole()

    def resize(self, columns: int, rows: int) -> None:
        """Tell the program the size of its window; the kernel sends it SIGWINCH."""
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self) -> None:
        """Take what is left of the output and let go of everything."""
        if self._selector is not None:
            for number in (self._master, self._keys):
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(number)
            self._selector = None
            while self._show_some():
                pass
        os.close(self._master)

    def _on_master(self, events: int) -> None:
        if events & selectors.EVENT_WRITE and self._waiting:
            with contextlib.suppress(OSError):
                del self._waiting[: os.write(self._master, self._waiting)]
            self._follow()
        if events & selectors.EVENT_READ and not self._show_some() and self._selector is not None:
            self._selector.unregister(self._master)

    def _show_some(self) -> bool:
        """Whether more may come: the master says EIO when no program has the other end any more."""
        try:
            data = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return self._selector is not None
        except OSError:
            return False
        self._show(data)
        return bool(data)

    def _on_keys(self, _events: int) -> None:
        try:
            data = os.read(self._keys, _CHUNK)
        except OSError:
            data = b""
        if not data and self._selector is not None:
            self._selector.unregister(self._keys)
            data = b"\x04"  # the end of input, as a terminal says it
        self._waiting += data
        self._follow()

    def _read_whole(self) -> None:
        while data := os.read(self._keys, _CHUNK):
            self._waiting += data
        self._waiting += b"\x04"
        self._follow()

    def _follow(self) -> None:
        """Wait for room only while there is something to write."""
        if self._selector is not None and self._master in self._selector.get_map():
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._waiting else 0)
            self._selector.modify(self._master, wanted, self._on_master)
