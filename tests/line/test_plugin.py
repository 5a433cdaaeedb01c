"""dockc as a plug-in of the docker command, tried with docker's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest

from dockc.line.plugin import METADATA, translated

DOCKER = shutil.which("docker")
needs_docker = pytest.mark.skipif(DOCKER is None, reason="needs docker's command")
CODE = "from dockc.__main__ import plugin; plugin()"


@pytest.mark.parametrize(
    ("argv", "words", "variables"),
    [
        ("dockc lint x", "lint x", {}),
        ("dockc build .", "build --load .", {}),
        ("dockc build . -o out", "build . -o out", {}),
        ("dockc build -oout .", "build -oout .", {}),
        ("dockc build --output=x .", "build --output=x .", {}),
        ("dockc build --push .", "build --push .", {}),
        ("dockc build --help", "build --help", {}),
        ("dockc", "", {}),
        ("--context far -D --host=tcp://h:1 dockc ls", "ls", {"DOCKER_CONTEXT": "far", "DOCKER_HOST": "tcp://h:1"}),
        ("--config /c dockc build --check", "build --check", {"DOCKER_CONFIG": "/c"}),
        ("buildx --builder b build .", "build --load --builder=b .", {}),
        ("buildx --builder=b du", "du --builder=b", {}),
        ("buildx b .", "build --load .", {}),
        ("buildx ls", "builder ls", {}),
        ("buildx rm x", "builder rm x", {}),
        ("buildx version", "version", {}),
        ("__complete dockc build --pl", "__complete -- build --pl", {}),
        ("--unknown dockc", "", {}),
    ],
)
def test_docker_s_words(argv: str, words: str, variables: dict[str, str]) -> None:
    found, told = translated(argv.split())
    if argv.startswith("--unknown"):
        return  # it is for the command to refuse
    assert (found, told) == (words.split(), variables)


def test_what_it_is() -> None:
    done = subprocess.run([sys.executable, "-c", CODE, METADATA], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert (told["SchemaVersion"], bool(told["Vendor"]), bool(told["Version"])) == ("0.1.0", True, True)


def test_what_may_come_next() -> None:
    done = subprocess.run([sys.executable, "-c", CODE, "__complete", "dockc", "build", "--plat"], capture_output=True, text=True, check=True)
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("--platform\t")
    assert last == ":4"
    done = subprocess.run([sys.executable, "-c", CODE, "__complete", "buildx", "build", "--file", ""], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ":0"


class Engine:
    """As much of a docker engine as `docker load` asks of one."""

    def __init__(self, path: Path) -> None:
        self.loaded: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self, data: bytes, kind: str = "application/json") -> None:
                self.send_response(200)
                for name, value in (("Api-Version", "1.41"), ("OSType", "linux"), ("Content-Type", kind), ("Content-Length", str(len(data)))):
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def do_HEAD(self) -> None:
                self._answer(b"OK", "text/plain")

            def do_GET(self) -> None:
                self._answer(b"OK" if self.path.endswith("_ping") else b"{}")

            def do_POST(self) -> None:
                data = b""
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        data += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    data = self.rfile.read(int(self.headers["Content-Length"]))
                outer.loaded.append(data)
                self._answer(b'{"stream":"Loaded image: x:1\\n"}')

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

            def address_string(self) -> str:
                return "client"

        self.server = ThreadingUnixStreamServer(str(path), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a docker with the plug-in, under both names."""
    config = tmp_path / "docker"
    (config / "cli-plugins").mkdir(parents=True)
    for name in ("docker-dockc", "docker-buildx"):
        place = config / "cli-plugins" / name
        place.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{CODE}" "$@"\n')
        place.chmod(0o755)
    (config / "config.json").write_text('{"aliases": {"builder": "dockc"}}')
    engine = Engine(tmp_path / "engine.sock")
    environment = {**os.environ, "DOCKER_CONFIG": str(config), "DOCKC_STORE": str(tmp_path / "store"), "DOCKER_HOST": f"unix://{tmp_path}/engine.sock"}
    for name in ("BUILDX_BUILDER", "BUILDKIT_HOST", "DOCKER_BUILDKIT"):
        environment.pop(name, None)
    try:
        yield environment
    finally:
        for data in engine.loaded:
            with tarfile.open(fileobj=BytesIO(data)) as archive:
                (tmp_path / "loaded").write_text("\n".join(archive.getnames()))
        engine.close()


def run(environment: dict[str, str], *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    assert DOCKER is not None
    return subprocess.run([DOCKER, *words], env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


@needs_docker
def test_docker_takes_it(docker: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /d\n")
    done = run(docker, "dockc", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout[:6]) == (0, "dockc "), done.stderr
    done = run(docker, "dockc", "lint", "x/Dockerfile", "--select", "none-such", cwd=tmp_path)
    assert (done.returncode, "unknown" in done.stderr) == (2, True), done.stderr
    done = run(docker, "--debug", "dockc", "build", "x", "--progress=plain", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "d").is_file()
    done = run(docker, "dockc", "build", "x", "--target=none", cwd=tmp_path)
    assert done.returncode == 1
    assert "target stage" in done.stderr


@needs_docker
@pytest.mark.parametrize("words", [("build",), ("buildx", "build")])
def test_docker_build_is_dockc(docker: dict[str, str], tmp_path: Path, words: tuple[str, ...]) -> None:
    """The image goes to docker's engine, as with docker's own builder."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /d\n")
    done = run(docker, *words, ".", "-t", "x:1", "--progress=plain", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 step run, 0 cached" in done.stderr
    assert "exporting to docker image format" in done.stderr


@pytest.fixture(autouse=True)
def _loaded(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if request.node.name.startswith("test_docker_build_is_dockc"):
        assert "manifest.json" in (tmp_path / "loaded").read_text().splitlines()


def test_it_ends_when_docker_is_told_to(tmp_path: Path) -> None:
    """docker closes a socket instead of passing a signal on."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        environment = {**os.environ, "DOCKER_CLI_PLUGIN_SOCKET": str(tmp_path / "s"), "DOCKC_STORE": str(tmp_path / "store")}
        command = [sys.executable, "-c", CODE, "dockc", "build", "-f-", str(tmp_path), "-o", str(tmp_path / "out")]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        server.settimeout(60)
        link, _ = server.accept()
        link.close()
        status = process.wait(60)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    assert status in {-signal.SIGTERM, 143}
