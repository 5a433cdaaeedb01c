"""How a thread of the engine asks a client, and what is left when nobody wants the answer any more."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from dockc.base.threads import working_for
from dockc.daemon import gateway, lending
from dockc.daemon.builds import Builds
from dockc.daemon.mirrors import Mirrors
from dockc.daemon.sessions import Caller, SessionGone, Sessions
from dockc.engine.gateway import Gateway
from dockc.protocol.names import BRIDGE, BUILD_ID, SESSION_ID, SSH_CHECK, SSH_FORWARD
from dockc.rpc.calls import Call, Handler, unary
from dockc.rpc.pb import control_pb2, gateway_pb2, session_pb2
from dockc.rpc.status import NOT_FOUND, RpcError
from dockc.rpc.transports import packed
from dockc.runtime.cancel import Cancelled
from tests.rpc.pairs import pair


def asking(handlers: dict[str, Handler], script: Callable[[Caller], Awaitable[None]]) -> None:
    """Run a script beside a client that serves so much."""

    async def run() -> None:
        # The client of a session serves: it is the server here.
        async with pair(handlers) as (channel, _):
            await script(Caller("name", "", [*handlers], channel))

    asyncio.run(run())


def test_work_that_is_given_up_has_ended_when_its_thread_goes_on() -> None:
    """What it works with is the thread's, which closes it."""
    begun, cancelled = threading.Event(), threading.Event()
    log: list[str] = []

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            log.append("ended")

    async def script(caller: Caller) -> None:
        def thread() -> None:
            with pytest.raises(Cancelled):
                caller.wait(work(), cancelled)
            log.append("thread")

        asking = asyncio.ensure_future(asyncio.to_thread(thread))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        cancelled.set()
        await asking
        assert log == ["ended", "thread"]

    asking({}, script)


def test_what_work_ends_with_reaches_its_thread() -> None:
    async def give(value: object) -> object:
        await asyncio.sleep(0)
        if isinstance(value, BaseException):
            raise value
        return value

    async def script(caller: Caller) -> None:
        assert await asyncio.to_thread(caller.wait, give(17)) == 17
        for error in (TimeoutError("of its own"), KeyError("x"), RpcError("no", code=NOT_FOUND)):
            with pytest.raises(type(error) if not isinstance(error, RpcError) else Exception) as caught:
                await asyncio.to_thread(caller.wait, give(error))
            assert str(caught.value) == str(error)
        with pytest.raises(SessionGone):
            await asyncio.to_thread(caller.wait, give(asyncio.CancelledError()))

    asking({}, script)


def test_a_thread_that_was_given_up_does_not_wait() -> None:
    wanted = threading.Event()
    wanted.set()

    async def script(caller: Caller) -> None:
        def thread() -> None:
            never: Coroutine[Any, Any, None] = asyncio.Event().wait()  # type: ignore[assignment]
            with working_for(wanted), pytest.raises(Cancelled):
                caller.wait(never)

        await asyncio.to_thread(thread)

    asking({}, script)


def test_a_session_whose_client_speaks_nonsense_ends(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)

    async def run() -> None:
        async with pair({"/Session": sessions.serve}) as (client, _):
            call = client.call("/Session", [(SESSION_ID, "one")])
            await sessions.find("one")
            await call.send(packed(b"no HTTP/2 at all" * 10))
            await call.drained()
            assert len(sessions) == 0

    asyncio.run(run())


def test_who_asks_for_a_build_and_leaves_does_not_take_its_gateway_along() -> None:
    async def run() -> None:
        builds = Builds()
        build = builds.begin(control_pb2.SolveRequest(Ref="one"))
        async with pair(gateway.handlers(builds)) as (client, server):
            ping, name = BRIDGE + "Ping", [(BUILD_ID, "one")]
            first = asyncio.ensure_future(client.unary(ping, b"", name))
            while not server.tasks:
                await asyncio.sleep(0.001)
            first.cancel()
            while server.tasks:
                await asyncio.sleep(0.001)
            second = asyncio.ensure_future(client.unary(ping, b"", name))
            while not server.tasks:
                await asyncio.sleep(0.001)
            build.gateway.set_result(Gateway(None, ()))  # type: ignore[arg-type]
            assert gateway_pb2.PongResponse.FromString(await second).FrontendAPICaps

    asyncio.run(run())


def test_a_copy_that_is_read_goes_with_its_reader(tmp_path: Path) -> None:
    """The end of its session waits for nobody: all threads could wait so for builds that need one to end."""
    mirrors = Mirrors(tmp_path)
    with mirrors.locked("context", "session") as copy:
        (copy / "f").touch()
        mirrors.drop("session")
        assert (copy / "f").exists()
    assert list(tmp_path.iterdir()) == []


# --- agents ---------------------------------------------------------------------------------------------


def _agent(asked: asyncio.Event | None = None, let: asyncio.Event | None = None) -> dict[str, Handler]:
    async def check(_: session_pb2.CheckAgentRequest, call: Call) -> session_pb2.CheckAgentResponse:
        if asked is not None and let is not None:
            asked.set()
            await let.wait()
        return session_pb2.CheckAgentResponse()

    async def forward(call: Call) -> None:
        call.start()
        while (message := await call.receive()) is not None:
            await call.send(message)

    return {
        SSH_CHECK: unary(session_pb2.CheckAgentRequest, check),
        SSH_FORWARD: forward,
    }


def _ask(path: Path, said: bytes = b"hello") -> bytes:
    """What comes back from an agent, at once."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(str(path))
        link.sendall(said)
        return link.recv(100)


def test_an_agent_is_reached_as_long_as_its_client_is_there(tmp_path: Path) -> None:
    async def script(caller: Caller) -> None:
        agents = lending._Agents(caller, tmp_path)
        source = await asyncio.to_thread(agents.find, "default")
        assert source is not None
        assert source.socket is not None
        assert await asyncio.to_thread(_ask, source.socket) == b"hello"
        caller.channel.shut()
        assert await asyncio.to_thread(_ask, source.socket, b"") == b""
        agents.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(_ask, source.socket)

    asking(_agent(), script)


def test_an_agent_that_is_found_when_the_build_is_over_is_closed(tmp_path: Path) -> None:
    async def run() -> None:
        asked, let = asyncio.Event(), asyncio.Event()
        handlers = _agent(asked, let)
        async with pair(handlers) as (channel, _):
            agents = lending._Agents(Caller("name", "", [*handlers], channel), tmp_path)
            finding = asyncio.ensure_future(asyncio.to_thread(agents.find, "default"))
            await asked.wait()
            agents.close()
            let.set()
            source = await finding
            assert source is not None
            assert source.socket is not None
            with pytest.raises(ConnectionRefusedError):
                await asyncio.to_thread(_ask, source.socket)

    asyncio.run(run())
