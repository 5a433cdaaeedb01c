"""The executor that needs nothing installed: namespaces made by a helper process of our own (`child`)."""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from dockc.base.children import Child, ChildLost
from dockc.base.machine import machine as this_machine
from dockc.errors import DockcError
from dockc.runtime.executor import limits, policy, seccomp
from dockc.runtime.executor.base import (
    DEFAULT_HOSTNAME,
    ExecCancelled,
    ExecIO,
    ExecSpec,
    ExecutorError,
    ResolvedMount,
)
from dockc.runtime.executor.cgroup import group, killed_for_memory, own_group
from dockc.runtime.executor.plan import Plan
from dockc.runtime.executor.prepare import Prepared, prepare
from dockc.runtime.kernel import proc, syscalls

if TYPE_CHECKING:
    from dockc.runtime.executor.terminal import Door, Pump

PACKAGE_ROOT = str(Path(__file__).resolve().parents[3])
_START = (
    f"import sys; sys.path.insert(0, {PACKAGE_ROOT!r}); "
    "from dockc.runtime.executor.child import main; main(*map(int, sys.argv[1:]))"
)
RELAY = signal.SIGRTMIN - 1
"""A real-time signal to the helper, this number further up, is the signal for the program."""
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 1.0
_END_SECONDS = 10.0
_CHUNK = 65536


class EmbeddedExecutor:
    """Runs each process in fresh namespaces on the kernel alone.

    Args:
        state_dir: where the few files of a running container live; made if missing.
    """

    name = "embedded"

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def run(
        self,
        spec: ExecSpec,
        rootfs: Path,
        mounts: Sequence[ResolvedMount],
        io: ExecIO,
        cancelled: threading.Event,
    ) -> int:
        """See `Executor.run`."""
        with contextlib.ExitStack() as stack:
            prepared = stack.enter_context(prepare(spec, rootfs, mounts, self._state_dir))
            plan = make_plan(spec, rootfs, prepared)
            of_run = None
            if spec.cgroup_parent or spec.resources is not None:
                of_run = stack.enter_context(
                    group(spec.cgroup_parent, prepared.directory.name, prepared.directory, spec.resources)
                )
                plan["cgroups"] = of_run.files
            elif policy.is_insecure(spec):
                plan["cgroups"] = stack.enter_context(own_group(prepared.directory.name, prepared.directory))
            status = run_helper(marshal.dumps(cast(Any, plan)), io, cancelled)
            if status and of_run is not None and spec.resources is not None and of_run.killed_for_memory():
                io.noticed(killed_for_memory(spec.resources))
            return status


def make_plan(spec: ExecSpec, rootfs: Path, prepared: Prepared) -> Plan:
    """Decide all that the child will do.

    Raises:
        ExecutorError: no system call filter exists for this machine, and the step is a sandboxed one.
    """
    insecure = policy.is_insecure(spec)
    namespaces = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
    if policy.has_own_network(spec):
        namespaces |= syscalls.CLONE_NEWNET
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):  # noqa: PTH110
        namespaces |= syscalls.CLONE_NEWCGROUP
    last = _last_capability()
    available = bounding_set()
    wanted = available if insecure else policy.capability_mask(policy.DEFAULT_CAPABILITIES) & available
    return {
        "rootfs": os.path.realpath(rootfs),
        "readonly_rootfs": spec.readonly_rootfs,
        "sandboxed": not insecure,
        "mounts": prepared.mounts,
        "selectors": prepared.selectors,
        "cgroups": [],
        "devices": [*policy.DEVICES, *(policy.INSECURE_DEVICES if insecure else ())],
        "masked": [] if insecure else list(policy.MASKED_PATHS),
        "readonly": [] if insecure else list(policy.READONLY_PATHS),
        "namespaces": namespaces,
        "own_network": policy.has_own_network(spec),
        "network_namespace": spec.network_namespace,
        "hostname": spec.hostname or DEFAULT_HOSTNAME,
        "uid": prepared.user.uid,
        "gid": prepared.user.gid,
        "groups": list(prepared.user.groups),
        "args": list(spec.args),
        "env": prepared.env,
        "cwd": policy.clean(spec.cwd or "/"),
        "rlimits": limits.rows(spec.rlimits),
        "capabilities": wanted,
        "ambient": insecure,
        "last_capability": last,
        "seccomp": b"" if insecure else _filter(),
        "no_new_privileges": spec.no_new_privileges,
    }


def _filter() -> bytes:
    machine = this_machine()
    program = seccomp.program(machine)
    if program is None:
        raise ExecutorError(
            f"no system call filter for {machine}",
            hint="Use --executor=crun or --executor=runc on this machine.",
        )
    return program


def _last_capability() -> int:
    try:
        return int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    except OSError:
        return len(policy.CAPABILITIES) - 1


def bounding_set() -> int:
    """Bit mask of the capabilities that this process can pass on."""
    told = proc.status("CapBnd")
    if not told:
        raise ExecutorError("/proc/self/status tells no capabilities")
    return int(told, 16)


def run_helper(plan: bytes, io: ExecIO, cancelled: threading.Event, *, start: str = _START) -> int:
    """Start the helper, stream its output, and wait until nothing of it is left.

    Args:
        plan: what it does.
        io: streams of the program.
        cancelled: ends it.
        start: the helper's program.

    Returns:
        The step's exit status.
    """
    if not io.terminal:
        return _run(plan, io, cancelled, None, start)
    from dockc.runtime.executor.terminal import open_door

    with open_door() as door:
        return _run(plan, io, cancelled, door, start)


