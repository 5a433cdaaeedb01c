"""Containers of a frontend: file systems of the build in which it may run processes, one after another or several at
once.

Each process has its own namespaces; what they share is the files. Loaded when a frontend asks for one.
Source: BuildKit, frontend/gateway/pb/gateway.proto.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING, cast

from dockc.base.aside import OnLoop
from dockc.base.record import replace
from dockc.base.threads import waiting
from dockc.errors import DockcError
from dockc.llb.pb import ops_pb2
from dockc.protocol.errors import to_rpc
from dockc.rpc.calls import parsed
from dockc.rpc.pb import gateway_pb2
from dockc.rpc.status import ALREADY_EXISTS, CANCELLED, INVALID_ARGUMENT, NOT_FOUND, UNKNOWN, RpcError
from dockc.runtime.executor.base import ExecCancelled, ExecIO, ExecSpec, ExecutorError, HostEntry
from dockc.runtime.ops.exec import check_entitlements, make_spec
from dockc.runtime.ops.execmounts import ExecMounts
from dockc.runtime.ops.paths import check_exec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dockc.engine.bridge import Bridge, Ref
    from dockc.rpc.calls import Call
    from dockc.runtime.executor.base import Running
    from dockc.solver.lent import Lent
    from dockc.solver.op import OpContext

_WINDOWS_PATH = r"c:\Windows\System32;c:\Windows;C:\Windows\System32\WindowsPowerShell\v1.0"
_NO_STATUS = 255
"""Of a process that never ran."""
_KILLED = 137
_LOOK = 0.2
"""Seconds between two looks whether output that nobody takes is still wanted."""
_INPUT = 16 << 20
"""Bytes of input for the processes of one build that they have not read."""
_PIECE = 256
"""Bytes that each piece of it takes besides."""
_LAST_SIGNAL = 31
"""The executor's helper passes on no real-time signals: it is told of the others by them."""
_WINDOW = 0xFFFF
"""Rows and columns that a terminal can have."""


class _Surroundings:
    """What mounts and processes ask of a step, for what is none."""

    def __init__(self, lends: Lent) -> None:
        self.cancelled = threading.Event()
        self.lent = lends.lent

    def log(self, stream: int, data: bytes) -> None:
        """Nobody watches."""


class Room:
    """What processes of one build may be sent before they read it. Mutable: the bytes that wait."""

    def __init__(self) -> None:
        self._waiting = 0
        self._there = asyncio.Event()
        self._there.set()

    def add(self, size: int) -> None:
        """A piece of input that waits."""
        self._change(size + _PIECE)

    def remove(self, size: int) -> None:
        """A piece that was read, or that nobody will read."""
        self._change(-size - _PIECE)

    def _change(self, size: int) -> None:
        self._waiting += size
        if self._waiting < _INPUT:
            self._there.set()
        else:
            self._there.clear()

    async def there(self) -> None:
        """Wait until more may come."""
        await self._there.wait()


