"""Daemons that answer nonsense, or without end: one line of error or what can be shown of it, and a client that ends when
it is told to.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dockc.base.output import Output
from dockc.client.address import Tls, connect, parse
from dockc.client.builders import Node
from dockc.client.control import Remote
from dockc.client.nodes import ask
from dockc.commands import builder
from dockc.errors import DockcError
from dockc.rpc import transports
from dockc.rpc.calls import Call, Handler
from dockc.rpc.pb import common_pb2, control_pb2, gateway_pb2
from dockc.rpc.transports import Tunnel, Wire

CONTROL, BRIDGE = "/moby.buildkit.v1.Control/", "/moby.buildkit.v1.frontend.LLBBridge/"
Serve = Callable[[Call], Coroutine[Any, Any, None]]
LATE, EARLY = common_pb2.Time(seconds=2**50), common_pb2.Time(seconds=-(2**50), nanos=-1)
ESCAPES = "\x1b[2J"


def answers(*data: bytes) -> Serve:
    async def serve(call: Call) -> None:
        await call.receive()
        call.start()
        for one in data:
            await call.send(one)

    return serve


async def held(call: Call) -> None:
    call.start()
    await asyncio.shield(Tunnel(call).done)


async def endless(call: Call) -> None:
    call.start()
    while True:
        await call.send(
            control_pb2.StatusResponse(logs=[control_pb2.VertexLog(vertex="v", msg=bytes(10_000))]).SerializeToString()
        )


async def silent(call: Call) -> None:
    await asyncio.sleep(3600)


def client(
    folder: Path, served: dict[str, Serve], *words: str, until: str = "", number: int = 0
) -> tuple[int, str, str]:
    """What the command says to a daemon; it gets a signal as soon as the daemon is asked for something."""

    async def go() -> tuple[int, str, str]:
        asked = asyncio.Event()

        def noting(path: str, serve: Serve) -> Handler:
            async def handle(call: Call) -> None:
                if path == until:
                    asked.set()
                await serve(call)

            return handle

        handlers = {path: noting(path, serve) for path, serve in served.items()}
        server = await asyncio.get_running_loop().create_unix_server(lambda: Wire(handlers), str(folder / "s"))
        address = f"unix://{folder}/s"
        command = [sys.executable, "-m", "dockc", *(word.replace("ADDR", address) for word in words)]
        environment = os.environ | {"DOCKC_STORE": str(folder / "store")}  # its history remembers the build
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, text=True
        ) as process:
            try:
                if until:
                    async with asyncio.timeout(60):
                        await asked.wait()
                    process.send_signal(number)
                out, err = await asyncio.to_thread(process.communicate, timeout=60)
            finally:
                process.kill()
        server.close()
        return process.returncode, out, err

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("method", "answer", "words", "status"),
    [
        ("ListWorkers", b"\xff", ("debug", "workers"), 1),
        ("ListWorkers", control_pb2.ListWorkersResponse(record=[common_pb2.WorkerRecord(ID=ESCAPES, Labels={ESCAPES: "\n"})] * 2).SerializeToString(), ("debug", "workers", "-v"), 0),
        ("Info", control_pb2.InfoResponse(buildkitVersion=common_pb2.BuildkitVersion(package=ESCAPES)).SerializeToString(), ("debug", "info"), 0),
        ("ListenBuildHistory", b"\xff", ("debug", "histories"), 1),
        (
            "ListenBuildHistory",
            control_pb2.BuildHistoryEvent(type=77, record=control_pb2.BuildHistoryRecord(Ref=ESCAPES, CreatedAt=LATE, CompletedAt=EARLY)).SerializeToString(),  # type: ignore[arg-type]
            ("debug", "histories"),
            0,
        ),
        (
            "DiskUsage",
            control_pb2.DiskUsageResponse(record=[control_pb2.UsageRecord(ID=ESCAPES, Size=-(2**63), CreatedAt=LATE, Description=ESCAPES)]).SerializeToString(),
            ("du", "-v"),
            0,
        ),
    ],
)  # fmt: skip
def test_answers_that_make_no_sense(
    tmp_path: Path, method: str, answer: bytes, words: tuple[str, ...], status: int
) -> None:
    code, out, err = client(tmp_path, {CONTROL + method: answers(answer)}, "buildctl", "--addr", "ADDR", *words)
    assert code == status, err
    assert "Traceback" not in err
    assert "\x1b" not in out + err
    assert status == 0 or err.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
@pytest.mark.parametrize("progress", [endless, silent])
def test_a_client_ends_when_it_is_told_to(tmp_path: Path, progress: Serve, number: int, status: int, word: str) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    caps = gateway_pb2.PongResponse(
        FrontendAPICaps=[common_pb2.APICap(ID="solve.base", Enabled=True)]
    ).SerializeToString()
    served = {
        CONTROL + "Session": held, CONTROL + "Solve": silent, CONTROL + "Status": progress, BRIDGE + "Ping": answers(caps), BRIDGE + "Solve": silent,
        CONTROL + "ListWorkers": answers(b""), CONTROL + "Info": answers(b""),
    }  # fmt: skip
    words = ("build", ".", "--addr", "ADDR", "--progress=plain", "--frontend=dockerfile.v0")
    code, _, err = client(tmp_path, served, *words, until=CONTROL + "Status", number=number)
    assert (code, "Traceback" in err) == (status, False), err
    assert word in err


# --- what is no daemon ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nobody", "cannot connect to tcp://HERE: Connection refused"),
        ("silent", "cannot connect to tcp://HERE: no answer within"),
        ("web", "it speaks HTTP/1.1"),
        ("tls", "it speaks TLS"),
        ("closes", "connection was closed"),
        ("resets", "connection broke: Connection reset by peer"),
    ],
)
@pytest.mark.parametrize("secured", [False, True])
def test_who_listens_is_no_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: str, secured: bool
) -> None:
    monkeypatch.setattr(transports, "_ANSWER", 0.3)
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        if kind == "web":
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        elif kind == "tls":
            writer.write(b"\x15\x03\x01\x00\x02\x02\x50" + bytes(10))
        elif kind == "silent":
            await over.wait()
        elif kind == "resets":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def go() -> str:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        if kind == "nobody":
            server.close()
            await server.wait_closed()
        node = Node(f"tcp://127.0.0.1:{port}", Tls(server_name="x") if secured else Tls())
        with pytest.raises(DockcError) as caught:
            async with asyncio.timeout(60):
                link = await connect(parse(node.addr), node.tls or None, limit=0.3)
                try:
                    await Remote(link).info()
                finally:
                    await link.close()
        assert "Errno" not in caught.value.message
        assert (await ask(node)).problem  # one node of several: no error, and no wait for ever
        over.set()
        server.close()
        await asyncio.sleep(0.05)
        return caught.value.message.replace(f"127.0.0.1:{port}", "HERE")

    said = asyncio.run(go())
    if not secured or kind == "nobody":
        assert words in said
    elif kind != "closes":  # in the middle of a handshake
        assert "cannot connect to tcp://HERE" in said


def test_what_a_node_says_of_itself_is_shown_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    said = {
        "name": "far",
        "addr": "tcp://far:1",
        "status": ESCAPES,
        "version": ESCAPES,
        "given": [],
        "platforms": [ESCAPES],
        "weight": 1,
    }
    builder._tell({"name": "far", "current": True, "status": ESCAPES, "nodes": [said, {**said, "name": ""}]}, Output())
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert shown.count("Status:") == 3
