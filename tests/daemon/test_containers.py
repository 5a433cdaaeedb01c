"""Containers of a frontend, over the protocol: processes, what goes in and out of them, and how they end."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

import pytest

from dockc import llb
from dockc.engine.bridge import Bridge, Result
from dockc.engine.containers import Process, Room, serve
from dockc.engine.engine import Engine, EngineOptions
from dockc.engine.gateway import Gateway, answers, own_workers
from dockc.engine.request import BuildRequest
from dockc.llb.pb import ops_pb2
from dockc.protocol.errors import to_rpc
from dockc.protocol.names import BRIDGE
from dockc.rpc.calls import Channel
from dockc.rpc.pb import gateway_pb2
from dockc.rpc.status import INVALID_ARGUMENT, NOT_FOUND, RpcError
from dockc.rpc.transports import on_descriptors
from dockc.runtime.exporter.options import Output
from dockc.runtime.ops.execmounts import ExecMounts
from dockc.runtime.session.base import Session
from tests.tools import busybox, need_root


@pytest.fixture(autouse=True)
def _as_root() -> None:
    need_root()



def run(folder: Path, story: Callable[[Channel], Awaitable[None]]) -> None:
    """A build whose frontend speaks over pipes, as one in a container does."""

    busybox()  # told before the engine is there, in whose tasks no test can be skipped

    async def frontend(bridge: Bridge) -> Result:
        gateway = Gateway(bridge, own_workers())

        async def mine(_: object) -> Gateway:
            return gateway

        one, two = os.pipe(), os.pipe()
        server = await on_descriptors(one[0], two[1], answers(mine), explain=to_rpc)
        client = await on_descriptors(two[0], one[1])
        try:
            await story(client)
        finally:
            await gateway.close()
            client.shut()
            server.shut()
        return Result({"": None}, {"frontend.said": b"1", "other": b"2"})

    async def main() -> None:
        request = BuildRequest(outputs=(Output("cacheonly"),))
        async with asyncio.timeout(100), Engine(EngineOptions(root=folder / "store")) as engine:
            built = await engine.run(frontend, request, Session(), lambda status: None)
            assert built.metadata == {"frontend.said": "1"}

    asyncio.run(main())


async def container(client: Channel, name: str = "c", platform: str = "") -> None:
    """A container with a shell."""
    root = llb.scratch().file(llb.mkdir("/bin")).file(llb.mkfile("/bin/sh", busybox().read_bytes(), 0o755))
    for applet in ("stty", "tr"):
        root = root.file(llb.symlink("sh", f"/bin/{applet}"))
    definition = root.marshal()
    request = gateway_pb2.SolveRequest(Definition=definition.to_bytes(), allowResultReturn=True, allowResultArrayRef=True)
    solved = gateway_pb2.SolveResponse.FromString(await client.unary(BRIDGE + "Solve", request.SerializeToString()))
    mounts = [
        ops_pb2.Mount(dest="/", resultID=solved.result.ref.id, output=-1),
        ops_pb2.Mount(dest="/tmp", mountType=ops_pb2.MountType.TMPFS, output=-1),
    ]
    wanted = gateway_pb2.NewContainerRequest(ContainerID=name, Mounts=[one.SerializeToString() for one in mounts])
    if platform:
        wanted.platform.OS = platform
    await client.unary(BRIDGE + "NewContainer", wanted.SerializeToString())


def start(script: str, *, process: str = "p", name: str = "c", fds: tuple[int, ...] = (0, 1, 2), tty: bool = False) -> bytes:
    meta = ops_pb2.Meta(args=["/bin/sh", "-c", script], cwd="/", env=["GIVEN=yes"])
    init = gateway_pb2.InitMessage(ContainerID=name, Meta=meta.SerializeToString(), Fds=fds, Tty=tty)
    return gateway_pb2.ExecMessage(ProcessID=process, Init=init).SerializeToString()


def written(data: bytes, *, end: bool = True) -> bytes:
    return gateway_pb2.ExecMessage(ProcessID="p", File=gateway_pb2.FdMessage(Fd=0, Data=data, EOF=end)).SerializeToString()


async def talk(
    client: Channel, *messages: bytes, after: dict[bytes, bytes] | None = None
) -> tuple[list[str], dict[int, bytes], gateway_pb2.ExitMessage]:
    """Send messages and take what comes until the process is done; some are sent `after` it has said a word."""
    after = dict(after or {})
    call = client.call(BRIDGE + "ExecProcess")
    for one in messages:
        await call.send(one)
    kinds: list[str] = []
    said = {1: b"", 2: b""}
    left = gateway_pb2.ExitMessage()
    while (data := await call.receive()) is not None:
        message = gateway_pb2.ExecMessage.FromString(data)
        kind = message.WhichOneof("Input")
        assert kind is not None
        kinds.append(kind)
        if kind == "File":
            said[message.File.Fd] += message.File.Data
            for word in [word for word in after if word in said[1]]:
                await call.send(after.pop(word))
        elif kind == "Exit":
            left = message.Exit
        elif kind == "Done":
            break
    call.end()
    assert await call.receive() is None
    return kinds, said, left


def test_a_process(tmp_path: Path) -> None:
    async def story(client: Channel) -> None:
        await container(client)
        kinds, said, left = await talk(client, start("read x; echo got $x $GIVEN; echo bad >&2; echo kept > /file; exit 3"), written(b"word\n"))
        assert said == {1: b"got word yes\n", 2: b"bad\n"}
        assert (left.Code, left.Error.message) == (3, "exit code: 3")
        assert (kinds[0], kinds[-2], kinds[-1]) == ("Started", "Exit", "Done")
        # What one process writes, the next one finds.
        await container(client, "windows", platform="windows")
        _, said, left = await talk(client, start('echo "$PATH"', fds=(1,), name="windows"))
        assert said[1].startswith(b"c:\\Windows\\System32;")
        _, said, left = await talk(client, start("read x < /file; echo $x", fds=(1,)))
        assert (said[1], left.Code, left.HasField("Error")) == (b"kept\n", 0, False)
        # More than any buffer holds, in and out.
        _, said, left = await talk(client, start("while read x; do echo $x; done"), *[written(b"line\n" * 20000, end=n == 9) for n in range(10)])
        assert said[1] == b"line\n" * 200000
        await client.unary(BRIDGE + "ReleaseContainer", gateway_pb2.ReleaseContainerRequest(ContainerID="c").SerializeToString())
        with pytest.raises(RpcError, match="container details for c not found") as caught:
            await talk(client, start("true"))
        assert caught.value.code == NOT_FOUND

    run(tmp_path, story)


def test_ends(tmp_path: Path) -> None:
    async def story(client: Channel) -> None:
        await container(client)
        kill = gateway_pb2.ExecMessage(ProcessID="p", Signal=gateway_pb2.SignalMessage(Name="SIGKILL")).SerializeToString()
        _, _, left = await talk(client, start("while true; do :; done"), kill)
        assert left.Code == 137
        stop = gateway_pb2.ExecMessage(ProcessID="p", Signal=gateway_pb2.SignalMessage(Name="SIGTERM")).SerializeToString()
        script = "trap 'exit 9' TERM; echo ready; read x"
        _, said, left = await talk(client, start(script, fds=(0, 1)), after={b"ready": stop})
        assert (said[1], left.Code) == (b"ready\n", 9)
        nonsense = gateway_pb2.ExecMessage(ProcessID="p", Signal=gateway_pb2.SignalMessage(Name="NONSENSE")).SerializeToString()
        with pytest.raises(RpcError, match="unknown signal NONSENSE"):
            await talk(client, start("while true; do :; done"), nonsense)
        with pytest.raises(RpcError, match="process p already exists"):
            await talk(client, start("while true; do :; done"), start("true"))
        with pytest.raises(RpcError, match="no such process: p"):
            await talk(client, written(b"x"))
        with pytest.raises(RpcError, match="container c exists"):
            await container(client)
        # The others go with the first; what is released is given up.
        first = client.call(BRIDGE + "ExecProcess")
        await first.send(start("read x"))
        assert gateway_pb2.ExecMessage.FromString(await first.receive() or b"").WhichOneof("Input") == "Started"
        other = asyncio.ensure_future(talk(client, start("while true; do :; done")))
        await asyncio.sleep(0.3)
        await first.send(written(b"", end=True))
        assert (await other)[2].Code == 137
        other = asyncio.ensure_future(talk(client, start("while true; do :; done")))
        await asyncio.sleep(0.3)
        with pytest.raises(RpcError, match="context canceled"):  # something still ran
            await client.unary(BRIDGE + "ReleaseContainer", gateway_pb2.ReleaseContainerRequest(ContainerID="c").SerializeToString())
        assert (await other)[2].Error.message == "context canceled"
        await container(client)
        # One that nobody waits for ends with the build; so does what its input holds up.
        call = client.call(BRIDGE + "ExecProcess")
        await call.send(start("while true; do :; done"))
        await call.send(written(b"x" * 1000000))
        assert await call.receive() is not None

    run(tmp_path, story)


def resized(columns: int, rows: int) -> bytes:
    return gateway_pb2.ExecMessage(ProcessID="p", Resize=gateway_pb2.ResizeMessage(Cols=columns, Rows=rows)).SerializeToString()


def test_a_terminal(tmp_path: Path) -> None:
    async def story(client: Channel) -> None:
        await container(client)
        size = "until [ x$(stty size 2> /tmp/none | tr ' ' x) = x"  # it has none until it is told the first
        script = f"test -t 0 && test -t 2 && echo $TERM; {size}40x80 ]; do :; done; echo first; {size}60x100 ]; do :; done; exit 4"
        later = resized(100, 60)
        kinds, said, left = await talk(client, start(script, tty=True), resized(80, 40), after={b"first": later})
        assert (left.Code, said) == (4, {1: b"xterm\r\nfirst\r\n", 2: b""})
        assert kinds[0] == "Started"

    run(tmp_path, story)


def test_files(tmp_path: Path) -> None:
    async def story(client: Channel) -> None:
        await container(client)
        await talk(client, start("echo written > /made"))

        async def read(path: str, index: int = 0, ref: str = "c") -> bytes:
            request = gateway_pb2.ReadFileRequest(Ref=ref, FilePath=path, MountIndex=index)
            answer = await client.unary(BRIDGE + "ReadFileContainer", request.SerializeToString())
            return gateway_pb2.ReadFileResponse.FromString(answer).Data

        assert await read("/made") == b"written\n"
        request = gateway_pb2.ReadDirRequest(Ref="c", DirPath="/", IncludePattern="m*")
        answer = await client.unary(BRIDGE + "ReadDirContainer", request.SerializeToString())
        assert [one.path for one in gateway_pb2.ReadDirResponse.FromString(answer).entries] == [b"made"]
        asked = gateway_pb2.StatFileRequest(Ref="c", Path="/made")
        answer = await client.unary(BRIDGE + "StatFileContainer", asked.SerializeToString())
        found = gateway_pb2.StatFileResponse.FromString(answer).stat
        assert (found.path, found.size) == (b"made", 8)
        with pytest.raises(RpcError, match="open /absent: no such file or directory"):
            await read("/absent")
        for index, text in ((1, "the mount /tmp has no files to read"), (2, "mount index 2 is out of bounds"), (-1, "out of bounds")):
            with pytest.raises(RpcError, match=text) as caught:
                await read("/made", index)
            assert caught.value.code == INVALID_ARGUMENT
        with pytest.raises(RpcError, match="container details for d not found"):
            await read("/made", ref="d")

    run(tmp_path, story)


@pytest.mark.parametrize("end", ["released", "cancelled"])
def test_a_container_that_ends_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """Nobody would unmount what comes after its end."""
    enter, close, mounted, go = ExecMounts.__enter__, ExecMounts.close, threading.Event(), threading.Event()
    known: list[ExecMounts] = []
    closed: list[ExecMounts] = []

    def late(mounts: ExecMounts) -> ExecMounts:
        entered = enter(mounts)
        known.append(mounts)
        mounted.set()
        assert go.wait(60)
        return entered

    def counted(mounts: ExecMounts) -> None:
        close(mounts)
        closed.append(mounts)

    monkeypatch.setattr(ExecMounts, "__enter__", late)
    monkeypatch.setattr(ExecMounts, "close", counted)

    async def story(client: Channel) -> None:
        making = asyncio.ensure_future(container(client))
        await asyncio.to_thread(mounted.wait, 60)
        assert known[0].root is not None and known[0].root.path.exists()
        if end == "released":
            asked = gateway_pb2.ReleaseContainerRequest(ContainerID="c")
            await client.unary(BRIDGE + "ReleaseContainer", asked.SerializeToString())
            go.set()
            with pytest.raises(RpcError, match="released while it was made"):
                await making
        else:
            making.cancel()
            await asyncio.wait((making,))
            await asyncio.sleep(0.05)  # the other end hears of it
            go.set()

    run(tmp_path, story)
    assert closed == known
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(), "nothing is mounted any more"


@pytest.mark.parametrize("fds", [(0, 1), (1,)])
def test_input_that_nobody_reads_holds_up_nothing(tmp_path: Path, fds: tuple[int, ...]) -> None:
    """More of it than is kept for a process that ends without it."""

    async def story(client: Channel) -> None:
        await container(client)
        _, said, left = await talk(
            client, start("echo begun; sleep 0.2", fds=fds), *[written(bytes(32 << 10), end=False) for _ in range(200)]
        )
        assert (said[1], left.Code) == (b"begun\n", 0)

    run(tmp_path, story)


def test_a_container_is_released_whoever_does_not_read_its_output(tmp_path: Path) -> None:
    async def story(client: Channel) -> None:
        await container(client)
        call = client.call(BRIDGE + "ExecProcess")
        await call.send(start("while printf %065536d 0; do :; done", fds=(1,)))
        while call.untaken < 7 << 20:  # and the rest of its window is too small for one more
            await asyncio.sleep(0.01)
        asked = gateway_pb2.ReleaseContainerRequest(ContainerID="c")
        with pytest.raises(RpcError, match="context canceled"):
            await client.unary(BRIDGE + "ReleaseContainer", asked.SerializeToString())
        call.cancel()

    run(tmp_path, story)


def test_no_container_is_made_once_the_build_has_its_result() -> None:
    async def main() -> None:
        gateway = Gateway(None, ())  # type: ignore[arg-type]
        await gateway.close()
        with pytest.raises(RpcError, match="has its result"):
            await gateway.new_container(gateway_pb2.NewContainerRequest(ContainerID="late"))

    asyncio.run(main())


def test_a_process_that_is_cancelled_before_it_begins_has_ended() -> None:
    """Its container waits for all of its processes."""
    ended: list[Process] = []

    class Held:
        def began(self, process: Process) -> None: ...
        def ended(self, process: Process) -> None:
            ended.append(process)

    class Asking:
        messages: ClassVar = [start("true")]

        def start(self) -> None: ...
        async def receive(self) -> bytes | None:
            return self.messages.pop() if self.messages else None

    async def main() -> None:
        serving = asyncio.ensure_future(serve(lambda _: Held(), Asking(), Room()))  # type: ignore[arg-type, return-value]
        await asyncio.sleep(0)
        serving.cancel()
        await asyncio.wait((serving,))
        await asyncio.sleep(0)
        assert ended
        assert ended[0].over.is_set()

    asyncio.run(main())
