"""Clients that live and say nothing more: whoever waits for one of them is let go when the build is given up, and nobody else
waits along.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dockc import llb
from dockc.base.sockets import Address
from dockc.client.address import connect, parse
from dockc.client.control import Remote
from dockc.client.session import Session
from dockc.daemon.lending import _Agents
from dockc.daemon.sessions import Sessions
from dockc.llb.pb import ops_pb2 as ops
from dockc.protocol.names import AUTH, CONTENT, CONTROL, FILE_SEND, FILE_SYNC, SECRETS, SSH_CHECK, SSH_FORWARD, UPLOAD
from dockc.rpc.calls import Call, unary
from dockc.rpc.pb import common_pb2, control_pb2, session_pb2
from dockc.rpc.status import UNKNOWN, RpcError
from dockc.rpc.transports import Wire, connect_unix, packed
from tests.daemon.test_daemon import Daemon, until
from tests.daemon.test_hostile_peers import build, execution, well
from tests.runtime.registry_servers import Answer, Script, Seen
from tests.tools import need_root

LARGE = llb.scratch().file(llb.mkfile("/large", bytes(24 << 20)))
Exporter = control_pb2.Exporter
DIGEST = "sha256:" + "1" * 64


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    need_root()
    made = Daemon(tmp_path_factory.mktemp("d"), "--grace=1")
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.said(), made.said()


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """One that wants a token, and sends whoever wants one to itself."""

    def answer(_: Seen) -> Answer:
        return Answer(401, headers={"WWW-Authenticate": f'Bearer realm="http://{script.address}/token",service="s"'})

    with Script(answer) as script:
        yield script.address


def mounting(**mount: Any) -> bytes:
    return execution(ops.Mount(dest="/", input=0, output=0), ops.Mount(dest="/m", input=-1, output=-1, **mount))


def of(state: llb.State) -> bytes:
    return state.marshal().to_bytes()


Ask = Callable[[str], control_pb2.SolveRequest]
Solve = control_pb2.SolveRequest
#: What a client says nothing to, and a build that asks for it.
SILENT: dict[str, tuple[str, Ask]] = {
    "a secret": (SECRETS, lambda _: Solve(Definition=mounting(mountType=ops.SECRET, secretOpt=ops.SecretOpt(ID="x")))),
    "an agent": (SSH_CHECK, lambda _: Solve(Definition=mounting(mountType=ops.SSH, SSHOpt=ops.SSHOpt(ID="x")))),
    "a directory": (FILE_SYNC, lambda _: Solve(Definition=of(llb.local("context")))),
    "a Dockerfile": (FILE_SYNC, lambda _: Solve(Frontend="dockerfile.v0")),
    "an upload": (UPLOAD, lambda _: Solve(Definition=of(llb.http("http://buildkit-session/x")))),
    "a layout": (CONTENT + "Info", lambda _: Solve(Definition=of(llb.oci_layout(f"a/b@{DIGEST}", store="s")))),
    "a cache": (CONTENT + "Info", lambda _: Solve(Frontend="dockerfile.v0", Cache=cache("Imports", src="x", digest=DIGEST))),
    "a place for a cache": (CONTENT + "Write", lambda _: Solve(Definition=execution(), Cache=cache("Exports", dest="x", mode="max"))),
    "whose tokens": (AUTH + "GetTokenAuthority", lambda registry: Solve(Definition=of(llb.image(f"{registry}/a/b")))),
    "a token": (AUTH + "FetchToken", lambda registry: Solve(Definition=of(llb.image(f"{registry}/a/b")))),
    "credentials": (AUTH + "Credentials", lambda registry: Solve(Definition=of(llb.image(f"{registry}/a/b")))),
    "an archive": (FILE_SEND, lambda _: Solve(Definition=of(LARGE), Exporters=[Exporter(Type="tar")])),
    "an image": (FILE_SEND, lambda _: Solve(Definition=of(LARGE), Exporters=[Exporter(Type="oci")])),
    "a tree": (FILE_SEND, lambda _: Solve(Definition=of(LARGE), Exporters=[Exporter(Type="local")])),
    "blobs": (CONTENT + "Write", lambda _: Solve(Definition=of(LARGE), Exporters=[Exporter(Type="oci", Attrs={"tar": "false"})])),
    "outputs": ("/moby.exporter.v1.Exporter/FindExporters", lambda _: Solve(Definition=of(LARGE), EnableSessionExporter=True)),
}  # fmt: skip


def cache(which: str, **attrs: str) -> control_pb2.CacheOptions:
    return control_pb2.CacheOptions(**{which: [common_pb2.CacheOptionsEntry(Type="local", Attrs=attrs)]})  # type: ignore[arg-type]


def serving(method: str, asked: asyncio.Event) -> Session:
    """A client that says nothing to one method; with `started`, it takes the call and then does nothing."""

    async def silent(call: Call) -> None:
        asked.set()
        if method in (FILE_SEND, FILE_SYNC):
            call.start()
        await asyncio.sleep(3600)

    async def key(request: session_pb2.GetTokenAuthorityRequest, _: Call) -> session_pb2.GetTokenAuthorityResponse:
        return session_pb2.GetTokenAuthorityResponse(PublicKey=bytes(32))

    async def proof(
        request: session_pb2.VerifyTokenAuthorityRequest, _: Call
    ) -> session_pb2.VerifyTokenAuthorityResponse:
        return session_pb2.VerifyTokenAuthorityResponse(Signed=b"")

    session = Session()
    if method == AUTH + "FetchToken":
        session.handlers[AUTH + "GetTokenAuthority"] = unary(session_pb2.GetTokenAuthorityRequest, key)
        session.handlers[AUTH + "VerifyTokenAuthority"] = unary(session_pb2.VerifyTokenAuthorityRequest, proof)
    for other in {SSH_CHECK: "ForwardAgent", CONTENT + "Info": "Read"}.get(method, "").split():
        session.handlers[method.rpartition("/")[0] + "/" + other] = silent
    session.handlers[method] = silent
    return session


async def ended(daemon: Daemon) -> None:
    """All builds have ended."""
    await asyncio.to_thread(until, lambda: not list((daemon.folder / "root" / "running").iterdir()))


@pytest.mark.parametrize("name", SILENT)
def test_a_build_that_is_given_up_waits_for_nobody(daemon: Daemon, registry: str, name: str) -> None:
    """The client goes on living: it takes back its wish to build and nothing else."""
    method, request = SILENT[name]
    wish = request(registry)

    async def go() -> None:
        link = await connect(parse(daemon.address))
        asked = asyncio.Event()
        session = serving(method, asked)
        served = session.open(link.channel)
        wish.Ref, wish.Session = session.id, session.id
        building = asyncio.create_task(Remote(link).unary(CONTROL + "Solve", wish, control_pb2.SolveResponse))
        await asyncio.wait(
            {building, waiting := asyncio.create_task(asked.wait())}, timeout=60, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        assert asked.is_set(), building
        assert not building.done()
        building.cancel()
        try:
            await ended(daemon)
        finally:
            await served.close()
            await link.close()

    asyncio.run(go())
    well(daemon)


def test_as_many_clients_as_may_come_keep_nobody_waiting(daemon: Daemon) -> None:
    """More of them than there are threads and steps at once, of all kinds."""

    names = ("an archive", "a secret", "a Dockerfile", "a directory", "blobs") * 20
    wishes = [(SILENT[name][0], SILENT[name][1]("")) for name in names]

    async def go() -> None:
        link = await connect(parse(daemon.address))
        building = []
        all_served = []
        for method, wish in wishes:
            asked = asyncio.Event()
            session = serving(method, asked)
            all_served.append(session.open(link.channel))
            wish.Ref, wish.Session = session.id, session.id
            building.append(asyncio.create_task(Remote(link).unary(CONTROL + "Solve", wish, control_pb2.SolveResponse)))
        try:
            await asyncio.sleep(3)
            assert not any(one.done() for one in building)
            for _ in range(3):
                await asyncio.to_thread(well, daemon)
                script = f"true # {os.urandom(4).hex()}"
                await build(daemon, execution(ops.Mount(dest="/", input=0, output=0), script=script))
        finally:
            for task in building:
                task.cancel()
            await asyncio.gather(*building, return_exceptions=True)
            await ended(daemon)
            for served in all_served:
                await served.close()
            await link.close()

    asyncio.run(go())


def test_a_step_of_two_builds_is_lent_what_the_other_has_once_the_first_is_given_up(daemon: Daemon) -> None:
    mount = ops.Mount(dest="/s", input=-1, output=-1, mountType=ops.SECRET, secretOpt=ops.SecretOpt(ID="x"))
    step = execution(ops.Mount(dest="/", input=0, output=0), mount, script=f"true # {os.urandom(4).hex()}")

    async def get(request: session_pb2.GetSecretRequest, _: Call) -> session_pb2.GetSecretResponse:
        return session_pb2.GetSecretResponse(data=b"s")

    async def go() -> None:
        link = await connect(parse(daemon.address))
        asked = asyncio.Event()
        session = serving(SECRETS, asked)
        served = session.open(link.channel)
        wish = Solve(Definition=step, Ref=session.id, Session=session.id)
        first = asyncio.create_task(Remote(link).unary(CONTROL + "Solve", wish, control_pb2.SolveResponse))
        await asked.wait()
        second = asyncio.create_task(build(daemon, step, secrets=unary(session_pb2.GetSecretRequest, get)))
        while len(list((daemon.folder / "root" / "running").iterdir())) < 2:
            await asyncio.sleep(0.05)
        first.cancel()
        await second
        await served.close()
        await link.close()

    asyncio.run(go())


@pytest.mark.parametrize("ending", ["well", "badly", "with its session"])
def test_a_step_sees_that_the_agent_has_gone(tmp_path: Path, ending: str) -> None:
    async def go() -> None:
        sessions = Sessions(tmp_path / "contexts")
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: Wire({CONTROL + "Session": sessions.serve}), str(tmp_path / "s")
        )
        session = Session()

        async def check(request: session_pb2.CheckAgentRequest, _: Call) -> session_pb2.CheckAgentResponse:
            return session_pb2.CheckAgentResponse()

        async def forward(call: Call) -> None:
            await call.send(packed(b"first"))
            if ending == "badly":
                raise RpcError("no more", code=UNKNOWN)
            if ending == "with its session":
                await asyncio.sleep(3600)

        session.handlers |= {
            SSH_CHECK: unary(session_pb2.CheckAgentRequest, check), SSH_FORWARD: forward
        }  # fmt: skip
        channel = await connect_unix(str(tmp_path / "s"))
        served = session.open(channel)
        caller = await sessions.find(session.id)
        folder = tmp_path / ("long" * 30)  # longer than a socket's address
        folder.mkdir()
        agents = _Agents(caller, folder)
        source = await asyncio.to_thread(agents.find, "x")
        assert source is not None
        assert source.socket is not None
        with Address(source.socket) as place:
            reader, writer = await asyncio.open_unix_connection(place)
        assert await reader.readexactly(5) == b"first"
        if ending == "with its session":
            await served.close()
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()
        agents.close()
        await served.close()
        channel.shut()
        await channel.ended
        server.close()

    asyncio.run(go())


def test_the_word_to_end_comes_while_a_client_says_nothing(tmp_path: Path) -> None:
    need_root()
    wishes = [(SILENT[name][0], SILENT[name][1]("")) for name in ("an archive", "a secret", "a Dockerfile")]
    daemon = Daemon(tmp_path, "--grace=1")

    async def go() -> None:
        link = await connect(parse(daemon.address))
        asked, building = [asyncio.Event() for _ in range(3)], []
        for (method, wish), event in zip(wishes, asked, strict=True):
            session = serving(method, event)
            session.open(link.channel)
            wish.Ref, wish.Session = session.id, session.id
            building.append(
                asyncio.ensure_future(Remote(link).unary(CONTROL + "Solve", wish, control_pb2.SolveResponse))
            )
        for event in asked:
            await event.wait()
        assert await asyncio.to_thread(daemon.stop) == 0
        await link.close()

    asyncio.run(go())
    assert not list((tmp_path / "root" / "running").iterdir())
