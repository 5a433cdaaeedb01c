"""The way of `dockc build` to the resident builder of its store, where one runs.

It is looked for by its socket. Whatever is not as it should be (nobody listens, another version, another user) is a
reason to build as ever, and no error.
"""

from __future__ import annotations

# `signal` and `socket` make enumerations of all numbers
import _signal as signal  # type: ignore[import-not-found]
import os
import sys

from dockc.base import resident
from dockc.base.files import store_root
from dockc.base.output import log
from dockc.base.sockets import Address
from dockc.errors import DockcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: Signals that are carried over; whoever ends otherwise closes the connection, which ends the build.
_CARRIED = (signal.SIGINT, signal.SIGTERM)
_ENOUGH = 3
"""Signals after which this process does not wait for the resident."""
_PATIENCE = 5.0
"""Seconds that the resident may take to begin: one that is stopped, or that the machine cannot run, is none."""

_SILENT = b"Rit does not answer"


def ask(arguments: Sequence[str]) -> int | None:
    """Let the resident builder run a `dockc build`; its exit status, or None where there is no such builder."""
    if os.environ.get("DOCKC_RESIDENT", "") == "off" or any(map(_hands_over, arguments)):
        return None
    try:
        store = _store(arguments)
        if not os.path.exists(os.path.join(store, resident.SOCKET)):
            return None
        link = _connected(store)
    except (OSError, ValueError, DockcError):  # the command itself will say what is wrong
        return None
    if link is None:
        return None
    try:
        return _Asked(link, arguments).run()
    finally:
        link.close()


def _hands_over(text: str) -> bool:
    """Whether an argument names a descriptor of this process, as a shell's `<(command)` does: only the streams go along."""
    for way in ("/dev/fd/", "/proc/self/fd/"):
        _, *rest = text.split(way)
        if any(one[:1].isdigit() and not (one[0] in "012" and not one[1:2].isdigit()) for one in rest):
            return True
    return False


def _store(arguments: Sequence[str]) -> str:
    """The store that the command line names, or the user's own."""
    for at, text in enumerate(arguments):
        if text.startswith("--store="):
            return os.path.abspath(text.partition("=")[2])
        if text == "--store" and at + 1 < len(arguments):
            return os.path.abspath(arguments[at + 1])
    return store_root()


def _connected(store: str) -> Any:
    """A connection to the resident of the same user; None where there is none."""
    import _socket

    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    link.settimeout(_PATIENCE)
    try:
        with Address(os.path.join(store, resident.SOCKET)) as name:
            link.connect(name)
        told = link.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    except OSError:
        link.close()
        return None
    if int.from_bytes(told[4:8], sys.byteorder) != os.geteuid():  # somebody else's could read what we hand over
        link.close()
        return None
    return link


def _process(text: bytes) -> int:
    """A descriptor of the process that builds; -1 where the system has none."""
    try:
        return os.pidfd_open(int(text))
    except (AttributeError, OSError, ValueError):
        return -1


def _has_ended(process: int) -> bool:
    """Whether a process has ended; one that lost its resident is told to, and does so soon."""
    import select

    if process < 0:
        return False
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(_PATIENCE * 1000))


def _can_be_repeated(arguments: Sequence[str]) -> bool:
    """Whether a build that was cut off has neither read anything from a stream nor written a result to one."""
    return not any(
        text.rpartition("=")[2] == "-"
        or (text[:1] == "-" and text[1:2] != "-" and (text.endswith("-") or "q" in text))
        or text == "--quiet"
        or "/dev/std" in text
        or ("type=" in text and "dest=" not in text)
        for text in arguments
    )


class _Asked:
    """A build that somebody else runs. State: what has come of an unfinished line, and how many signals have come."""

    def __init__(self, link: Any, arguments: Sequence[str]) -> None:
        self._link, self._arguments = link, arguments
        self._buffer = b""
        self._carried = 0

    def run(self) -> int | None:
        """The exit status; None where the resident does not build.

        Raises:
            KeyboardInterrupt: before it had begun.
        """
        line = self._begun()
        if not line.startswith(b"S"):  # nothing has been begun
            if line.startswith(b"R"):
                log(f"the daemon of this store is not used: {line[1:].decode('utf-8', 'replace')}\n")
            return None
        self._link.settimeout(None)
        process = _process(line[1:])
        before = {number: signal.getsignal(number) for number in _CARRIED}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, self._carry)
        try:
            line = self._line()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if not line.startswith(b"E"):
            if not self._carried and _can_be_repeated(self._arguments) and _has_ended(process):
                log("the daemon of this store has ended in the middle of the build, which is begun again without it\n")
                return None
            raise DockcError(
                "the daemon of this store has ended in the middle of the build",
                hint="Build again; without a daemon, dockc builds by itself.",
            )
        status = int(line[1:])
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)

    def _begun(self) -> bytes:
        """What the resident says: `S`, `R` and why not, or nothing.

        Its descriptors get on the way when it asks for them: who reads what this command writes would wait for one that
        never takes them.
        """
        try:
            self._link.sendall(self._request().encode())
        except TimeoutError:
            return _SILENT
        except OSError:  # it may have said no by now, and gone
            pass
        line = self._line()
        return self._line() if line.startswith(b"G") and self._hand_over() else line

    def _hand_over(self) -> bool:
        import _socket

        try:
            here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            handed = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2, here))
            self._link.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, handed)])
        except OSError:
            return False
        finally:
            os.close(here)
        return True

    def _request(self) -> resident.Request:
        umask = os.umask(0o077)
        os.umask(umask)
        ignored = ",".join(
            str(number)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
            if signal.getsignal(number) == signal.SIG_IGN
        )
        state = (
            str(umask),
            str(os.getpriority(os.PRIO_PROCESS, 0)),
            sys.stdout.encoding,
            sys.stdout.errors or "strict",
            ignored,
        )
        environment = [key + b"=" + value for key, value in os.environb.items()]
        return resident.Request(resident.code(), state, self._arguments, environment)

    def _carry(self, number: int, _: object) -> None:
        self._carried += 1
        if self._carried == _ENOUGH:  # nobody heeds it
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        try:
            self._link.sendall(bytes([number]))
        except OSError:
            pass  # the end comes by the reading side

    def _line(self) -> bytes:
        """A line, or what there is of it when the resident has gone."""
        while b"\n" not in self._buffer:
            try:
                data = self._link.recv(4096)
            except TimeoutError:
                return _SILENT
            except OSError:  # it has gone
                data = b""
            if not data:
                return b""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line