def _run(plan: bytes, io: ExecIO, cancelled: threading.Event, door: Door | None, start: str) -> int:
    status_read, status_write = _pipe()
    stdin = -1
    try:
        if io.stdin is not None and not io.terminal:
            stdin = fcntl.fcntl(io.stdin, fcntl.F_DUPFD_CLOEXEC, 3)
        master = -1 if door is None else door.theirs
        passed = [number for number in (status_write, stdin, master) if number >= 0]
        numbers = map(str, (status_write, os.getpid(), stdin, master))
        helper = Child(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", start, *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=passed,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH")},
        )
    except OSError as exc:
        os.close(status_read)
        raise ExecutorError(f"cannot start {sys.executable}: {exc.strerror}") from exc
    finally:
        os.close(status_write)
        if stdin >= 0:
            os.close(stdin)
    said = bytearray()
    try:
        _send(helper, plan)
        with _Streams(helper, io, door) as streams:
            streams.add(status_read, said.extend)
            io.started(streams)
            streams.follow(cancelled)
    except BaseException:
        _end(helper)
        raise
    finally:
        os.close(status_read)
        for stream in (helper.stdout, helper.stderr):
            if stream is not None:
                stream.close()
        ended = _how_it_ended(helper)
    if cancelled.is_set():
        raise ExecCancelled("cancelled")
    return _status(bytes(said), ended)


def _pipe() -> tuple[int, int]:
    """A pipe whose descriptors are none of the standard ones, which the caller may have closed."""
    ends = os.pipe()
    try:
        return fcntl.fcntl(ends[0], fcntl.F_DUPFD_CLOEXEC, 3), fcntl.fcntl(ends[1], fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        for end in ends:
            os.close(end)


def _how_it_ended(helper: Child) -> str:
    """Wait for the supervisor; how it ended, in words for the case that it could not say so itself."""
    try:
        code = helper.wait()
    except ChildLost:
        return "died"
    return f"was ended by signal {-code}" if code < 0 else f"ended with status {code} without a word"


def _status(said: bytes, ended: str) -> int:
    """The step's status as the supervisor told it last; that of the supervisor itself may be lost on its caller."""
    trouble, told, code = said.rpartition(b"\0")
    if not told:
        trouble = code
    if trouble:
        status, _, message = trouble.decode("utf-8", "surrogateescape").partition(" ")
        raise ExecutorError(message, exit_status=int(status) if status.isdigit() else 255)
    if not code.isdigit():
        raise ExecutorError(f"the container's supervisor {ended}")
    return int(code)


def _end(helper: Child) -> None:
    """End a step whose output nobody can take any more, and wait until nothing of it is left."""
    helper.send_signal(signal.SIGUSR1)
    try:
        helper.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        helper.kill()
    except ChildLost:
        return


def _send(helper: Child, plan: bytes) -> None:
    if helper.stdin is None:
        raise DockcError("the helper has no standard input")
    try:
        helper.stdin.write(plan)
        helper.stdin.close()
    except BrokenPipeError:
        pass  # it died already; the status tells why


class _Streams:
    """All that moves while a program runs: its output, its terminal, signals for it."""

    def __init__(self, helper: Child, io: ExecIO, door: Door | None) -> None:
        self._helper = helper
        self._io = io
        self._selector = selectors.DefaultSelector()
        self._open: set[int] = set()
        self._pump: Pump | None = None
        self._size = (0, 0)
        for stream, sink in ((helper.stdout, io.stdout), (helper.stderr, io.stderr)):
            if stream is not None:
                self.add(stream.fileno(), sink)
        if door is not None:
            self._selector.register(door.fileno(), selectors.EVENT_READ, lambda _: self._enter(door))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pump is not None:
            self._pump.close()
        self._selector.close()

    def add(self, number: int, sink: Callable[[bytes], object]) -> None:
        """Take what comes from a descriptor, until its end."""

        def take(_events: int) -> None:
            data = os.read(number, _CHUNK)
            if data:
                sink(data)
            else:
                self._selector.unregister(number)
                self._open.remove(number)

        self._selector.register(number, selectors.EVENT_READ, take)
        self._open.add(number)

    def signal(self, number: int) -> None:
        """See `Running.signal`."""
        self._helper.send_signal(RELAY + number)

    def resize(self, columns: int, rows: int) -> None:
        """See `Running.resize`."""
        self._size = (columns, rows)
        if self._pump is not None:
            self._pump.resize(columns, rows)

    def _enter(self, door: Door) -> None:
        """Take the master of the terminal."""
        self._selector.unregister(door.fileno())
        from dockc.runtime.executor.terminal import Pump

        if (master := door.take()) >= 0:
            self._pump = Pump(master, -1 if self._io.stdin is None else self._io.stdin, self._io.stdout)
            self._pump.join(self._selector)
            self._pump.resize(*self._size)

    def follow(self, cancelled: threading.Event) -> None:
        """Pass output on until all pipes are closed, which the death of the last process does."""
        asked = 0.0
        killed = False
        while self._open:
            for key, events in self._selector.select(_POLL_SECONDS):
                key.data(events)
            if not cancelled.is_set() or killed:
                continue
            if not asked:
                asked = time.monotonic()
                self._helper.send_signal(signal.SIGTERM)
            elif time.monotonic() - asked > _GRACE_SECONDS:
                killed = True
                self._helper.send_signal(signal.SIGUSR1)


def make(name: str, state_dir: Path) -> EmbeddedExecutor:
    """What `choose` calls: its only name is `embedded`."""
    return EmbeddedExecutor(state_dir)
