"""Calls over real sockets, pipes, TLS and tunnels: both ends are ours."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from dockc.base import tls
from dockc.errors import DockcError
from dockc.rpc import connection as wire
from dockc.rpc.calls import Call, Channel, Handler, unary
from dockc.rpc.pb import common_pb2, session_pb2
from dockc.rpc.status import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    INTERNAL,
    NOT_FOUND,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    UNKNOWN,
    RpcError,
)
from dockc.rpc.transports import (
    CannotConnect,
    Tunnel,
    Wire,
    connect_command,
    connect_tcp,
    connect_unix,
    on_descriptors,
    packed,
    payload,
)
from tests.rpc.pairs import pair
from tests.runtime.registry_servers import free_port

State = dict[str, int]


def handlers(state: State) -> dict[str, Handler]:
    async def echo(call: Call) -> None:
        message = await call.receive()
        await call.send(message or b"")

    async def each(call: Call) -> None:
        while (messages := await call.receive_all()) is not None:
            for message in messages:
                await call.send(message)

    async def early(call: Call) -> None:
        await call.send(b"early")

    async def fail(call: Call) -> None:
        await call.receive()
        raise RpcError("pré-condition\nfailed", code=9, details=[("t/x+json", b"{}")])

    async def slip(call: Call) -> None:
        raise KeyError("secret of the implementation")

    async def ours(call: Call) -> None:
        raise DockcError("no such step")

    async def hang(call: Call) -> None:
        call.start()
        state["running"] = state.get("running", 0) + 1
        try:
            await asyncio.Event().wait()
        finally:
            state["running"] -= 1

    async def sink(call: Call) -> None:
        size = 0
        while (message := await call.receive()) is not None:
            size += len(message)
            await asyncio.sleep(0)
        await call.send(str(size).encode())

    async def told(call: Call) -> None:
        call.start([("answer", "1"), ("answer", "2")])
        await call.send(repr([pair for pair in call.metadata if pair[0].startswith("x-")]).encode())

    async def refuse(call: Call) -> None:
        raise RpcError("too large", code=RESOURCE_EXHAUSTED)

    async def secret(request: session_pb2.GetSecretRequest, call: Call) -> session_pb2.GetSecretResponse:
        if request.ID != "known":
            raise RpcError(f"secret {request.ID}: not found", code=NOT_FOUND)
        return session_pb2.GetSecretResponse(data=b"s3cret")

    async def tunnel(call: Call) -> None:
        call.start()
        inner = Tunnel(call)
        try:
            answer = await inner.channel.unary("/t/Echo", b"from inside" * 300_000)
            state["inside"] = len(answer)
            await inner.done
        finally:
            inner.channel.lost()

    found: dict[str, Handler] = {
        "Echo": echo,
        "Each": each,
        "Early": early,
        "Fail": fail,
        "Slip": slip,
        "Ours": ours,
        "Hang": hang,
        "Sink": sink,
        "Told": told,
    }
    found |= {"Refuse": refuse, "Secret": unary(session_pb2.GetSecretRequest, secret), "Tunnel": tunnel}
    return {f"/t/{name}": handler for name, handler in found.items()}


@asynccontextmanager
async def serving(folder: Path, state: State | None = None) -> AsyncIterator[Channel]:
    """A server on a socket in a folder, and a channel to it."""
    path = str(folder / "s")
    loop = asyncio.get_running_loop()
    made: list[Channel] = []
    server = await loop.create_unix_server(
        lambda: Wire(handlers(state if state is not None else {}), made=made.append), path, backlog=1024
    )
    channel = await connect_unix(path)
    try:
        yield channel
    finally:
        channel.shut()
        server.close()
        for one in made:
            one.shut()
        while any(not task.done() for one in made for task in one.tasks):
            await asyncio.sleep(0)
        await asyncio.sleep(0)


def play(folder: Path, script: Callable[[Channel], Awaitable[None]], state: State | None = None) -> None:
    """Run a script against a server."""

    async def run() -> None:
        async with asyncio.timeout(60), serving(folder, state) as channel:
            await script(channel)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def test_one_message_each_way(tmp_path: Path) -> None:
    async def script(channel: Channel) -> None:
        assert await channel.unary("/t/Echo", b"hi") == b"hi"
        assert await channel.unary("/t/Echo", b"") == b""
        request = session_pb2.GetSecretRequest(ID="known")
        assert (
            session_pb2.GetSecretResponse.FromString(await channel.unary("/t/Secret", request.SerializeToString())).data
            == b"s3cret"
        )
        with pytest.raises(RpcError, match="secret other: not found") as caught:
            await channel.unary("/t/Secret", session_pb2.GetSecretRequest(ID="other").SerializeToString())
        assert caught.value.code == NOT_FOUND
        with pytest.raises(RpcError, match="broken GetSecretRequest"):
            await channel.unary("/t/Secret", b"\x0a\xff")
        assert channel.streams == {}

    play(tmp_path, script)


@pytest.mark.parametrize("size", [16 << 20, 64 << 20])
def test_large_messages(tmp_path: Path, size: int) -> None:
    async def script(channel: Channel) -> None:
        message = random.Random(size).randbytes(1 << 20) * (size >> 20)
        assert await channel.unary("/t/Echo", message) == message
        with pytest.raises(RpcError, match="larger than max") as caught:
            await channel.unary("/t/Echo", bytes((64 << 20) + 1))
        assert caught.value.code == RESOURCE_EXHAUSTED
        assert await channel.unary("/t/Echo", b"alive") == b"alive"

    play(tmp_path, script)


def test_many_messages_both_ways_keep_their_order(tmp_path: Path) -> None:
    async def script(channel: Channel) -> None:
        call = channel.call("/t/Each")
        sizes = [random.Random(n).randrange(3) * 10_000 + n for n in range(2000)]

        async def send() -> None:
            for size in sizes:
                await call.send(bytes(size))
            call.end()

        sending = asyncio.create_task(send())
        got: list[int] = []
        while (messages := await call.receive_all()) is not None:
            got += map(len, messages)
        await sending
        assert got == sizes

    play(tmp_path, script)


def test_messages_of_several_tasks_are_not_interleaved(tmp_path: Path) -> None:
    async def script(channel: Channel) -> None:
        call = channel.call("/t/Each")
        messages = [bytes([n]) * (300_000 if n % 3 else 10) for n in range(60)]
        got: list[bytes] = []

        async def read() -> None:
            while (some := await call.receive_all()) is not None:
                got.extend(some)

        reading = asyncio.create_task(read())
        await asyncio.gather(*(call.send(one) for one in messages))
        call.end()
        await reading
        assert sorted(got) == sorted(messages)

    play(tmp_path, script)


def test_errors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script(channel: Channel) -> None:
        with pytest.raises(RpcError) as caught:
            await channel.unary("/t/None", b"")
        assert (caught.value.code, caught.value.message) == (UNIMPLEMENTED, "unknown method None for service t")
        with pytest.raises(RpcError) as caught:
            await channel.unary("/t/Fail", b"")
        assert (caught.value.code, caught.value.message, caught.value.details) == (
            9,
            "pré-condition\nfailed",
            (("t/x+json", b"{}"),),
        )
        with pytest.raises(RpcError) as caught:
            await channel.unary("/t/Ours", b"")
        assert (caught.value.code, caught.value.message) == (UNKNOWN, "no such step")
        with pytest.raises(RpcError, match="internal error") as caught:
            await channel.unary("/t/Slip", b"")
        assert caught.value.code == INTERNAL
        assert "secret" not in caught.value.message

    play(tmp_path, script)
    assert "secret of the implementation" in caplog.text


def test_metadata_repeats_and_keeps_its_order(tmp_path: Path) -> None:
    async def script(channel: Channel) -> None:
        sent = [("x-a", "1"), ("x-b", "ü"), ("x-a", "2")]
        call = channel.call("/t/Told", sent)
        call.end()
        assert await call.receive() == repr(sent).encode()
        assert call.get_all("answer") == ["1", "2"]
        await call.drained()

    play(tmp_path, script)


@pytest.mark.parametrize("value", ["a\r\nb: c", "\0", "\x1b[2J", "\x7f"])
def test_what_cannot_be_a_header_fails_its_call_and_no_other(tmp_path: Path, value: str) -> None:
    async def script(channel: Channel) -> None:
        with pytest.raises(RpcError, match="x-a has control characters"):
            channel.call("/t/Told", [("x-a", value)])
        call = channel.call("/t/Told", [("x-a", " ü ")])
        call.end()
        assert await call.receive() == repr([("x-a", " ü ")]).encode()

    play(tmp_path, script)


def test_an_answer_before_the_client_has_ended(tmp_path: Path) -> None:
    async def script(channel: Channel) -> None:
        call = channel.call("/t/Early")
        assert await call.receive() == b"early"
        assert await call.receive() is None
        with pytest.raises(RpcError):
            await call.send(b"late")
        call.end()
        call.end()
        assert channel.streams == {}

    play(tmp_path, script)


def test_who_sends_too_late_is_told_the_peers_reason(tmp_path: Path) -> None:
    async def script(channel: Channel) -> None:
        call = channel.call("/t/Refuse")
        with pytest.raises(RpcError, match="too large") as caught:
            for _ in range(1000):
                await call.send(bytes(1 << 20))
        assert caught.value.code == RESOURCE_EXHAUSTED

    play(tmp_path, script)


def test_cancel_ends_the_handler(tmp_path: Path) -> None:
    state: State = {}

    async def script(channel: Channel) -> None:
        calls = [channel.call("/t/Hang") for _ in range(20)]
        await until(lambda: state.get("running") == 20)
        for call in calls:
            call.cancel()
        await until(lambda: state["running"] == 0)
        with pytest.raises(RpcError) as caught:
            await calls[0].receive()
        assert caught.value.code == CANCELLED
        assert await channel.unary("/t/Echo", b"alive") == b"alive"

    play(tmp_path, script, state)


def test_a_task_that_is_cancelled_cancels_its_call(tmp_path: Path) -> None:
    state: State = {}

    async def script(channel: Channel) -> None:
        task = asyncio.create_task(channel.unary("/t/Hang", b""))
        await until(lambda: state.get("running") == 1)
        task.cancel()
        await until(lambda: state["running"] == 0)
        with pytest.raises(asyncio.CancelledError):
            await task

    play(tmp_path, script, state)


def test_deadlines_hold_at_both_ends(tmp_path: Path) -> None:
    state: State = {}

    async def script(channel: Channel) -> None:
        with pytest.raises(RpcError) as caught:
            await channel.unary("/t/Hang", b"", limit=0.05)
        assert caught.value.code == DEADLINE_EXCEEDED
        call = channel.call("/t/Hang", [("grpc-timeout", "50m")])
        call.end()
        with pytest.raises(RpcError) as caught:
            await call.receive()
        assert caught.value.code == DEADLINE_EXCEEDED
        await until(lambda: state["running"] == 0)

    play(tmp_path, script, state)


def test_a_handler_that_cleans_up_is_not_disturbed_by_its_deadline(tmp_path: Path) -> None:
    """The client has gone, so the handler was cancelled: what it does then it does to its end."""
    state: State = {}
    begun, over = asyncio.Event(), asyncio.Event()

    async def clean(call: Call) -> None:
        call.start()
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            try:
                await asyncio.sleep(0.2)  # beyond the deadline
                state["cleaned"] = 1
            finally:
                over.set()

    async def run() -> None:
        async with pair({"/t/Clean": clean}) as (client, _):
            call = client.call("/t/Clean", [("grpc-timeout", "100m")])
            await begun.wait()
            call.cancel()
            await over.wait()

    asyncio.run(run())
    assert state == {"cleaned": 1}


def test_a_message_that_is_broken_off_ends_its_call() -> None:
    """Nothing that follows is taken for the rest of it."""
    got: list[bytes] = []

    async def break_off(call: Call) -> None:
        sending = asyncio.ensure_future(call.send(bytes(20 << 20)))
        await asyncio.sleep(0)  # it has sent what the peer takes at once, and waits
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        with pytest.raises(RpcError, match="middle of a message"):
            await call.send(b"more")

    async def take(call: Call) -> None:
        call.start()
        with suppress(RpcError):
            while (message := await call.receive()) is not None:
                got.append(message)

    async def run() -> None:
        async with pair({"/t/BreakOff": break_off, "/t/Take": take}) as (client, server):
            with pytest.raises(RpcError) as caught:
                await client.call("/t/BreakOff").receive()
            assert caught.value.code == CANCELLED
            await break_off(client.call("/t/Take"))
            await until(lambda: not server.tasks)
            assert got == []

    asyncio.run(run())


def test_a_place_that_is_not_taken_goes_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was given the place of a call that has ended, and is cancelled at that moment, passes it on."""
    monkeypatch.setattr(wire, "MAX_STREAMS", 1)

    async def run() -> None:
        async with pair(handlers({})) as (client, _):
            await client.unary("/t/Echo", b"settings have come")
            holding = client.call("/t/Hang")
            with pytest.raises(RpcError, match="no more calls") as caught:
                client.call("/t/Hang")
            assert caught.value.code == UNAVAILABLE
            first, second = (asyncio.ensure_future(client.unary("/t/Echo", text)) for text in (b"1", b"2"))
            await asyncio.sleep(0)
            with pytest.raises(RpcError, match="deadline exceeded"):
                await client.unary("/t/Echo", b"", limit=0.01)
            holding.cancel()
            first.cancel()
            assert await second == b"2"
            with pytest.raises(asyncio.CancelledError):
                await first

    asyncio.run(run())


