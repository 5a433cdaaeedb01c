"""dockc's compiler as a frontend, over pipes, driven by dockc's own engine: both ends of the gateway without a container."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dockc import llb
from dockc.engine.bridge import Bridge, Result
from dockc.engine.dockerfile import dockerfile
from dockc.engine.engine import Engine, EngineOptions
from dockc.engine.gateway import Gateway, answers, own_workers
from dockc.engine.request import BuildRequest
from dockc.errors import DockcError
from dockc.protocol.errors import RemoteError, to_rpc
from dockc.rpc.transports import on_descriptors
from dockc.runtime.exporter.options import parse_output
from dockc.runtime.session.base import Session
from dockc.runtime.session.files import HostDirectory
from dockc.solver.progress import SolveStatus
from tests.tools import shell_context

CODE = "from dockc.__main__ import frontend; frontend()"


async def by_process(bridge: Bridge) -> Result:
    """A frontend of the engine that is another process."""
    gateway = Gateway(bridge, own_workers())

    async def mine(_: object) -> Gateway:
        return gateway

    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    environment = {**os.environ, "BUILDKIT_SESSION_ID": "s"}
    for number, (key, value) in enumerate(bridge.request.attrs.items()):
        environment[f"BUILDKIT_FRONTEND_OPT_{number}"] = f"{key}={value}"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", CODE, stdin=to_read, stdout=from_write, env=environment)
    os.close(to_read)
    os.close(from_write)
    channel = await on_descriptors(from_read, to_write, answers(mine), explain=to_rpc)
    try:
        return await gateway.returned
    finally:
        channel.shut()
        await process.wait()


def build(
    folder: Path, attrs: dict[str, str], inputs: dict[str, bytes] | None = None, by: Callable[[Bridge], Awaitable[Result]] = by_process
) -> tuple[dict[str, str], list[SolveStatus]]:
    """Build a context into a directory; the result's metadata and the progress."""
    told: list[SolveStatus] = []
    kept: dict[str, str] = {}

    async def run() -> None:
        async def frontend(bridge: Bridge) -> Result:
            result = await by(bridge)
            kept.update({key: value.decode() for key, value in result.metadata.items()})
            return result

        directory = HostDirectory(folder / "context")
        session = Session(id="s", directories={"context": directory, "dockerfile": directory})
        request = BuildRequest(attrs=attrs, inputs=inputs or {}, outputs=(parse_output(str(folder / "out")),))
        async with asyncio.timeout(100), Engine(EngineOptions(root=folder / "store")) as engine:
            await engine.run(frontend, request, session, told.append)

    asyncio.run(run())
    return kept, told


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = shell_context(tmp_path / "context")
    (folder / "busybox").chmod(0o755)
    (folder / "data").write_text("data\n")
    (folder / "ignored").write_text("x")
    (folder / ".dockerignore").write_text("ignored\n")
    return folder


def test_a_build(tmp_path: Path, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch AS a\nCOPY . /\nFROM a\nfrom a\nLABEL x=$NO\n")
    kept, told = build(tmp_path, {"label:a": "b"})
    assert (tmp_path / "out" / "data").read_text() == "data\n"
    assert not (tmp_path / "out" / "ignored").exists()
    assert json.loads(kept["containerimage.config"])["config"]["Labels"]["a"] == "b"
    warnings = [warning for status in told for warning in status.warnings]
    assert any("ConsistentInstructionCasing" in warning.short for warning in warnings)
    assert warnings[0].filename == "Dockerfile"


def test_errors_bring_their_lines(tmp_path: Path, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCPY a b\n")
    with pytest.raises(RemoteError, match="unknown instruction: CPY") as caught:
        build(tmp_path, {})
    assert caught.value.places[0][2] == ((2, 2),)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY nowhere /\n")
    with pytest.raises(DockcError, match="nowhere"):
        build(tmp_path, {})
    with pytest.raises(RemoteError, match="failed to read dockerfile"):
        build(tmp_path, {"filename": "none"})
    with pytest.raises(RemoteError, match="remote contexts are not supported by this frontend yet"):
        build(tmp_path, {"context": "https://example.com/x.git"})


def test_questions(tmp_path: Path, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch AS one\nARG A=1\nfrom one AS two\n")
    kept, _ = build(tmp_path, {"requestid": "frontend.targets"})
    assert [one["name"] for one in json.loads(kept["result.json"])["targets"]] == ["one", "two"]
    kept, _ = build(tmp_path, {"requestid": "frontend.lint"})
    assert kept["result.statuscode"] == "1"
    with pytest.raises(RemoteError, match="unsupported request"):
        build(tmp_path, {"requestid": "frontend.nonsense"})


@pytest.mark.parametrize("by", [dockerfile, by_process])
def test_graphs_in_the_place_of_directories(tmp_path: Path, context: Path, by: Callable[[Bridge], Awaitable[Result]]) -> None:
    """As `bake` gives a target the result of another."""
    text = b"FROM base AS x\nCOPY --from=other file /from-other\nCOPY context-file /\nRUN [\"/busybox\", \"sh\", \"-c\", \"/busybox echo $GIVEN > /env\"]\n"
    shell = (context / "busybox").read_bytes()
    inputs = {
        "dockerfile": llb.scratch().file(llb.mkfile("/Dockerfile", text, 0o644)).marshal(),
        "context": llb.scratch().file(llb.mkfile("/context-file", b"c", 0o644)).marshal(),
        "one": llb.scratch().file(llb.mkfile("/busybox", shell, 0o755)).marshal(),
        "two": llb.scratch().file(llb.mkfile("/file", b"other", 0o644)).marshal(),
    }
    config = {"architecture": "amd64", "os": "linux", "config": {"Env": ["GIVEN=yes"], "Labels": {"kept": "1"}}, "rootfs": {"type": "layers"}}
    metadata = json.dumps({"containerimage.config": b64encode(json.dumps(config).encode()).decode()})
    attrs = {"context:base": "input:one", "context:other": "input:two", "input-metadata:one": metadata, "no-cache": ""}
    kept, _ = build(tmp_path, attrs, {name: one.to_bytes() for name, one in inputs.items()}, by)
    out = tmp_path / "out"
    assert ((out / "from-other").read_text(), (out / "context-file").read_text(), (out / "env").read_text()) == ("other", "c", "yes\n")
    assert json.loads(kept["containerimage.config"])["config"]["Labels"] == {"kept": "1"}
    with pytest.raises(DockcError, match=r"invalid input (three for other|one for base)"):
        build(tmp_path, attrs | {"context:other": "input:three"}, {"dockerfile": inputs["dockerfile"].to_bytes()}, by)
    with pytest.raises(DockcError, match="invalid nil input definition to definition op"):
        build(tmp_path, {}, {"dockerfile": b"", "context": b""}, by)
    with pytest.raises(DockcError, match="failed to read dockerfile: open none"):
        build(tmp_path, {"filename": "none"}, {"dockerfile": inputs["dockerfile"].to_bytes()}, by)


def test_nobody_runs_it_by_hand() -> None:
    import pty

    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", CODE], stdin=theirs, capture_output=True, text=True, check=False)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert "a builder runs this program" in done.stderr
