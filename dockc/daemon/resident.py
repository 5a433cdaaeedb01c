"""The resident builder of a store: one process that has loaded all that a build needs and is in no namespace yet.

A `dockc build` of the same user hands over its command line (`base.resident`), and a fork of this process goes on as
that command: in its directory, with its environment, streams, umask, niceness and resource limits, its own namespaces
and its own engine on the same store. So a build is the same as without it, but for the time that loading takes.

Who may ask is not what they say but what the kernel says of them: only a process with exactly this process's rights
(ids, groups, capabilities, filters, namespaces, root directory) gets a fork of it. All others are told to build by
themselves.

What a build had to load is loaded here, too, when it has ended: the next one finds it. And a fork whose build changed
nothing may rest and be the next one's (`daemon.forked`), as long as the mounts are those that it was forked with.
"""

from __future__ import annotations

import array
import gc
import logging
import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dockc.base import resident
from dockc.base.sockets import Address
from dockc.daemon.forked import LARGEST, Forked
from dockc.daemon.groups import differ_in_limits, groups_of, homes_of, join, may_join, others
from dockc.daemon.limits import counts_time, limit, limits_of, rise
from dockc.daemon.lock import hold
from dockc.errors import DockcError

if TYPE_CHECKING:
    from dockc.daemon.groups import Homes
    from dockc.daemon.limits import Limits

_log = logging.getLogger("dockc.daemon")
_BACKLOG = 128
_LEARN = 1 << 16
_LOOK = 60.0
"""Seconds between two looks whether the store is still there."""
_SLOW = 5.0
"""Seconds that a client may take for its request."""
_PATIENCE = 3.0
"""Seconds between telling a build to end and killing it."""
_ANSWER = 1.0
"""Seconds that a process at rest may take to begin."""
_REST = 300.0
"""Seconds that a process may rest."""
_RESTING = 2
"""Processes that may rest at once."""
_ELSEWHERE = "it is in a control group with limits, which the builds of this process cannot be moved to"
_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
_STATUS = ("Uid:", "Gid:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:")
_SYS_RESOURCE = 24  # CAP_SYS_RESOURCE of capabilities(7)
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
#: Packages of which a build may load modules that are loaded here for the next one.
_OURS = frozenset(("dockc", "google", "h2", "hpack", "hyperframe", "isal", "msgspec", "urllib3", "rich", "backports"))


def rights(pid: int | str) -> tuple[object, ...]:
    """What a process may and sees, as the kernel tells it.

    Raises:
        OSError: it cannot be told: the process has gone, or is another user's.
    """
    place = Path("/proc") / str(pid)
    status = (place / "status").read_text("utf-8", "replace").splitlines()
    groups = next((line.split()[1:] for line in status if line.startswith("Groups:")), [])
    gid = next((line.split()[1] for line in status if line.startswith("Gid:")), "")
    told = (place / "root").stat()
    return (
        tuple(line for line in status if line.startswith(_STATUS)),
        tuple(sorted({*groups} - {gid})),
        tuple((place / "ns" / name).readlink() for name in _NAMESPACES if (Path("/proc/self/ns") / name).is_symlink()),
        (told.st_dev, told.st_ino),
        _label(place),
    )


def _label(place: Path) -> str:
    try:
        return (place / "attr" / "current").read_text("utf-8", "replace")
    except OSError:  # no security module
        return ""


class _Client:
    """A connection. State: what has come, whether it was told to go on, the process that builds for it, and the resource
    limits of whoever asks, and those of its control groups that are not this process's.
    """

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.data = bytearray()
        self.asked = False
        self.descriptors: list[int] = []
        self.since = time.monotonic()
        self.process: _Process | None = None
        self.limits: Limits = {}
        self.groups: Homes = {}

    def forget_request(self) -> None:
        """Somebody has taken what was asked for."""
        for number in self.descriptors:
            os.close(number)
        self.descriptors.clear()
        self.data.clear()

    def close(self) -> None:
        self.forget_request()
        self.link.close()


