"""Clients, frontends and graphs that mean a real daemon harm: each is told what is wrong with it, nothing escapes, and the
next build is as ever.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dockc import llb
from dockc.client.address import connect, parse
from dockc.client.control import Bridge, BuildSpec, Export, Remote, through_frontend
from dockc.client.exports import Receiver
from dockc.client.session import Session
from dockc.errors import DockcError
from dockc.llb.pb import ops_pb2 as ops
from dockc.protocol.names import AUTH, FILE_SYNC, SECRETS
from dockc.rpc.calls import Call, Handler, unary
from dockc.rpc.pb import common_pb2, content_pb2, gateway_pb2, session_pb2
from dockc.rpc.status import RpcError
from tests.daemon.test_daemon import Daemon, until
from tests.protocol.test_files import DIR, END, LIES, LINK, P, named
from tests.tools import busybox, need_root

CONTENT = "/containerd.services.content.v1.Content/"
SERVICE = "/moby.buildkit.v1.frontend.LLBBridge/"
Drive = Callable[[Bridge], Coroutine[Any, Any, gateway_pb2.Result]]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    need_root()
    made = Daemon(tmp_path_factory.mktemp("d"), "--allow-insecure-entitlement=network.host")
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.said(), made.said()
    assert not list((made.folder / "root" / "running").iterdir())


def resident_set(daemon: Daemon) -> int:
    """Megabytes of the daemon."""
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmRSS"))


async def build(
    daemon: Daemon, definition: bytes = b"", *, drive: Drive | None = None, exports: Sequence[Export] = (), entitlements: Sequence[str] = (), **lent: Handler
) -> None:
    """A build by a client that serves what it is told to."""
    link = await connect(parse(daemon.address))
    try:
        session = Session()
        session.handlers |= {{"files": FILE_SYNC, "blobs": CONTENT + "Write", "secrets": SECRETS, "credentials": AUTH + "Credentials"}[key]: one for key, one in lent.items()}
        spec = BuildSpec(session=session, exports=tuple(exports), entitlements=tuple(entitlements))
        async with asyncio.timeout(60):
            await Remote(link).build(spec, drive or (lambda bridge: through_frontend(bridge, spec, definition)), lambda status: None)
    finally:
        await link.close()


def refused(daemon: Daemon, definition: bytes = b"", **more: Any) -> str:
    """What a build is told that fails; the next one does not."""
    with pytest.raises(DockcError) as caught:
        asyncio.run(build(daemon, definition, **more))
    message = caught.value.message
    assert "internal error" not in message
    assert "Error(" not in message
    well(daemon)
    return message


def well(daemon: Daemon) -> None:
    asyncio.run(build(daemon, llb.scratch().file(llb.mkfile("/ok", os.urandom(8).hex())).marshal().to_bytes()))


# --- clients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIES)
def test_directories_that_lie(daemon: Daemon, name: str) -> None:
    async def serve(call: Call) -> None:
        for packet in LIES[name]:
            await call.send(packet.SerializeToString())
        while await call.receive_all() is not None:
            pass

    refused(daemon, llb.local("context").marshal().to_bytes(), files=serve)


@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_directories_without_end(daemon: Daemon, size: int) -> None:
    async def serve(call: Call) -> None:
        packets = (named(f"{number:09}", xattrs={"user.x": bytes(size)}) for number in range(10**9))
        for packet in packets:
            await call.send(packet.SerializeToString())

    before = resident_set(daemon)
    assert "are larger than" in refused(daemon, llb.local("context").marshal().to_bytes(), files=serve)
    assert resident_set(daemon) - before < 700


def test_odd_files_that_are_none_of_the_daemons_business(daemon: Daemon) -> None:
    odd = [
        named("a", DIR | 0o755, modTime=-(2**63)), named("a/n", size=-5), named("b", size=2**62), named("c", 1 << 23 | 0o4755),
        named("l", LINK | 0o777, linkname=b"m"), named("m", LINK | 0o777, linkname=b"l"), named("o", LINK | 0o777, linkname=b"../../../etc/shadow"), END,
    ]  # fmt: skip

    async def serve(call: Call) -> None:
        for packet in odd:
            await call.send(packet.SerializeToString())
        left = 3
        while (messages := await call.receive_all()) is not None:
            for message in messages:
                told = P.FromString(message)
                if told.type == P.PACKET_REQ:
                    await call.send(P(type=P.PACKET_DATA, ID=told.ID).SerializeToString())
                    left -= 1
                elif told.type == P.PACKET_FIN:
                    assert not left
                    await call.send(message)
                    return

    copied = llb.scratch().file(llb.copy(llb.local("context"), "/", "/"))
    asyncio.run(build(daemon, copied.marshal().to_bytes(), files=serve))
    well(daemon)


def test_secrets_that_lie(daemon: Daemon) -> None:
    async def large(request: session_pb2.GetSecretRequest, _: Call) -> session_pb2.GetSecretResponse:
        return session_pb2.GetSecretResponse(data=bytes(64 << 20))

    async def broken(call: Call) -> None:
        await call.send(b"\xff\xff")

    async def nothing(call: Call) -> None:
        raise RpcError("not today", code=99)

    mount = ops.Mount(dest="/s", input=-1, output=-1, mountType=ops.SECRET, secretOpt=ops.SecretOpt(ID="x"))
    step = execution(ops.Mount(dest="/", input=0, output=0), mount)
    for handler in (unary(session_pb2.GetSecretRequest, large), broken, nothing):
        assert refused(daemon, step, secrets=handler)


def test_a_secret_is_in_no_error(daemon: Daemon) -> None:
    async def give(request: session_pb2.GetSecretRequest, _: Call) -> session_pb2.GetSecretResponse:
        return session_pb2.GetSecretResponse(data=b"hunter2")

    step = execution(secretenv=[ops.SecretEnv(ID="x", name="")])
    message = refused(daemon, step, secrets=unary(session_pb2.GetSecretRequest, give))
    assert "without a name" in message
    assert "hunter2" not in message


def test_names_that_cannot_be_headers(daemon: Daemon) -> None:
    async def never(call: Call) -> None:
        raise AssertionError

    assert "dir-name has control characters" in refused(
        daemon, llb.local("a\r\nb: c").marshal().to_bytes(), files=never
    )


def test_a_client_that_takes_no_more_is_waited_for_alone(daemon: Daemon) -> None:
    class Lazy(Receiver):
        async def receive(self, call: Call) -> None:
            call.start()
            await asyncio.sleep(3600)

    large = llb.scratch().file(llb.mkfile("/large", os.urandom(8 << 20))).marshal().to_bytes()

    async def go() -> None:
        waiting = asyncio.create_task(build(daemon, large, exports=[Export("tar", {}, Lazy())]))
        for _ in range(3):
            await build(daemon, llb.scratch().file(llb.mkfile("/ok", os.urandom(8).hex())).marshal().to_bytes())
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(go())
    well(daemon)


# --- graphs -----------------------------------------------------------------------------------------------


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def graph(*parts: ops.Op | bytes, last: str = "") -> bytes:
    """A definition of these operations; the last one is the result."""
    raw = [one if isinstance(one, bytes) else one.SerializeToString(deterministic=True) for one in parts]
    raw.append(ops.Op(inputs=[ops.Input(digest=last or digest(raw[-1]))]).SerializeToString())
    made = ops.Definition()
    getattr(made, "def").extend(raw)
    return made.SerializeToString()


def shell() -> bytes:
    return llb.scratch().file(llb.mkdir("/bin")).file(llb.mkfile("/bin/sh", busybox().read_bytes(), 0o755)).marshal().to_bytes()


def execution(*mounts: ops.Mount, script: str = "true", meta: dict[str, Any] | None = None, **more: Any) -> bytes:
    """A step on a shell."""
    *base, terminal = getattr(ops.Definition.FromString(shell()), "def")
    meta = {"args": ["/bin/sh", "-c", script], "cwd": "/"} | (meta or {})
    step = ops.ExecOp(meta=ops.Meta(**meta), mounts=mounts or [ops.Mount(dest="/", input=0, output=0)], **more)
    return graph(*base, ops.Op(inputs=ops.Op.FromString(terminal).inputs, exec=step))


def action(**kind: Any) -> ops.Op:
    return ops.Op(file=ops.FileOp(actions=[ops.FileAction(**{"input": -1, "secondaryInput": -1, "output": 0} | kind)]))


FILE = action(mkfile=ops.FileActionMkFile(path="/f", data=b"x", mode=0o644))
F = digest(FILE.SerializeToString(deterministic=True))
DEEP = "/d" * 1_000_000
GRAPHS: dict[str, Callable[[], bytes]] = {
    "a circle": lambda: graph(ops.Op(inputs=[ops.Input(digest="sha256:" + "0" * 64)], merge=ops.MergeOp(inputs=[ops.MergeInput(input=0)]))),
    "a result that is not there": lambda: graph(FILE, last="sha256:" + "1" * 64),
    "an operation of no kind": lambda: graph(b"\xfa\x01\x02\x08\x01"),
    "an output that there is not": lambda: graph(FILE, ops.Op(inputs=[ops.Input(digest=F, index=5)], merge=ops.MergeOp(inputs=[ops.MergeInput(input=0)]))),
    "a negative output": lambda: graph(FILE, ops.Op(inputs=[ops.Input(digest=F, index=-3)], merge=ops.MergeOp(inputs=[ops.MergeInput(input=0)]))),
    "more operations than can be": lambda: graph(*[FILE.SerializeToString()] * 100_001),
    "an action on a later one": lambda: graph(action(input=1, mkdir=ops.FileActionMkDir(path="/a"))),
    "no actions": lambda: graph(ops.Op(file=ops.FileOp())),
    "a zero byte in a path": lambda: graph(action(mkfile=ops.FileActionMkFile(path="/a\0b"))),
    "a zero byte in a link": lambda: graph(action(symlink=ops.FileActionSymlink(oldpath="a\0", newpath="/x"))),
    "a difference of nothing": lambda: graph(ops.Op(diff=ops.DiffOp(lower=ops.LowerDiffInput(input=4), upper=ops.UpperDiffInput(input=-5)))),
    "a build by nobody": lambda: graph(FILE, ops.Op(inputs=[ops.Input(digest=F)], build=ops.BuildOp(builder=0))),
    "a build of nothing": lambda: graph(FILE, ops.Op(inputs=[ops.Input(digest=F)], build=ops.BuildOp(builder=-1))),
    "a build of an input that there is not": lambda: graph(
        FILE, ops.Op(inputs=[ops.Input(digest=F)], build=ops.BuildOp(builder=-1, inputs={"buildkit.llb.definition": ops.BuildInput(input=3)}))
    ),
    "a build of a file that is no graph": lambda: graph(
        FILE, ops.Op(inputs=[ops.Input(digest=F)], build=ops.BuildOp(builder=-1, inputs={"buildkit.llb.definition": ops.BuildInput(input=0)}, attrs={"llbbuild.filename": "f"}))
    ),
    "a source of no kind": lambda: graph(ops.Op(source=ops.SourceOp(identifier="nope://x"))),
    "a command in place of a repository": lambda: graph(ops.Op(source=ops.SourceOp(identifier="git://--upload-pack=touch /tmp/p"))),
    "a step of nothing": lambda: graph(ops.Op(exec=ops.ExecOp())),
    "a step without a root": lambda: execution(ops.Mount(dest="/x", input=0, output=0)),
    "a mount of what is not there": lambda: execution(ops.Mount(dest="/", input=9, output=0)),
    "a mount in place of the root": lambda: execution(ops.Mount(dest="/", input=0, output=0), ops.Mount(dest="..", input=-1, output=-1)),
    "a selector that leads out": lambda: execution(ops.Mount(dest="/", input=0, output=0), ops.Mount(dest="/m", input=0, output=-1, selector="../../../etc")),
    "a mount of no kind": lambda: execution(ops.Mount(dest="/", input=0, output=0), ops.Mount(dest="/m", input=-1, output=-1, mountType=99)),  # type: ignore[arg-type]
    "a cache shared by no rule": lambda: execution(ops.Mount(dest="/", input=0, output=0), ops.Mount(dest="/m", input=-1, output=-1, mountType=ops.CACHE, cacheOpt=ops.CacheOpt(ID="../x", sharing=99))),  # type: ignore[arg-type]
    "a zero byte in a mount": lambda: execution(ops.Mount(dest="/", input=0, output=0), ops.Mount(dest="/x\0y", input=-1, output=-1)),
    "a variable without a name": lambda: execution(meta={"env": ["=x"]}),
    "a user beyond all numbers": lambda: execution(meta={"user": "99999999999999"}),
    "a limit of no kind": lambda: execution(meta={"ulimit": [ops.Ulimit(Name="nope", Soft=-5, Hard=2**62)]}),
    "another's group of processes": lambda: execution(meta={"cgroupParent": "../../.."}),
    "a network of no kind": lambda: execution(network=99),
    "a directory that nobody can name": lambda: graph(action(mkdir=ops.FileActionMkDir(path=DEEP, makeParents=True))),
    "a copy that nobody can name": lambda: graph(FILE, ops.Op(inputs=[ops.Input(digest=F)], file=ops.FileOp(actions=[ops.FileAction(input=-1, secondaryInput=0, output=0, copy=ops.FileActionCopy(src=DEEP, dest="/x"))]))),
    "a place to work that nobody can name": lambda: execution(meta={"cwd": DEEP}),
    "a mount that nobody can name": lambda: execution(ops.Mount(dest="/", input=0, output=0), ops.Mount(dest=DEEP, input=-1, output=-1, mountType=ops.TMPFS)),
    "a device": lambda: execution(cdiDevices=[ops.CDIDevice(name="vendor.com/x=all")]),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_that_make_no_sense(daemon: Daemon, name: str) -> None:
    refused(daemon, GRAPHS[name]())


def test_source_maps_that_lead_nowhere(daemon: Daemon) -> None:
    for script in ("true", "exit 3"):
        made = ops.Definition.FromString(execution(script=script + f" # {os.urandom(4).hex()}"))
        made.Source.infos.add(filename="../x\n", data=b"a\n")
        for op in getattr(made, "def"):
            for index in (99, -1, 0):
                made.Source.locations[digest(op)].locations.add(sourceIndex=index).ranges.add(start=ops.Position(line=-5), end=ops.Position(line=2**31 - 1))
        if script == "true":
            asyncio.run(build(daemon, made.SerializeToString()))
        else:
            assert "exit code: 3" in refused(daemon, made.SerializeToString())


@pytest.mark.parametrize("place", ["/proc/1/root/escaped", "/proc/self/root/escaped", "/proc/1/cwd/escaped", "/link/escaped"])
def test_mounts_that_lead_out_of_the_step(daemon: Daemon, place: str) -> None:
    mount = ops.Mount(dest=place, input=-1, output=-1, mountType=ops.TMPFS)
    asyncio.run(build(daemon, execution(ops.Mount(dest="/", input=0, output=0), mount)))
    assert not Path("/escaped").exists()


# --- frontends --------------------------------------------------------------------------------------------


def asked(daemon: Daemon, *questions: tuple[str, Any]) -> list[str]:
    """What the gateway says to questions about a shell's root, whose id stands for `REF`; "" where it answers."""
    said: list[str] = []

    async def drive(bridge: Bridge) -> gateway_pb2.Result:
        await bridge.ping()
        found = await bridge.solve(gateway_pb2.SolveRequest(Definition=shell(), Evaluate=True))
        for method, question in questions:
            if hasattr(question, "Ref") and question.Ref == "REF":
                question.Ref = found.ref.id
            try:
                async with asyncio.timeout(30):
                    await bridge._remote.channel.unary(SERVICE + method, question.SerializeToString(), bridge._metadata)
                said.append("")
            except DockcError as error:
                said.append(error.message)
        return found

    asyncio.run(build(daemon, drive=drive))
    well(daemon)
    assert not [text for text in said if "internal error" in text]
    return said


