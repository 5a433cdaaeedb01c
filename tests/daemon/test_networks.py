"""Three daemons on machines of their own, as far as the network goes: namespaces with a cable each to the client's.

A node is killed, its cable is cut so that packets vanish without a word, it accepts and never answers, it is busy, or
its disk is full. The build ends well on another one each time, and one line says why.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.test_daemon import until
from tests.tools import shell_context

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="ip (iproute2) is not installed"),
]
# The command and the daemon with less patience than people need: what is lost is noticed within seconds.
CLIENT = "import dockc.client.building as b, dockc.client.nodes as n; b._EVERY = b._PATIENCE = 3.0; n._PATIENCE = 6.0; from dockc.__main__ import main; main()"
SERVER = "import dockc.daemon.sessions as s, dockc.rpc.transports as t; s._PULSE, s._PATIENCE, t._SILENCE = 2.0, 3.0, 6; from dockc.__main__ import main; main()"
SILENT = """import socket
with socket.create_server(("0.0.0.0", 1234)) as server:
    held = []
    while True:
        held.append(server.accept())
"""
SLOW = "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nARG N\nRUN sleep 5; echo $N > /made\n"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=60)


class Node:
    """A machine with one address, and at most one daemon."""

    def __init__(self, net: Network, name: str, number: int) -> None:
        self.net, self.name = net, name
        self.space, self.cable = f"{net.space}{name}", f"cable{number}"
        self.folder = net.folder / name
        self.folder.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        here, there = f"10.213.{number}.1/30", f"10.213.{number}.2/30"
        self.address = f"tcp://{there.partition('/')[0]}:1234"
        ip("netns", "add", self.space)
        net.spaces.append(self.space)
        ip("link", "add", self.cable, "netns", net.space, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        for space, device, address in ((net.space, self.cable, here), (self.space, "eth0", there)):
            ip("-n", space, "address", "add", address, "dev", device)
            ip("-n", space, "link", "set", device, "up")

    def run(self, *words: str) -> None:
        with (self.folder / "log").open("ab") as log:
            command = ["ip", "netns", "exec", self.space, sys.executable, "-c", *words]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def daemon(self, *more: str) -> None:
        self.run(SERVER, "daemon", "--root", str(self.folder / "root"), "--addr", self.address, *more)
        assert self.process is not None
        process = self.process
        until(lambda: process.poll() is not None or self.net.run("builder", "inspect", self.name).returncode == 0)
        assert process.poll() is None, (self.folder / "log").read_text()

    def plug(self, way: str) -> None:
        ip("-n", self.net.space, "link", "set", self.cable, way)

    def end(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None


class Network:
    """The client's own machine, and the nodes' cables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.space = f"dockc{os.getpid()}"
        self.spaces: list[str] = []
        self.environment = {**os.environ, "XDG_CONFIG_HOME": str(folder / "config"), "DOCKC_STORE": str(folder / "store")}
        ip("netns", "add", self.space)
        self.spaces.append(self.space)
        self.nodes: dict[str, Node] = {}
        for number, name in enumerate("abc"):
            self.nodes[name] = Node(self, name, number)
            self.run("builder", "create", name, self.nodes[name].address)
            self.run("builder", "create", "farm", self.nodes[name].address, "--node", name, *(["--append"] if number else []))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = ["ip", "netns", "exec", self.space, sys.executable, "-c", CLIENT, *arguments]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def close(self) -> None:
        for node in self.nodes.values():
            node.end(signal.SIGKILL)
        for space in self.spaces:
            subprocess.run(["ip", "netns", "delete", space], check=False, timeout=60)


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    probe = f"dockc{os.getpid()}probe"
    try:
        ip("netns", "add", probe)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"there can be no network namespaces here: {error.stderr.decode().strip()}")
    ip("netns", "delete", probe)
    made = Network(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = shell_context(tmp_path / "context")
    (folder / "Dockerfile").write_text(SLOW)
    return folder


def begun(building: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait until the step runs; the node's name, and what was said so far."""
    assert building.stderr is not None
    heard = ""
    for line in building.stderr:
        heard += line
        if re.search(r"#\d+ \[.*RUN sleep", line):
            break
    found = re.findall(r"(?:the build on |: )([abc])\b(?: builds it)?", heard)
    assert found, heard
    return found[-1], heard


def lines_of(text: str) -> list[str]:
    """What the builder says of its nodes, each thing once."""
    return list(dict.fromkeys(re.findall(r"\[internal\] farm: (.*)", text)))


def test_a_node_is_lost_in_the_middle(net: Network, context: Path, tmp_path: Path) -> None:
    for node in net.nodes.values():
        node.daemon()
    lost: list[str] = []
    for number, how in enumerate(("killed", "cut")):
        out = tmp_path / f"out{number}"
        building = net.start("build", str(context), "--builder=farm", "--progress=plain", f"--build-arg=N={number}", "-o", str(out))
        name, heard = begun(building)
        node = net.nodes[name]
        if how == "killed":
            node.end(signal.SIGKILL)
        else:
            node.plug("down")
        _, rest = building.communicate(timeout=240)
        said = lines_of(heard + rest)
        assert building.returncode == 0, heard + rest
        assert (out / "made").read_text() == f"{number}\n"
        (other,) = (one for one in net.nodes if any(line.endswith(f": {one} builds it") for line in said))
        assert other != name
        (why,) = (line for line in said if line.startswith(f"{name} does not finish "))
        assert ("gives no sign of life" in why) == (how == "cut"), why
        assert [line for line in said if "is left out" in line] == [line for line in said if any(f"node {one} is" in line for one in lost)]
        assert "Traceback" not in heard + rest
        lost.append(name)
    # The one whose client has vanished ends the build by itself, and is a node as before once the cable is back.
    cut = net.nodes[lost[1]]
    running = cut.folder / "root" / "running"
    until(lambda: not list(running.iterdir()))
    cut.plug("up")
    done = net.run("build", str(context), "--builder=farm", "--progress=plain", "--build-arg=N=1", "-o", str(tmp_path / "again"))
    assert done.returncode == 0, done.stderr
    assert len([line for line in lines_of(done.stderr) if "is left out" in line]) == 1, done.stderr
    assert "Traceback" not in (cut.folder / "log").read_text()
    for node in net.nodes.values():
        node.end()


def weigh(net: Network, *, small: int, well: int) -> None:
    for name, weight in (("a", 1), ("b", small), ("c", well)):
        done = net.run("builder", "create", "farm", net.nodes[name].address, "--node", name, "--weight", str(weight), "--append")
        assert done.returncode == 0, done.stderr


def test_a_node_is_silent_busy_or_full(net: Network, context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (context / "large").write_bytes(b"\0" * (24 << 20))
    silent, small, well = net.nodes.values()
    silent.run(SILENT)
    # Its disk is too small for the context, which it has to keep twice: as it comes and as the layer.
    (small.folder / "root").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(small.folder / "root")], check=True)
    try:
        small.daemon()
        well.daemon("--max-builds=1")
        weigh(net, small=1, well=0)  # the one that is too small comes first
        done = net.run("build", str(context), "--builder=farm", "--progress=plain", "-o", str(tmp_path / "out"))
        said = lines_of(done.stderr)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "out" / "large").stat().st_size == 24 << 20
        assert "the node a is left out: no answer" in said
        (line,) = (one for one in said if "does not finish" in one)
        assert "(it is full: " in line
        assert line.endswith(": c builds it")
        assert not list((small.folder / "root" / "running").iterdir())
        # One that runs as many builds as it may is asked last: now that is the one that would come first.
        weigh(net, small=0, well=1)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nRUN sleep 600\n")
        (context / "large").unlink()
        waiting = net.start("build", str(context), "--addr", well.address, "--progress=plain")
        try:
            assert waiting.stderr is not None
            for row in waiting.stderr:
                if "RUN sleep" in row:
                    break
            (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /made\n")
            done = net.run("build", str(context), "--builder=farm", "--progress=plain", "-o", str(tmp_path / "small"))
            assert done.returncode == 0, done.stderr
            assert "the build on b" in lines_of(done.stderr)
        finally:
            waiting.terminate()
            waiting.communicate(timeout=120)
        for node in (small, well):
            node.end()
            assert "Traceback" not in (node.folder / "log").read_text()
    finally:
        small.end(signal.SIGKILL)
        subprocess.run(["umount", "-l", str(small.folder / "root")], check=False)