class _Process:
    """A process that was forked. State: for whom it builds, and while it rests since when; by when it has to say that
    it begins; by when it has to be gone.

    Args:
        pid: the process.
        link: to it.
        mounts: the mounts that it was forked with, see `Resident._mounts_now`.
    """

    def __init__(self, pid: int, link: socket.socket, mounts: int) -> None:
        self.pid, self.link, self.mounts = pid, link, mounts
        self.client: _Client | None = None
        self.since = 0.0
        self.answers = 0.0
        self.ends = 0.0

    @property
    def rests(self) -> bool:
        """Whether it waits for somebody to build for."""
        return self.client is None and not self.ends


class Resident:
    """The process's loop. To be run in a process of one thread.

    Args:
        store: the store that it builds in.
        idle: seconds without a build after which it ends; 0 for never.
        tied: end when standard input does: whoever started this holds the other end.
        grace: seconds that running builds get at the end.
        lock: the lock that whoever started this has taken for it; -1 where it is to be taken.
    """

    def __init__(self, store: Path, *, idle: float = 0, tied: bool = False, grace: float = 0, lock: int = -1) -> None:
        self._taken = lock
        self._store, self._idle, self._tied, self._grace = store, idle, tied, grace
        self._clients: dict[int, _Client] = {}
        self._processes: dict[int, _Process] = {}  # by the descriptor of the link
        self._mounts = 0
        self._ending = False
        self._code = resident.code()
        self._rights = rights("self")
        self._groups, self._homes = groups_of("self"), homes_of("self")
        self._limits, self._raises = limits_of(0), _may_raise_limits(self._rights)
        self._used = time.monotonic()
        self._poll = select.poll()

    def run(self) -> int:
        """Serve until told to end.

        Raises:
            DockcError: the store has a resident, or cannot hold its socket.
        """
        # Not the store itself: who mends a store locks that, and waits for it.
        leases = self._store / "leases"
        try:
            self._store.mkdir(mode=0o700, parents=True, exist_ok=True)
            leases.mkdir(mode=0o700, exist_ok=True)
            self._locks = hold(self._store / resident.LOCK, leases, self._taken)
        except BlockingIOError:
            raise DockcError(f"the store {self._store} has a resident builder already") from None
        except OSError as exc:
            raise DockcError(f"cannot use {self._store}: {exc.strerror}") from exc
        self._listener = self._listen()
        self._learned, self._learn = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._told, self._tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._tell, warn_on_full_buffer=False)
        for told in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(told, self._signalled)
        for number in (self._learned, self._told, self._listener.fileno(), *([0] if self._tied else [])):
            self._poll.register(number, select.POLLIN)
        self._table = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll.register(self._table, select.POLLPRI)
        gc.collect()
        gc.freeze()  # a fork shares what nobody counts
        try:
            self._loop()
        finally:
            self._close()
        return 0

    def _listen(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = self._store / resident.SOCKET
        before = os.umask(0o177)
        try:
            path.unlink(missing_ok=True)  # of one that was killed: the lock is ours
            with Address(path) as name:
                made.bind(name)
            made.listen(_BACKLOG)
        except OSError as exc:
            made.close()
            raise DockcError(f"cannot listen in {self._store}: {exc.strerror or exc}") from exc
        finally:
            os.umask(before)
        made.setblocking(False)
        self._own = path.stat().st_ino
        return made

    def _close(self) -> None:
        with suppress(OSError):
            if (self._store / resident.SOCKET).stat().st_ino == self._own:
                (self._store / resident.SOCKET).unlink()
        self._listener.close()

    def _signalled(self, number: int, _: object) -> None:
        """Python's handler: what matters is that the loop wakes up; ending is noted."""
        if number != signal.SIGCHLD:
            self._ending = True

    # --- the loop ---------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not (self._ending or self._is_forsaken()):
            self._turn(self._wait())
        deadline = time.monotonic() + self._grace
        self._poll.unregister(self._listener.fileno())
        self._close()
        if self._tied:
            self._poll.unregister(0)
        while self._processes:
            self._dismiss()
            if time.monotonic() >= deadline:
                for one in self._clients.values():
                    self._end(one)
            self._turn(0.2)

    def _wait(self) -> float:
        """Seconds to sleep at most."""
        if any(one.process is None for one in self._clients.values()):
            return 0.5
        if any(one.answers or one.ends for one in self._processes.values()):
            return 0.2
        return min(_LOOK, max(0.1, self._used + self._idle - time.monotonic())) if self._idle else _LOOK

    def _is_forsaken(self) -> bool:
        """Whether nobody has asked for long, or the store is no longer there."""
        if self._clients:
            self._used = time.monotonic()
            return False
        if self._idle and time.monotonic() - self._used >= self._idle:
            return True
        try:
            return (self._store / resident.SOCKET).stat().st_ino != self._own
        except OSError:
            return True

    def _turn(self, seconds: float) -> None:
        for number, _ in self._poll.poll(seconds * 1000):
            if number == self._told:
                os.read(self._told, 4096)
            elif number == self._learned:
                self._study(os.read(self._learned, _LEARN))
            elif number == 0:
                self._ending = self._ending or not os.read(0, 4096)
            elif number == self._listener.fileno():
                self._accept()
            elif number == self._table:
                self._changed()
            elif number in self._processes:
                self._heed(self._processes[number])
            elif number in self._clients:
                self._hear(self._clients[number])
        self._reap()
        now = time.monotonic()
        for one in list(self._clients.values()):
            if one.process is None and now - one.since > _SLOW:
                self._drop(one)
        for process in self._processes.values():
            if (process.ends and now > process.ends) or (process.answers and now > process.answers):
                os.kill(process.pid, signal.SIGKILL)
            elif process.rests and now - process.since > _REST:
                self._part(process)

    def _accept(self) -> None:
        try:
            link, _ = self._listener.accept()
        except OSError:
            return
        link.setblocking(False)
        self._clients[link.fileno()] = _Client(link)
        self._poll.register(link.fileno(), select.POLLIN)

    def _drop(self, one: _Client) -> None:
        number = one.link.fileno()
        with suppress(KeyError):  # one that has gone is not listened to
            self._poll.unregister(number)
        del self._clients[number]
        one.close()

    def _hear(self, one: _Client) -> None:
        try:
            data, extra, _, _ = one.link.recvmsg(1 << 16, socket.CMSG_SPACE(4 * (resident.DESCRIPTORS + 1)))
        except BlockingIOError:
            return
        except OSError:
            data, extra = b"", []
        for level, kind, carried in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array.array("i")
                found.frombytes(carried[: len(carried) - len(carried) % found.itemsize])
                for number in found:
                    os.set_inheritable(number, False)
                one.descriptors += found
        if one.process is not None:
            if not data:  # the client was killed
                self._poll.unregister(one.link.fileno())
                self._end(one)
            for number in data:
                if number in {signal.SIGINT, signal.SIGTERM}:
                    # Nobody else shall begin for it; and who does not heed that it is told to end is ended.
                    if not one.process.ends and (one.process.answers or number == signal.SIGTERM):
                        one.process.ends = time.monotonic() + _PATIENCE
                    _tell(one.process.pid, number)
            return
        if not data or len(one.descriptors) > resident.DESCRIPTORS:
            self._drop(one)
        elif one.asked:
            if len(one.descriptors) == resident.DESCRIPTORS:
                self._begin(one)
        else:
            one.data += data
            size = int.from_bytes(one.data[:8], "big")
            if len(one.data) >= 8 and (size > resident.LIMIT or len(one.data) - 8 > size):
                self._drop(one)
            elif len(one.data) >= 8 and len(one.data) - 8 == size:
                self._consider(one)

    def _end(self, one: _Client) -> None:
        if one.process is not None and not one.process.ends:
            one.process.ends = time.monotonic() + _PATIENCE
            _tell(one.process.pid, signal.SIGTERM)

    def _reap(self) -> None:
        """Take leave of processes that have ended. Those of others, such as what a step left, are none of ours."""
        while self._processes:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            process = next((one for one in self._processes.values() if one.pid == pid), None)
            if process is None:
                continue
            while self._heed(process):
                pass  # what it has said before
            with suppress(KeyError):
                self._poll.unregister(process.link.fileno())
            del self._processes[process.link.fileno()]
            process.link.close()
            one = process.client
            if one is None:
                continue
            if process.answers and not process.ends:  # it never began
                self._fork(one)
            else:
                self._told_end(one, status)

    def _told_end(self, one: _Client, status: int) -> None:
        with suppress(OSError):
            one.link.send(b"E%d\n" % status)
        self._drop(one)
        self._used = time.monotonic()

    def _heed(self, process: _Process) -> bool:
        """Hear a process that we forked; whether it said something."""
        try:
            said = process.link.recv(16)
        except BlockingIOError:
            return False
        except OSError:
            said = b""
        one = process.client
        if said == b"D" and one is not None and not process.answers:
            process.client = None
            process.since = time.monotonic()
            self._told_end(one, 0)
            if (
                not self._comes_home(process, one.groups)
                or process.mounts != self._mounts_now()
                or sum(each.rests for each in self._processes.values()) > _RESTING
            ):
                self._part(process)
        elif said == b"S" and one is not None and process.answers:
            process.answers = 0.0
            self._begun(one)
        else:  # it ends, or cannot
            with suppress(KeyError):
                self._poll.unregister(process.link.fileno())
            if said == b"N":
                process.ends = process.ends or time.monotonic() + _PATIENCE
                if one is not None and process.answers:
                    process.client, process.answers = None, 0.0
                    self._fork(one)
        return bool(said)

    def _dismiss(self) -> None:
        """Let the processes that rest end."""
        for process in self._processes.values():
            if process.rests:
                self._part(process)

    def _part(self, process: _Process) -> None:
        process.ends = time.monotonic() + _PATIENCE
        process.link.shutdown(socket.SHUT_RDWR)

    def _mounts_now(self) -> int:
        """The number of this process's mounts: another one whenever they have changed."""
        poll = select.poll()
        poll.register(self._table, select.POLLPRI)
        if poll.poll(0):
            self._changed()
        return self._mounts

    def _changed(self) -> None:
        """The mounts have changed: a process that rests would see the old ones, and keep a disk busy that is to go."""
        self._mounts += 1
        self._dismiss()

    def _study(self, names: bytes) -> None:
        """Load what a build had to load."""
        for name in names.decode("utf-8", "replace").split():
            top = name.partition(".")[0]
            if name not in sys.modules and (top in _OURS or top in sys.stdlib_module_names):
                with suppress(Exception):
                    __import__(name)
        _rehearse()
        gc.collect()
        gc.freeze()

    # --- a build ----------------------------------------------------------------------------------------

    def _consider(self, one: _Client) -> None:
        """Say whether what is asked for will be begun."""
        try:
            problem = self._problem(one, resident.Request.decode(bytes(one.data[8:])))
        except (ValueError, IndexError):
            self._drop(one)
            return
        with suppress(OSError):
            one.link.send(f"R{problem}\n".encode() if problem else b"G\n")
        if problem:
            self._drop(one)
        one.asked, one.since = True, time.monotonic()

    def _begin(self, one: _Client) -> None:
        if _has_gone(one.link):  # it has waited too long, and builds by itself
            self._drop(one)
            return
        data = bytes(one.data[8:])
        process = self._resting() if len(data) <= LARGEST and not counts_time(one.limits) else None
        if process is None:
            self._fork(one)
            return
        one.process, process.client = process, one
        process.answers = time.monotonic() + _ANSWER
        try:
            limit(process.pid, one.limits)
            join(process.pid, one.groups)
            socket.send_fds(process.link, [data], one.descriptors)
        except OSError:  # it is about to end, or was limited more than this one may be
            process.client, process.answers = None, 0.0
            self._part(process)
            self._fork(one)

    def _resting(self) -> _Process | None:
        """A process that can be the next one's."""
        mounts = self._mounts_now()
        return next((one for one in self._processes.values() if one.rests and one.mounts == mounts), None)

    def _fork(self, one: _Client) -> None:
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mounts = self._mounts_now()
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)  # until the process has handlers of its own
        pid = os.fork()
        if not pid:
            self._build(one, its, mine)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
        its.close()
        mine.setblocking(False)
        one.process = process = _Process(pid, mine, mounts)
        self._processes[mine.fileno()] = process
        self._poll.register(mine.fileno(), select.POLLIN)
        try:
            join(pid, one.groups)
            mine.send(b"G")
        except OSError as exc:  # the group was changed meanwhile
            os.kill(pid, signal.SIGKILL)
            process.ends = time.monotonic()
            with suppress(OSError):
                one.link.send(f"R{_ELSEWHERE}: {exc.strerror}\n".encode())
            self._drop(one)
            return
        process.client = one
        self._begun(one)

    def _comes_home(self, process: _Process, groups: Homes) -> bool:
        """Take a process that rests out of its command's control groups, which may be about to go."""
        try:
            join(process.pid, {top: self._homes[top] for top in groups})
        except OSError:
            return False
        return True

    def _begun(self, one: _Client) -> None:
        assert one.process is not None
        one.forget_request()
        with suppress(OSError):
            one.link.send(b"S%d\n" % one.process.pid)

    def _problem(self, one: _Client, request: resident.Request) -> str:
        """Why this request must be the client's own affair, or ""."""
        if request.code != self._code:
            if not self._tied:  # it was started for a dockc that is no more
                self._idle = self._idle and 0.1
            return "it is another dockc than this one, or this one has been replaced"
        pid, _, _ = struct.unpack("3i", one.link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        try:
            if rights(pid) != self._rights:
                return "it has other rights than this process (user, groups, capabilities, namespaces)"
            one.limits = limits_of(pid)
            if groups_of(pid) != self._groups:
                one.groups = others(homes_of(pid), self._homes)
        except OSError:
            return "it cannot tell the rights of this process"
        if not self._raises and rise(one.limits, self._limits):
            return "it has lower resource limits (ulimit) than this process"
        if one.groups and not may_join(one.groups, self._homes):
            if differ_in_limits(one.groups, self._homes):
                return _ELSEWHERE
            one.groups = {}
        return ""

    def _build(self, one: _Client, link: socket.socket, resident_end: socket.socket) -> NoReturn:
        """In the fork: become the command, and end with it."""
        try:
            if not link.recv(1):  # the resident has put this process into the control groups of who asks, or is gone
                os._exit(1)
            request, descriptors = resident.Request.decode(bytes(one.data[8:])), list(one.descriptors)
            one.descriptors.clear()
            limit(0, one.limits)
            for client in self._clients.values():
                client.close()
            for other in (resident_end, *(process.link for process in self._processes.values())):
                other.close()
            self._listener.close()
            for number in (*self._locks, self._learned, self._told, self._tell, self._table):
                os.close(number)
        except BaseException as exc:
            os.write(2, f"error: the resident builder failed: {exc!r}\n".encode("utf-8", "replace"))
            os._exit(1)
        Forked(link, self._learn).run(request, descriptors)


def _may_raise_limits(of: tuple[object, ...]) -> bool:
    """Whether whoever has these `rights` may raise a hard limit."""
    status = of[0]
    assert isinstance(status, tuple)
    return any(line.startswith("CapEff:") and int(line.split()[1], 16) >> _SYS_RESOURCE & 1 for line in status)


def _tell(pid: int, number: int) -> None:
    """Let a process end. One that somebody has stopped goes on, so that it can: its client is not stopped with it."""
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)


def _has_gone(link: socket.socket) -> bool:
    try:
        return not link.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


_ROUNDS = 12
_PIECE = b'FROM scratch AS a\nARG A=1\nENV B=$A\nWORKDIR /x\nCOPY . .\nRUN --mount=type=cache,target=/c true\nFROM a\nCMD ["a"]\n'


def _rehearse() -> None:
    """Compile a little: code that has run a few times is faster in the interpreter, and a fork begins where this is."""
    import dockc

    with suppress(DockcError):
        for _ in range(_ROUNDS):
            dockc.compile(_PIECE, answers="made-up")


def serve(store: Path, *, idle: float = 0, tied: bool = False, grace: float = 0, lock: int = -1) -> int:
    """Be the resident builder of a store until told to end; see `Resident`.

    Raises:
        DockcError: the store has one, or cannot hold its socket.
    """
    return Resident(store, idle=idle, tied=tied, grace=grace, lock=lock).run()