def test_questions_about_files_that_are_none(daemon: Daemon) -> None:
    file, part = gateway_pb2.ReadFileRequest, gateway_pb2.FileRange
    told = asked(
        daemon,
        ("ReadFile", file(Ref="REF", FilePath="/bin/sh", Range=part(Offset=2**62, Length=2**62))),
        *(("ReadFile", file(Ref="REF", FilePath=path)) for path in ("../../../etc/passwd", "\0", "", "/bin", "/bin/sh/x", "/" + "x" * 10**6, "/x" * 10**5)),
        ("ReadFile", file(Ref="REF", FilePath="/bin/sh", Range=part(Offset=-1))),
        ("ReadFile", file(Ref="other-0", FilePath="/x")),
        ("ReadDir", gateway_pb2.ReadDirRequest(Ref="REF", DirPath="/\0")),
        ("ReadDir", gateway_pb2.ReadDirRequest(Ref="REF", DirPath="/", IncludePattern="[" * 10**5)),
        ("StatFile", gateway_pb2.StatFileRequest(Ref="REF", Path="\0")),
    )
    assert told[0] == ""
    assert all(told[1:])
    assert asked(daemon, ("ReadDir", gateway_pb2.ReadDirRequest(Ref="REF", DirPath="/", IncludePattern="*a" * 5000 + "b"))) == [""]