def test_who_asks_and_never_reads_the_answers_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it asks for costs it nothing, and every answer would be kept for it."""
    monkeypatch.setattr("dockc.rpc.calls._UNREAD", 200_000)
    monkeypatch.setattr("dockc.rpc.transports._LINGER", 0.05)
    monkeypatch.setattr("dockc.rpc.transports._HIGH", 1 << 16)
    asking = H2Connection(H2Configuration(client_side=True))
    asking.initiate_connection()
    headers = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), ("content-type", "application/grpc")]

    async def run() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        here.setblocking(False)
        there.setblocking(False)
        transport, server = await loop.create_connection(lambda: Wire({}), sock=there)
        number = 1
        with suppress(ConnectionError):
            while not server.channel.closed:
                asking.send_headers(number, [(":path", f"/t/{number:x>300}"), *headers], end_stream=True)
                asking.streams.clear()
                await loop.sock_sendall(here, asking.data_to_send())
                number += 2
                assert number < 20_000
        assert "reads no answers" in (await asyncio.shield(server.channel.ended)).message
        size = transport.get_write_buffer_size()
        assert size < 4 << 20
        await until(lambda: not transport.get_write_buffer_size())
        here.close()

    asyncio.run(run())


def test_loss_of_the_connection_ends_handlers_and_calls(tmp_path: Path) -> None:
    state: State = {}

    async def script(channel: Channel) -> None:
        other = await connect_unix(str(tmp_path / "s"))
        calls = [other.call("/t/Hang") for _ in range(10)]
        await until(lambda: state.get("running") == 10)
        other.lost()
        await until(lambda: state["running"] == 0)
        with pytest.raises(RpcError) as caught:
            await calls[0].receive()
        assert caught.value.code == UNAVAILABLE
        assert await channel.unary("/t/Echo", b"alive") == b"alive"

    play(tmp_path, script, state)


def test_a_slow_reader_bounds_what_is_kept(tmp_path: Path) -> None:
    seen: list[int] = []

    async def script(channel: Channel) -> None:
        call = channel.call("/t/Sink")
        for _ in range(100):
            await call.send(bytes(1 << 20))
            seen.append(channel.queued)
        call.end()
        assert await call.receive() == str(100 << 20).encode()
        await call.drained()

    play(tmp_path, script)
    assert max(seen) <= 3 << 20


def test_more_calls_than_the_peer_allows_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_STREAMS", 10)

    async def script(channel: Channel) -> None:
        await channel.unary("/t/Echo", b"settings have come")
        answers = await asyncio.gather(*(channel.unary("/t/Echo", str(n).encode()) for n in range(200)))
        assert answers == [str(n).encode() for n in range(200)]

    play(tmp_path, script)


def test_draining_waits_for_what_runs(tmp_path: Path) -> None:
    async def run() -> None:
        made: list[Channel] = []
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: Wire(handlers({}), made=made.append), str(tmp_path / "s"))
        channel = await connect_unix(str(tmp_path / "s"))
        call = channel.call("/t/Sink")
        await call.send(b"12345")
        await until(lambda: bool(made and made[0].tasks))
        draining = asyncio.create_task(made[0].drained(10))
        await until(lambda: channel.draining)
        with pytest.raises(RpcError, match="closes the connection"):
            channel.call("/t/Echo")
        call.end()
        assert await call.receive() == b"5"
        await call.drained()
        await draining
        await until(lambda: channel.closed)
        server.close()

    asyncio.run(run())


def test_a_tunnel_carries_calls_the_other_way_round(tmp_path: Path) -> None:
    state: State = {}

    async def script(channel: Channel) -> None:
        outer = channel.call("/t/Tunnel")
        inner = Tunnel(outer, handlers({}))
        await until(lambda: state.get("inside") == 11 * 300_000)
        outer.end()
        await inner.done
        assert inner.channel.closed

    play(tmp_path, script, state)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 300_000])
def test_bytes_messages(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert packed(data) == (common_pb2.BytesMessage(data=data).SerializeToString() or b"\n\0")
    assert payload(packed(data)) == data
    assert payload(common_pb2.BytesMessage(data=data).SerializeToString()) == data
    assert payload(packed(b"other") + packed(data)) == data  # a field that is there twice: the last counts


def test_bytes_that_are_no_bytes_message() -> None:
    for data in (b"\n", b"\n\x05abc", b"\n" + b"\xff" * 11, b"\xff"):
        with pytest.raises(RpcError, match="broken BytesMessage"):
            payload(data)


def test_a_helper_command_carries_a_channel(tmp_path: Path) -> None:
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import socket, sys, threading, os\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "def up():\n"
        "    while b := os.read(0, 65536): s.sendall(b)\n"
        "    s.shutdown(socket.SHUT_WR)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while b := s.recv(65536): os.write(1, b)\n"
    )

    async def script(_: Channel) -> None:
        channel, process = await connect_command([sys.executable, str(relay), str(tmp_path / "s")])
        assert await channel.unary("/t/Echo", b"x" * 200_000) == b"x" * 200_000
        channel.shut()
        await process.wait()

    play(tmp_path, script)


def test_a_helper_command_that_ends_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        channel, process = await connect_command(["false"])
        with pytest.raises(RpcError) as caught:
            await channel.unary("/t/Echo", b"")
        assert caught.value.code == UNAVAILABLE
        assert await process.wait() == 1
        with pytest.raises(CannotConnect, match="cannot run no-such-command"):
            await connect_command(["no-such-command"])

    asyncio.run(run())


def test_the_standard_streams_carry_a_channel() -> None:
    async def run() -> None:
        there, back = os.pipe(), os.pipe()
        server = await on_descriptors(there[0], back[1], handlers({}))
        client = await on_descriptors(back[0], there[1])
        assert await client.unary("/t/Echo", b"x" * 3_000_000) == b"x" * 3_000_000
        client.shut()
        await until(lambda: server.closed)
        await asyncio.sleep(0.01)

    asyncio.run(run())


def test_nobody_there(tmp_path: Path) -> None:
    async def run() -> None:
        with pytest.raises(CannotConnect, match="No such file"):
            await connect_unix(str(tmp_path / "none"))
        (tmp_path / "old").touch()
        with pytest.raises(CannotConnect, match="refused"):
            await connect_unix(str(tmp_path / "old"))
        port = free_port()
        with pytest.raises(CannotConnect, match=r"cannot connect to tcp://127\.0\.0\.1"):
            await connect_tcp("127.0.0.1", port)

    asyncio.run(run())


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, a server's and a client's certificate, and those of a stranger."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    for ca in ("ca", "other"):
        openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            f"{ca}.key",
            "-out",
            f"{ca}.pem",
            "-subj",
            f"/CN={ca}",
            "-days",
            "2",
        )
    for name, ca in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        (folder / f"{name}.ext").write_text("subjectAltName=DNS:builder.example,IP:127.0.0.1\n")
        openssl(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        openssl(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            f"{ca}.pem",
            "-CAkey",
            f"{ca}.key",
            "-CAcreateserial",
            "-out",
            f"{name}.pem",
            "-days",
            "2",
            "-extfile",
            f"{name}.ext",
        )
    return folder


def test_tls_with_client_certificates(certificates: Path) -> None:
    async def run() -> None:
        theirs = tls.context(ssl.Purpose.CLIENT_AUTH, ca=str(certificates / "ca.pem"))
        theirs.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        theirs.verify_mode = ssl.CERT_REQUIRED
        theirs.set_alpn_protocols(["h2"])
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Wire(handlers({})), "127.0.0.1", 0, ssl=theirs)
        port = server.sockets[0].getsockname()[1]

        def context(name: str, ca: str = "ca") -> ssl.SSLContext:
            made = tls.context(ca=str(certificates / f"{ca}.pem"))
            if name:
                made.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
            made.set_alpn_protocols(["h2"])
            return made

        channel = await connect_tcp("127.0.0.1", port, tls=context("client"), server_name="builder.example")
        assert await channel.unary("/t/Echo", b"x" * 300_000) == b"x" * 300_000
        channel.shut()
        await channel.ended
        trusted = await connect_tcp("127.0.0.1", port, tls=context("client", "server"))  # by itself, as Go has it
        assert await trusted.unary("/t/Echo", b"y") == b"y"
        trusted.shut()
        await trusted.ended
        with pytest.raises(CannotConnect, match="certificate"):
            await connect_tcp("127.0.0.1", port, tls=context("client", "other"))
        with pytest.raises(CannotConnect, match=r"mismatch|not valid"):
            await connect_tcp("127.0.0.1", port, tls=context("client"), server_name="another.example")
        for name in ("stranger", ""):
            # In TLS 1.3 the client learns only later that its certificate is not wanted.
            with pytest.raises((CannotConnect, RpcError)):
                late = await connect_tcp("127.0.0.1", port, tls=context(name))
                await late.unary("/t/Echo", b"hi")
        server.close()
        await asyncio.sleep(0.05)

    asyncio.run(run())


def test_only_grpc_is_spoken(tmp_path: Path) -> None:
    async def script(channel: Channel) -> None:
        stream = channel.open([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")], Call)  # type: ignore[arg-type]
        assert isinstance(stream, Call)
        stream.end()
        with pytest.raises(RpcError, match="only gRPC"):
            await stream.receive()
        call = channel.call("/t/Echo", [("grpc-encoding", "gzip")])
        with pytest.raises(RpcError, match="gzip") as caught:
            await call.receive()
        assert caught.value.code == UNIMPLEMENTED

    play(tmp_path, script)


def test_a_client_that_says_nothing(tmp_path: Path) -> None:
    async def script(channel: Channel) -> None:
        call = channel.call("/t/Secret")
        call.end()
        with pytest.raises(RpcError, match="no message"):
            await call.receive()

    play(tmp_path, script)