class Container:
    """File systems, mounted until the container is closed; `find` knows those of the build by their ids.

    Mutable: `processes`, those that run; `_first`, the one with which all others end; `_closed`.
    """

    def __init__(
        self, bridge: Bridge, find: Callable[[str], Ref | None], request: gateway_pb2.NewContainerRequest
    ) -> None:
        self.bridge, self._find, self._request = bridge, find, request
        self.context = cast("OpContext", _Surroundings(bridge.lends))
        self.op = ops_pb2.ExecOp(network=cast("ops_pb2.NetMode", request.Network))
        self.processes: set[Process] = set()
        self._first: Process | None = None
        self._mounts: ExecMounts | None = None
        self._closed = False

    async def open(self) -> None:
        """Make what is mounted, and mount it.

        Raises:
            DockcError: a step failed, a secret is missing, an entitlement is; it was closed meanwhile.
        """
        bridge = self.bridge
        used: list[Ref] = []
        for data in self._request.Mounts:
            mount = parsed(data, ops_pb2.Mount)
            ref = self._find(mount.resultID)
            mount.input = -1 if ref is None else len(used)
            if ref is not None:
                used.append(ref)
            self.op.mounts.append(mount)
        check_exec(self.op)
        await bridge.evaluate(*used)
        systems = [bridge.file_system(ref) for ref in used]
        cancelled = self.context.cancelled
        await bridge.work.blocking(partial(bridge.fetch, *systems, cancelled=cancelled), cancelled=cancelled)
        mounts = ExecMounts(self.op, systems, bridge.work.worker.refs, self.context)
        try:
            await bridge.work.blocking(mounts.__enter__, cancelled=self.context.cancelled)
            if self._closed:
                raise DockcError("the container was released while it was made")
        except BaseException:  # also when cancelled just as they are there
            await bridge.work.blocking(mounts.close)
            raise
        self._mounts = mounts

    def began(self, process: Process) -> None:
        """One more process."""
        self.processes.add(process)
        self._first = self._first or process

    def ended(self, process: Process) -> None:
        """A process has ended; the others go with the first, as when it is process 1 of them all."""
        self.processes.discard(process)
        if process is self._first:
            self._first = None
            for other in self.processes:
                other.kill()

    async def close(self) -> None:
        """End the processes and give the file systems up; may be called again, and while it is opened."""
        self._closed = True
        for process in self.processes:
            process.cancel()
        await asyncio.gather(*(process.over.wait() for process in self.processes))
        mounts, self._mounts = self._mounts, None
        if mounts is not None:
            await self.bridge.work.blocking(mounts.close)

    def spec(self, init: gateway_pb2.InitMessage) -> ExecSpec:
        """The process that a message describes; may ask for secrets.

        Raises:
            DockcError: an entitlement or a secret that is missing, an address that cannot be read.
        """
        op = ops_pb2.ExecOp(
            network=self.op.network,
            security=cast("ops_pb2.SecurityMode", init.Security),
            meta=parsed(init.Meta, ops_pb2.Meta),
        )
        check_exec(op)
        op.secretenv.extend(parsed(data, ops_pb2.SecretEnv) for data in init.secretenv)
        if not op.meta.args:
            raise RpcError("a process needs arguments", code=INVALID_ARGUMENT)
        check_entitlements(op, self.bridge.request.allow)
        if self._request.platform.OS == "windows" and not any(entry.startswith("PATH=") for entry in op.meta.env):
            op.meta.env.append(f"PATH={_WINDOWS_PATH}")
        if init.Tty and not any(entry.startswith("TERM=") for entry in op.meta.env):
            op.meta.env.append("TERM=xterm")
        made = make_spec(op, self.context)
        hosts = tuple(HostEntry(one.Host, one.IP) for one in self._request.extraHosts)
        readonly = self._mounts is not None and self._mounts.root is not None and self._mounts.root.readonly
        return replace(
            made,
            hostname=self._request.hostname or made.hostname,
            extra_hosts=made.extra_hosts + hosts,
            readonly_rootfs=readonly,
        )

    def root(self, index: int) -> Path:
        """Where the file system of a mount is, by its number in the request.

        Raises:
            RpcError: there is none of that number, or one without files that could be read.
        """
        mounts = self._mounts
        if not 0 <= index < len(self.op.mounts):
            raise RpcError(
                f"mount index {index} is out of bounds ({len(self.op.mounts)} available)", code=INVALID_ARGUMENT
            )
        if mounts is None or mounts.root is None:
            raise RpcError("the container is released", code=NOT_FOUND)
        mount = self.op.mounts[index]
        if mount.dest == "/":
            return mounts.root.path
        for one in mounts.mounts:
            if one.dest == mount.dest and one.source is not None and one.source.is_dir():
                return one.source
        raise RpcError(f"the mount {mount.dest} has no files to read", code=INVALID_ARGUMENT)

    def run(self, spec: ExecSpec, io: ExecIO, cancelled: threading.Event) -> int:
        """Run a process to its end; blocks.

        Raises:
            RpcError: the container is closed.
            ExecutorError: it could not be started, or was ended.
        """
        mounts = self._mounts
        if mounts is None or mounts.root is None:
            raise RpcError("the container is released", code=NOT_FOUND)
        with waiting():
            return self.bridge.work.worker.executor.run(spec, mounts.root.path, mounts.mounts, io, cancelled)