def test_questions_about_graphs_and_sources_that_are_none(daemon: Daemon) -> None:
    solve, meta = gateway_pb2.SolveRequest, gateway_pb2.ResolveSourceMetaRequest
    hostile = common_pb2.Rule(action=1, selector=common_pb2.Selector(identifier="(a|a|aa)*(a+)+!", match_type=2))  # type: ignore[arg-type]
    source = llb.image("127.0.0.1:1/" + "a" * 60).marshal().to_bytes()
    told = asked(
        daemon,
        ("Solve", solve(Definition=b"\xff")),
        ("Solve", solve(Frontend="nope")),
        ("Solve", solve(Frontend="dockerfile.v0", FrontendInputs={"context": b"\xff"})),
        ("Solve", solve(Definition=source, SourcePolicies=[common_pb2.Policy(rules=[hostile])], Evaluate=True, allowResultReturn=True)),
        ("Solve", solve(Definition=source, SourcePolicies=[common_pb2.Policy(rules=[common_pb2.Rule()])])),
        *(("ResolveSourceMeta", meta(Source=common_pb2.SourceOp(identifier=one))) for one in ("", "nope://", "docker-image://\n", "https://", "oci-layout://x")),
        ("Evaluate", gateway_pb2.EvaluateRequest(Ref="other-0")),
        ("Return", gateway_pb2.ReturnRequest(result=gateway_pb2.Result(ref=gateway_pb2.Ref(id="other-0")))),
    )
    assert all(told)


