"""The process that the resident builder has forked: it becomes a command, and when that has changed nothing, another.

A fork begins with the pages of the resident and copies each that it touches, starts cold and loads what a build opens:
half of the time of a build that finds everything done. So a process whose build ran no step and was told no secret may
rest, and the next request finds it. Nothing of the command before is left: descriptors, environment, directory, umask,
niceness, handlers and streams are set anew for each, as they are for the first, and the store is opened anew. Modules
keep no state of a build; a process with a thread, a child or an open file more than before ends instead.

What it says to the resident, a packet each: `S` when it begins (not of the first command: that begins with the fork),
`N` where it cannot become what was asked for, `D` when it has ended well and rests. Any other end is the process's.
"""

from __future__ import annotations

import array
import io
import logging
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dockc.base import resident
from dockc.runtime.kernel import syscalls

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST = 64 << 10
"""Bytes of a request that a process at rest is given; larger ones get a process of their own."""
_MOST = 200
"""Commands of one process, so that what memory loses stays bounded."""


_USERS = Path("/proc/self/ns/user")


class Unfit(Exception):
    """This process cannot become what was asked for."""


class Forked:
    """A process of one command after the other.

    Args:
        link: to the resident, packets.
        learn: where to write the names of modules that were loaded.
    """

    def __init__(self, link: socket.socket, learn: int) -> None:
        self._link, self._learn = link, learn
        self._nice = os.getpriority(os.PRIO_PROCESS, 0)
        self._users = _USERS.readlink()

    def run(self, request: resident.Request, descriptors: Sequence[int]) -> NoReturn:
        """Be that command, and others after it; the exit status is that of the last one."""
        status = 1
        try:
            os.setsid()
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGTERM)  # a build without anybody who can tell its end
            signal.set_wakeup_fd(-1)
            self._take(request, descriptors, first=True)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the resident has held them back
            opened = _opened()
            for number in count(1):
                status = 1
                resident.unchanged = False
                status = self._whole(request.arguments)
                if status or not resident.unchanged or number == _MOST or not self._rests(opened):
                    break
                following = self._receive()
                if following is None:
                    break
                request, descriptors = following
                try:
                    self._take(request, descriptors)
                except (Unfit, OSError, ValueError):
                    self._link.send(b"N")
                    break
                self._link.send(b"S")
        except KeyboardInterrupt:  # before the command had begun
            status = 130
            with suppress(OSError):
                os.write(2, b"dockc: interrupted\n")
        except BaseException as exc:
            with suppress(OSError):
                os.write(2, f"error: the resident builder failed: {exc!r}\n".encode("utf-8", "replace"))
        finally:
            os._exit(status)

    def _take(self, request: resident.Request, descriptors: Sequence[int], *, first: bool = False) -> None:
        """Become the process that the command would have been.

        Raises:
            Unfit, OSError: this process cannot.
        """
        umask, nice, encoding, errors, ignored = request.state
        for told in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(told, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for text in filter(None, ignored.split(",")):
            signal.signal(int(text), signal.SIG_IGN)
        *streams, here = descriptors
        if first:
            os.fchdir(here)
        else:
            _enter(here)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for number in descriptors:
            os.close(number)
        os.umask(int(umask))
        os.setpriority(os.PRIO_PROCESS, 0, max(int(nice), self._nice))
        os.environb.clear()
        for pair in request.environment:
            key, _, value = pair.partition(b"=")
            os.environb[key] = value
        time.tzset()
        tempfile.tempdir = None  # that of the environment
        sys.stdin = None  # made anew for the descriptor
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "wb", closefd=False)), encoding, errors)
            for number in (1, 2)
        )
        sys.argv = ["dockc", *request.arguments]
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
        resident.serving = str(os.getppid())

    def _whole(self, arguments: Sequence[str]) -> int:
        """Run the command, and tell what it had to load."""
        assert resident.whole is not None
        known = len(sys.modules)
        status = resident.whole(arguments)
        part = b""
        # From the end: whoever looks at all names writes to the pages where they are.
        for name in [*islice(reversed(sys.modules), max(0, len(sys.modules) - known)), ""]:
            text = name.encode("utf-8", "replace") + b" "
            if len(part) + len(text) > select.PIPE_BUF or not name:  # what is not longer comes in one piece
                with suppress(OSError):
                    os.write(self._learn, part)
                part = b""
            part += text
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        return status

    def _rests(self, opened: Sequence[str]) -> bool:
        """Let go of everything of the command, and say that it is done; whether nothing of it is left."""
        if threading.active_count() > 1 or _has_children() or _USERS.readlink() != self._users:
            return False
        for told in (signal.SIGTERM, signal.SIGINT):
            signal.signal(told, signal.SIG_DFL)
        sys.stdin = sys.stdout = sys.stderr = None
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for number in range(resident.STREAMS):
            os.dup2(nothing, number)
        os.close(nothing)
        os.chdir("/")
        os.environb.clear()
        if _opened() != opened:
            return False
        self._link.send(b"D")
        return True

    def _receive(self) -> tuple[resident.Request, Sequence[int]] | None:
        """The next command; None where there is none."""
        data, extra, _, _ = self._link.recvmsg(LARGEST + 1, socket.CMSG_SPACE(4 * resident.DESCRIPTORS))
        if not data:
            return None
        found = array.array("i")
        for level, kind, carried in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found.frombytes(carried)
        for number in found:
            os.set_inheritable(number, False)
        return resident.Request.decode(data), found


def _opened() -> list[str]:
    """The open descriptors, and the one that listing them takes."""
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a Path walk says no more


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _enter(here: int) -> None:
    """Go to a directory that was opened in the caller's mount namespace: the same one, found by its name in ours.

    Raises:
        Unfit: it has no name here.
        OSError: as little.
    """
    os.chdir(Path(f"/proc/self/fd/{here}").readlink())
    mine, its = Path().stat(), os.fstat(here)
    if (mine.st_dev, mine.st_ino) != (its.st_dev, its.st_ino):
        raise Unfit
