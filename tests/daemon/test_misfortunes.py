"""What can befall a daemon: clients that take another's name, vanish while they are sent something or never speak, its
socket taken away, and the word to end in the middle of an export.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.client.address import connect, parse
from dockc.client.control import Remote
from dockc.rpc import transports
from dockc.rpc.calls import Channel
from dockc.rpc.status import INVALID_ARGUMENT, RpcError
from tests.daemon.test_daemon import Daemon, answers, dockc, until
from tests.tools import shell_context

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
SESSION = "/moby.buildkit.v1.Control/Session"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    if made.process.poll() is None:
        assert made.stop() == 0
    assert "Traceback" not in made.said()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = shell_context(tmp_path / "context")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (folder / "large").write_bytes(bytes(64 << 20))
    return folder


def running(daemon: Daemon) -> list[Path]:
    return list((daemon.folder / "root" / "running").iterdir())


def test_a_session_has_its_name_alone(daemon: Daemon) -> None:
    async def go() -> None:
        links = [await connect(parse(daemon.address)) for _ in range(2)]
        metadata = [("x-docker-expose-session-uuid", "one")]
        first = links[0].channel.call(SESSION, metadata)
        while first.headers is None:
            await asyncio.sleep(0.001)
        for link in links:  # another client, and the same one
            again = link.channel.call(SESSION, metadata)
            with pytest.raises(RpcError, match="session one is already open") as caught:
                await again.receive()
            assert caught.value.code == INVALID_ARGUMENT
        assert not first.ended
        await links[0].close()
        for attempt in range(100):  # free as soon as its owner is gone
            again = links[1].channel.call(SESSION, metadata)
            while again.headers is None and not again.ended:
                await asyncio.sleep(0.001)
            if not again.ended:
                break
            assert attempt < 99
            await asyncio.sleep(0.05)
        await Remote(links[1]).info()
        await links[1].close()

    asyncio.run(go())


def exporting(daemon: Daemon, context: Path) -> subprocess.Popen[bytes]:
    """A client that is sent an archive and does not read on after its beginning."""
    command = [sys.executable, "-m", "dockc", "build", str(context), "--addr", daemon.address, "--progress=none", "-otype=tar,dest=-"]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert client.stdout is not None
    assert len(client.stdout.read(1000)) == 1000
    return client


def test_a_client_vanishes_while_it_is_sent_the_result(daemon: Daemon, context: Path) -> None:
    for how in (signal.SIGKILL, signal.SIGTERM):
        client = exporting(daemon, context)
        assert running(daemon)
        client.send_signal(how)
        assert client.stdout is not None
        client.stdout.close()
        client.wait(60)
        until(lambda: not running(daemon))
    assert dockc("build", str(context), "--addr", daemon.address, "--progress=none", "-otype=cacheonly").returncode == 0


def test_the_word_to_end_comes_during_an_export(tmp_path: Path, context: Path) -> None:
    daemon = Daemon(tmp_path, "--grace=1")
    client = exporting(daemon, context)  # which waits for us, as the daemon does for it
    assert daemon.stop() == 0
    client.communicate(timeout=60)
    assert client.returncode != 0
    assert not running(daemon)
    assert "Traceback" not in daemon.said()
    daemon = Daemon(tmp_path)
    assert dockc("build", str(context), "--addr", daemon.address, "--progress=none", "-otype=cacheonly").returncode == 0
    assert daemon.stop() == 0


def test_the_socket_is_taken_away(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    async def go() -> None:
        link = await connect(parse(daemon.address))
        path = tmp_path / "s"
        path.unlink()
        assert (await Remote(link).info()).package == "dockc", "who is there stays"
        # Another daemon of another store takes the place, and keeps it when the first one ends.
        other = tmp_path / "other"
        other.mkdir()
        command = [sys.executable, "-m", "dockc", "daemon", "--root", str(other / "root"), "--addr", daemon.address]
        with (other / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: path.exists() and answers(path))
            await link.close()
            assert daemon.stop() == 0
            assert path.exists()
            assert answers(path)
        finally:
            process.terminate()
            assert process.wait(60) == 0
        assert not path.exists()

    asyncio.run(go())


def test_a_client_that_never_speaks_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "_GREETING", 0.2)
    path = str(tmp_path / "s")

    async def go() -> None:
        made: list[Channel] = []
        server = await asyncio.get_running_loop().create_unix_server(lambda: transports.Wire({}, made=made.append), path)
        channel = await transports.connect_unix(path)  # who has spoken may be silent as long as he likes
        for begin in (b"", b"PRI * HTTP/2.0\r\n"):
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            sock.connect(path)
            sock.send(begin) if begin else None
            reader, writer = await asyncio.open_unix_connection(sock=sock)
            await asyncio.wait_for(reader.read(), 30)  # to the end
            writer.close()
        assert not channel.closed
        assert [one.closed for one in made] == [False, True, True]
        channel.shut()
        server.close()

    asyncio.run(go())


def test_many_that_say_nothing_hinder_nobody(daemon: Daemon) -> None:
    idle = []
    try:
        for _ in range(600):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(daemon.folder / "s"))
            idle.append(sock)
        assert dockc("buildctl", "--addr", daemon.address, "debug", "info").returncode == 0
    finally:
        for sock in idle:
            sock.close()


def test_more_clients_than_descriptors_are_told_of_in_one_line(tmp_path: Path, context: Path) -> None:
    daemon = Daemon(tmp_path, before=("prlimit", "--nofile=40:40"))
    idle: list[socket.socket] = []
    try:
        for _ in range(60):
            idle.append(sock := socket.socket(socket.AF_UNIX))
            sock.connect(str(tmp_path / "s"))
        until(lambda: "no client can be taken: too many open files" in daemon.said())
    finally:
        for sock in idle:
            sock.close()
    (context / "large").unlink()
    done = dockc("build", str(context), "--addr", daemon.address, "--progress=none", "-otype=cacheonly")
    assert done.returncode == 0, done.stderr
    assert daemon.stop() == 0
    assert daemon.said().count("no client can be taken") == 1
    assert "Traceback" not in daemon.said()


def test_an_address_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    """Of several it is not plain which; a socket's path holds 107 bytes."""
    far = f"unix://{tmp_path}/{'x' * 100}"
    done = dockc("daemon", f"--root={tmp_path}/root", f"--addr=unix://{tmp_path}/s", f"--addr={far}")
    assert done.returncode == 2
    assert f"error: cannot listen on {far}: " in done.stderr
    assert not (tmp_path / "s").exists()