def test_warnings_without_end(daemon: Daemon) -> None:
    warning = gateway_pb2.WarnRequest(digest="x", short=b"w", info=common_pb2.SourceInfo(data=bytes(8 << 20)))
    before = resident_set(daemon)
    assert set(asked(daemon, *[("Warn", warning)] * 60)) == {""}
    assert resident_set(daemon) - before < 250


def test_containers_that_make_no_sense(daemon: Daemon) -> None:
    make = gateway_pb2.NewContainerRequest
    told = asked(
        daemon,
        ("NewContainer", make(ContainerID="a", Mounts=[b"\xff\xff"])),
        ("NewContainer", make(ContainerID="b")),
        ("NewContainer", make(ContainerID="c", Mounts=[ops.Mount(dest="/", resultID="other-0").SerializeToString()])),
        ("ReadFileContainer", gateway_pb2.ReadFileRequest(Ref="a", FilePath="/x", MountIndex=99)),
        ("ReleaseContainer", gateway_pb2.ReleaseContainerRequest(ContainerID="a")),
    )
    assert all(told)


async def containers(bridge: Bridge, *names: str) -> gateway_pb2.Result:
    """Containers on a shell's root, which is the result."""
    found = await bridge.solve(gateway_pb2.SolveRequest(Definition=shell(), Evaluate=True))
    for name in names:
        mount = ops.Mount(dest="/", resultID=found.ref.id, output=-1).SerializeToString()
        request = gateway_pb2.NewContainerRequest(ContainerID=name, Mounts=[mount])
        await bridge._remote.channel.unary(SERVICE + "NewContainer", request.SerializeToString(), bridge._metadata)
    return found