class Process:
    """One process, and what goes between it and the frontend."""

    def __init__(self, container: Container, name: str, init: gateway_pb2.InitMessage, call: Call, room: Room) -> None:
        self._container, self._name, self._init, self._call, self._room = container, name, init, call, room
        self._loop = asyncio.get_running_loop()
        self._cancelled = threading.Event()
        self._input: asyncio.Queue[bytes | None] = asyncio.Queue()  # as much as there is room for
        self.over = asyncio.Event()
        self._given_up = False
        self._running: Running | None = None
        self._early: list[Callable[[Running], None]] = []
        container.began(self)

    def kill(self) -> None:
        """End it, as by a signal."""
        self._cancelled.set()

    def cancel(self) -> None:
        """End it, because nobody wants it any more."""
        self._given_up = True
        self._cancelled.set()

    def take(self, message: gateway_pb2.ExecMessage) -> None:
        """Something from the frontend.

        Raises:
            RpcError: a signal that cannot be sent.
        """
        match message.WhichOneof("Input"):
            case "File" if message.File.Fd == 0 and 0 in self._init.Fds and not self.over.is_set():
                if message.File.Data:
                    self._room.add(len(message.File.Data))
                    self._input.put_nowait(message.File.Data)
                if message.File.EOF:
                    self._input.put_nowait(None)
            case "Signal":
                number = _signal(message.Signal.Name)
                if number == signal.SIGKILL:
                    self.kill()
                else:
                    self._tell(lambda running: running.signal(number))
            case "Resize":
                columns, rows = min(message.Resize.Cols, _WINDOW), min(message.Resize.Rows, _WINDOW)
                self._tell(lambda running: running.resize(columns, rows))
            case "Init":
                raise RpcError(f"process {self._name} already exists", code=ALREADY_EXISTS)

    def _tell(self, do: Callable[[Running], None]) -> None:
        """Do something to the program, as soon as it can be reached."""
        if self._running is not None:
            if not self.over.is_set():
                do(self._running)
        else:
            self._early.append(do)

    def _started(self, running: Running) -> None:
        """In the executor's thread."""
        self._loop.call_soon_threadsafe(self._reached, running)

    def _reached(self, running: Running) -> None:
        self._running = running
        for do in self._early:
            do(running)
        self._early.clear()

    async def run(self) -> None:
        """From start to end: started, output, exit, done."""
        answer = gateway_pb2.ExitMessage(Code=_NO_STATUS)
        try:
            await self._send(Started=gateway_pb2.StartedMessage())
            spec = await self._container.bridge.work.blocking(partial(self._container.spec, self._init))
            answer.Code = await self._run(spec)
            if answer.Code:
                answer.Error.code, answer.Error.message = UNKNOWN, f"exit code: {answer.Code}"
        except ExecCancelled:
            if self._given_up:
                answer.Error.code, answer.Error.message = CANCELLED, "context canceled"
            else:
                answer.Code = _KILLED
                answer.Error.code, answer.Error.message = UNKNOWN, f"exit code: {_KILLED}"
        except (DockcError, RpcError) as exc:
            error = to_rpc(exc)
            answer.Code = exc.exit_status if isinstance(exc, ExecutorError) else _NO_STATUS
            answer.Error.code, answer.Error.message = error.code, error.message
        finally:
            self.end()
        for number in self._init.Fds:
            if number:
                await self._send(File=gateway_pb2.FdMessage(Fd=number, EOF=True))
        await self._send(Exit=answer)
        await self._send(Done=gateway_pb2.DoneMessage())

    def end(self, _: object = None) -> None:
        """It has ended, or will not begin; may be called again."""
        self.over.set()
        while not self._input.empty():  # so that whoever waits for room goes on
            if (data := self._input.get_nowait()) is not None:
                self._room.remove(len(data))
        self._container.ended(self)

    async def _run(self, spec: ExecSpec) -> int:
        work = self._container.bridge.work
        reading = writing = -1
        if 0 in self._init.Fds:
            reading, writing = os.pipe()
        io = ExecIO(
            stdout=self._output(1),
            stderr=self._output(2),
            stdin=reading if reading >= 0 else None,
            terminal=self._init.Tty,
            started=self._started,
        )
        feeding = asyncio.ensure_future(self._feed(writing)) if writing >= 0 else None
        try:
            return await work.blocking(
                partial(self._container.run, spec, io, self._cancelled), cancelled=self._cancelled
            )
        finally:
            if feeding is not None:
                os.close(reading)  # whoever still writes is told
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)

    async def _feed(self, writing: int) -> None:
        try:
            while (data := await self._input.get()) is not None:
                try:
                    await self._container.bridge.work.blocking(partial(_all_of, writing, data))
                finally:
                    self._room.remove(len(data))
        except BrokenPipeError:
            pass
        finally:
            os.close(writing)

    def _output(self, number: int) -> Callable[[bytes], None]:
        """Takes output in the executor's thread, which waits until it is on its way."""
        wanted = number in self._init.Fds

        def take(data: bytes) -> None:
            if not wanted or self._cancelled.is_set():
                return
            sending = OnLoop(self._send(File=gateway_pb2.FdMessage(Fd=number, Data=data)), self._loop)
            while not sending.wait(_LOOK):
                if self._given_up:  # whoever does not read it shall not hold up the end
                    sending.end()
            try:
                sending.result()
            except (RpcError, asyncio.CancelledError):
                self._cancelled.set()

        return take

    async def _send(self, **message: object) -> None:
        await self._call.send(gateway_pb2.ExecMessage(ProcessID=self._name, **message).SerializeToString())  # type: ignore[arg-type]


