from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockc.golang.text import dump_json
from dockc.oci.platform import Platform
from dockc.runtime.exporter.export import Exporters
from dockc.runtime.exporter.source import ExportSource, PlatformResult
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.ref import ImmutableRef
from dockc.runtime.registry.client import Client
from tests.runtime.registry_servers import AMD64, need

Maker = Callable[..., ImmutableRef]


@pytest.fixture
def refs(tmp_path: Path) -> Iterator[RefManager]:
    with RefManager(tmp_path / "store", snapshotter_name="native") as manager:
        yield manager


@pytest.fixture
def make_ref(refs: RefManager) -> Maker:
    """Make a layer: `make_ref({"path": b"data"}, parent=..., description=...)`; None makes a directory."""

    def make(
        files: dict[str, bytes | None], parent: ImmutableRef | None = None, description: str = "RUN something"
    ) -> ImmutableRef:
        mutable = refs.new_mutable(parent, description=description)
        with mutable.mount() as root:
            for name, data in files.items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if data is None:
                    path.mkdir(exist_ok=True)
                else:
                    path.write_bytes(data)
        return mutable.commit()

    return make


@pytest.fixture
def exporters(refs: RefManager) -> Exporters:
    def client(insecure: bool) -> Client:
        return Client(insecure=insecure)

    return Exporters(refs.content, refs, client)


def config_for(platform: Platform = AMD64, **extra: object) -> bytes:
    """A frontend's config."""
    document: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        document["variant"] = platform.variant
    return dump_json({**document, "config": {"Env": ["PATH=/bin"], "WorkingDir": "/"}, **extra})


def source_of(ref: ImmutableRef | None, *names: str, **extra: object) -> ExportSource:
    """A build's result for one platform."""
    return ExportSource((PlatformResult(AMD64, ref, config_for(**extra)),), names=names)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A Docker engine of our own; yields the start of a `docker` command line that speaks to it."""
    import os

    program, docker = need("dockerd"), need("docker")
    if os.geteuid() != 0:
        pytest.skip("dockerd needs root")
    folder = tmp_path_factory.mktemp("dockerd")
    socket = f"unix://{folder}/d.sock"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(program, "--data-root", folder / "data", "--exec-root", folder / "exec", "--host", socket),
                *("--pidfile", folder / "pid", "--iptables=false", "--ip6tables=false", "--bridge=none"),
                *("--storage-driver", "vfs"),
            ],
            stdout=log,
            stderr=log,
        )
        try:
            command = [docker, "-H", socket]
            deadline = time.monotonic() + 40
            while subprocess.run([*command, "version"], capture_output=True, check=False).returncode != 0:
                if process.poll() is not None or time.monotonic() > deadline:
                    last = (folder / "log").read_text().strip().splitlines()[-1:]
                    pytest.skip(f"dockerd does not run here: {last}")
                time.sleep(0.3)
            yield command
        finally:
            process.terminate()
            process.wait(30)