def begun(name: str, script: str, **meta: Any) -> bytes:
    """The message that begins a process whose input comes with the call."""
    told = ops.Meta(**{"args": ["/bin/sh", "-c", script], "cwd": "/"} | meta).SerializeToString()
    init = gateway_pb2.InitMessage(ContainerID=name, Meta=told, Fds=[0, 1])
    return gateway_pb2.ExecMessage(ProcessID="p", Init=init).SerializeToString()


def piece(data: bytes, *, last: bool = False) -> bytes:
    return gateway_pb2.ExecMessage(ProcessID="p", File=gateway_pb2.FdMessage(Data=data, EOF=last)).SerializeToString()


def test_input_that_nobody_reads_waits_at_its_sender(daemon: Daemon) -> None:
    before = resident_set(daemon)

    async def drive(bridge: Bridge) -> gateway_pb2.Result:
        found = await containers(bridge, "a", "b")
        call = bridge._remote.channel.call(SERVICE + "ExecProcess", bridge._metadata)
        await call.send(begun("a", "sleep 100"))

        async def send() -> None:
            for _ in range(100):
                await call.send(piece(bytes(8 << 20)))

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(send(), 3)
        assert resident_set(daemon) - before < 200
        call.cancel()
        # Who reads gets everything, of another call of the same build.
        call = bridge._remote.channel.call(SERVICE + "ExecProcess", bridge._metadata)
        await call.send(begun("b", "wc -c"))
        for _ in range(10):
            await call.send(piece(bytes(4 << 20)))
        await call.send(piece(b"", last=True))
        call.end()
        said = b""
        while (data := await call.receive()) is not None:
            said += gateway_pb2.ExecMessage.FromString(data).File.Data
        assert said.strip() == str(40 << 20).encode()
        return found

    asyncio.run(build(daemon, drive=drive))
    well(daemon)