async def serve(container: Callable[[str], Container], call: Call, room: Room) -> None:
    """The processes of one call; `container` knows the containers by their ids, `room` is that of the build.

    Raises:
        RpcError: a message that makes no sense, or asks for what is not there.
    """
    processes: dict[str, Process] = {}
    running: list[asyncio.Task[None]] = []
    call.start()
    try:
        while True:
            await room.there()
            if (data := await call.receive()) is None:
                break
            message = parsed(data, gateway_pb2.ExecMessage)
            known = processes.get(message.ProcessID)
            if known is not None:
                known.take(message)
            elif message.WhichOneof("Input") == "Init":
                made = Process(container(message.Init.ContainerID), message.ProcessID, message.Init, call, room)
                processes[message.ProcessID] = made
                task = asyncio.create_task(made.run())
                task.add_done_callback(made.end)  # also of one that is cancelled before it begins
                running.append(task)
            else:
                raise RpcError(f"no such process: {message.ProcessID}", code=NOT_FOUND)
        await asyncio.gather(*running)
    finally:
        for one in processes.values():
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _signal(name: str) -> int:
    """The number of a signal by its name, with or without SIG, or by its number.

    Raises:
        RpcError: there is none of that name.
    """
    short = name.upper().removeprefix("SIG")
    if short.isascii() and short.isdigit() and len(short) < 4 and 0 < int(short) <= _LAST_SIGNAL:
        return int(short)
    found = getattr(signal, f"SIG{short}", None)
    if not isinstance(found, signal.Signals) or found > _LAST_SIGNAL:
        raise RpcError(f"unknown signal {name[:80]}", code=INVALID_ARGUMENT)
    return found


def _all_of(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