def mounted(daemon: Daemon) -> int:
    return len(Path(f"/proc/{daemon.process.pid}/mountinfo").read_text().splitlines())


def test_a_container_that_comes_after_the_result_is_not_mounted(daemon: Daemon) -> None:
    class Late(Receiver):
        """Takes the output once containers have been asked for."""

        def __init__(self) -> None:
            self.asked = asyncio.Event()

        async def receive(self, call: Call) -> None:
            call.start()
            await self.asked.wait()
            while await call.receive_all() is not None:
                pass

    before = mounted(daemon)
    said: list[str] = []

    async def go() -> None:
        late = Late()

        async def drive(bridge: Bridge) -> gateway_pb2.Result:
            large = llb.scratch().file(llb.mkfile("/large", os.urandom(20 << 20))).marshal().to_bytes()
            found = await bridge.solve(gateway_pb2.SolveRequest(Definition=large, Evaluate=True))
            result = gateway_pb2.ReturnRequest(result=gateway_pb2.Result(ref=found.ref)).SerializeToString()
            await bridge._remote.channel.unary(SERVICE + "Return", result, bridge._metadata)
            for number in range(200):
                try:
                    await containers(bridge, f"late{number}")
                except DockcError as error:
                    said.append(error.message)
                    break
            late.asked.set()
            return found

        await build(daemon, drive=drive, exports=[Export("tar", {}, late)])

    asyncio.run(go())
    assert said == ["the build has its result already"]
    assert mounted(daemon) == before


def test_a_container_that_is_released_while_it_is_opened(daemon: Daemon) -> None:
    before = mounted(daemon)

    async def drive(bridge: Bridge) -> gateway_pb2.Result:
        found = await containers(bridge)
        mount = ops.Mount(dest="/", resultID=found.ref.id, output=-1).SerializeToString()
        for number in range(20):
            made = gateway_pb2.NewContainerRequest(ContainerID=f"{number}", Mounts=[mount]).SerializeToString()
            gone = gateway_pb2.ReleaseContainerRequest(ContainerID=f"{number}").SerializeToString()
            asked = [("NewContainer", made), ("ReleaseContainer", gone)]
            calls = (bridge._remote.channel.unary(SERVICE + name, data, bridge._metadata) for name, data in asked)
            opened, released = await asyncio.gather(*calls, return_exceptions=True)
            assert released == b""
            assert opened == b"" or "the container was released while it was made" in str(opened)
            opening = asyncio.ensure_future(
                bridge._remote.channel.unary(SERVICE + "NewContainer", made, bridge._metadata)
            )
            await asyncio.sleep(number / 2000)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        return found

    asyncio.run(build(daemon, drive=drive))
    assert mounted(daemon) == before


@pytest.mark.parametrize("more", [{"cwd": "/a\0b"}, {"args": ["/bin/sh\0"]}, {"hostname": "a\0b"}])
def test_a_zero_byte_in_what_a_process_is(daemon: Daemon, more: dict[str, Any]) -> None:
    async def drive(bridge: Bridge) -> gateway_pb2.Result:
        found = await containers(bridge, "a")
        call = bridge._remote.channel.call(SERVICE + "ExecProcess", bridge._metadata)
        await call.send(begun("a", "true", **more))
        call.end()
        said = ""
        while (data := await call.receive()) is not None:
            said += gateway_pb2.ExecMessage.FromString(data).Exit.Error.message
        assert "contains a NUL byte" in said
        return found

    asyncio.run(build(daemon, drive=drive))
    assert "contains a NUL byte" in refused(daemon, execution(meta=more))


def test_graphs_without_end(daemon: Daemon) -> None:
    large = llb.scratch().file(llb.mkfile("/large", bytes(60 << 20))).marshal().to_bytes()
    before = resident_set(daemon)
    told = asked(daemon, *[("Solve", gateway_pb2.SolveRequest(Definition=large))] * 5)
    assert told == ["", "", "", "", f"the graphs of this build are larger than {256 << 20} bytes"]
    for _ in range(600):  # what they took, more than 500 MB, is given back
        if resident_set(daemon) - before < 200:
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"{resident_set(daemon)} MB are left of {before}")


def test_a_download_without_end_can_be_given_up(daemon: Daemon) -> None:
    gone = threading.Event()

    class Endless(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            try:
                while True:
                    self.wfile.write(bytes(1 << 18))
                    time.sleep(0.001)
            except OSError:
                gone.set()

        def log_message(self, *_: object) -> None:
            pass

    def size() -> int:  # files may go while they are counted
        counted = subprocess.run(["du", "-sk", daemon.folder / "root"], capture_output=True, text=True, check=False)
        return int(counted.stdout.split()[0]) << 10

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    before, memory = size(), resident_set(daemon)
    source = graph(ops.Op(source=ops.SourceOp(identifier=f"http://127.0.0.1:{server.server_port}/endless")))

    async def go() -> None:
        building = asyncio.create_task(build(daemon, source))
        while await asyncio.to_thread(size) - before < 64 << 20:
            assert not building.done()
            await asyncio.sleep(0.05)
        assert resident_set(daemon) - memory < 40
        building.cancel()
        await asyncio.gather(building, return_exceptions=True)

    try:
        asyncio.run(go())
        assert gone.wait(60)
        until(lambda: size() - before < 8 << 20)
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    well(daemon)


def test_a_merge_with_itself_again_and_again(daemon: Daemon) -> None:
    parts, below = [FILE], F
    for _ in range(60):
        both = ops.MergeOp(inputs=[ops.MergeInput(input=0), ops.MergeInput(input=1)])
        parts.append(ops.Op(inputs=[ops.Input(digest=below)] * 2, merge=both))
        below = digest(parts[-1].SerializeToString(deterministic=True))
    assert "a merge of 32768 layers" in refused(daemon, graph(*parts))


def test_a_step_that_fills_the_disk_leaves_room(tmp_path: Path) -> None:
    """What a failed step left is kept for its client, who may look into it, and for nobody after that."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk], check=True)
    try:
        daemon = Daemon(disk)
        free = os.statvfs(disk).f_bavail
        try:
            for script in ("cat /dev/zero > /large", "mkdir /a; echo x > /a/b; exit 3"):
                with pytest.raises(DockcError, match="did not complete successfully"):
                    asyncio.run(build(daemon, execution(script=script)))
                assert os.statvfs(disk).f_bavail > free * 0.9
                well(daemon)
            assert not [path for path in (disk / "root" / "store" / "snapshots").iterdir() if path.name.startswith("~")]
        finally:
            assert daemon.stop() == 0
        assert "Traceback" not in daemon.said()
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("offset", [-5, 2**62])
def test_a_client_that_has_more_of_a_blob_than_there_is(daemon: Daemon, offset: int) -> None:
    async def take(call: Call) -> None:
        call.start()
        while await call.receive() is not None:
            await call.send(content_pb2.WriteContentResponse(offset=offset).SerializeToString())

    made = llb.scratch().file(llb.mkfile("/f", os.urandom(100))).marshal().to_bytes()
    assert f"the client has {offset} bytes of sha256:" in refused(daemon, made, exports=[Export("oci", {"tar": "false"})], blobs=take)


class Taken(Receiver):
    """Takes an archive, and keeps nothing."""

    async def receive(self, call: Call) -> None:
        call.start()
        while await call.receive_all() is not None:
            pass


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("source.date.epoch", b"9" * 400, "invalid source.date.epoch: 999"),
        ("source.date.epoch", b"253402300800", "invalid source.date.epoch"),
        ("source.date.epoch", b"-99999999999999", "invalid source.date.epoch"),
        ("source.date.epoch", "٣".encode(), "invalid source.date.epoch"),
        ("refs.platforms", b"[" * 200_000, "nested too deeply"),
        ("refs.platforms", b'{"Platforms":[5]}', "no list of platforms"),
        ("refs.platforms", b"\xff", "no list of platforms"),
        ("containerimage.config", b"[" * 200_000, "nested too deeply"),
    ],
)
def test_results_that_make_no_sense(daemon: Daemon, key: str, value: bytes, words: str) -> None:
    async def drive(bridge: Bridge) -> gateway_pb2.Result:
        found = await bridge.solve(gateway_pb2.SolveRequest(Definition=shell()))
        return gateway_pb2.Result(ref=found.ref, metadata={key: value})

    assert words in refused(daemon, drive=drive, exports=[Export("oci", {}, Taken())])


def test_an_error_that_no_peer_would_take_ends_its_build_and_not_the_connection(daemon: Daemon) -> None:
    async def drive(bridge: Bridge) -> gateway_pb2.Result:
        answer = gateway_pb2.ReturnRequest()
        answer.error.code, answer.error.message = 2, "x" * (40 << 20)
        await bridge._remote.channel.unary(SERVICE + "Return", answer.SerializeToString(), bridge._metadata)
        await asyncio.Event().wait()
        raise AssertionError

    assert refused(daemon, drive=drive).startswith("xxx")


# --- entitlements -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "granted", "words"),
    [
        ({"network": ops.HOST}, (), "network.host is not allowed"),
        ({"network": ops.HOST}, ("network.host",), ""),
        ({"security": ops.INSECURE}, (), "security.insecure is not allowed"),
        ({"security": ops.INSECURE}, ("network.host",), "security.insecure is not allowed"),
        ({}, ("security.insecure",), "granting entitlement security.insecure is not allowed"),
        ({}, ("device",), ""),
        ({}, ("nonsense",), "unknown entitlement nonsense"),
        ({}, ("network.host=x",), "unknown entitlement network.host=x"),
        ({}, ("device=vendor.example/x=all",), ""),
    ],
)
def test_what_a_step_may_be_allowed(daemon: Daemon, wanted: dict[str, Any], granted: tuple[str, ...], words: str) -> None:
    step = execution(**wanted)
    if words:
        assert words in refused(daemon, step, entitlements=granted)
        assert words in refused(daemon, drive=lambda bridge: bridge.solve(gateway_pb2.SolveRequest(Definition=step)), entitlements=granted)
    else:
        asyncio.run(build(daemon, step, entitlements=granted))


@pytest.mark.parametrize(("network", "security", "words"), [(1, 0, "network.host is not allowed"), (0, 1, "security.insecure is not allowed"), (0, 88, "security")])
def test_what_a_process_of_a_frontend_may_be_allowed(daemon: Daemon, network: int, security: int, words: str) -> None:
    said: list[str] = []

    async def drive(bridge: Bridge) -> gateway_pb2.Result:
        await bridge.ping()
        found = await bridge.solve(gateway_pb2.SolveRequest(Definition=shell(), Evaluate=True))
        channel, metadata = bridge._remote.channel, bridge._metadata
        made = gateway_pb2.NewContainerRequest(ContainerID="k", Network=network, Mounts=[ops.Mount(dest="/", resultID=found.ref.id, output=-1).SerializeToString()])
        await channel.unary(SERVICE + "NewContainer", made.SerializeToString(), metadata)
        call = channel.call(SERVICE + "ExecProcess", metadata)
        meta = ops.Meta(args=["/bin/sh", "-c", "true"], cwd="/").SerializeToString()
        init = gateway_pb2.InitMessage(ContainerID="k", Meta=meta, Security=security)
        await call.send(gateway_pb2.ExecMessage(ProcessID="p", Init=init).SerializeToString())
        call.end()
        while (data := await call.receive()) is not None:
            said.append(gateway_pb2.ExecMessage.FromString(data).Exit.Error.message)
        return found

    asyncio.run(build(daemon, drive=drive))
    assert words in "".join(said)
