"""Images that dockc builds, in other people's hands; and a real Debian root from a real registry as the base."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext
from tests.runtime.registry_servers import need, real_registry

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A Docker engine of our own."""
    dockerd, docker = need("dockerd"), need("docker")
    if os.geteuid() != 0:
        pytest.skip("dockerd needs root")
    folder = tmp_path_factory.mktemp("dockerd")
    address = f"unix://{folder}/d.sock"
    argv = [dockerd, "--data-root", folder / "data", "--exec-root", folder / "exec", "--host", address, "--pidfile", folder / "pid"]
    argv += ["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver", "vfs"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(list(map(str, argv)), stdout=log, stderr=log)
        try:
            command = [docker, "-H", address]
            deadline = time.monotonic() + 60
            while subprocess.run([*command, "version"], capture_output=True, check=False).returncode != 0:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.3)
            yield command
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry on loopback."""
    with real_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def example(tmp_path: Path) -> Path:
    folder = tmp_path / "hello"
    shutil.copytree(REPO / "examples" / "hello", folder)
    return folder


def test_a_docker_engine_loads_and_runs_it(root: Dockc, example: Path, with_base: tuple[str, str], engine: list[str], tmp_path: Path) -> None:
    archive = tmp_path / "hello.tar"
    root.build(example, *with_base, "-t", "hello:e2e", "-o", f"type=docker,dest={archive}")
    loaded = subprocess.run([*engine, "load", "-i", archive], text=True, capture_output=True, check=True)
    assert "hello:e2e" in loaded.stdout
    ran = subprocess.run([*engine, "run", "--rm", "--network=none", "hello:e2e"], text=True, capture_output=True, check=True)
    assert ran.stdout == "Hello from dockc:\n  digest\n  edge\n  layer\n  vertex\n"


def test_skopeo_and_umoci_accept_it(root: Dockc, example: Path, with_base: tuple[str, str], tmp_path: Path) -> None:
    skopeo, umoci = need("skopeo"), need("umoci")
    archive, layout = tmp_path / "hello.oci.tar", tmp_path / "layout"
    root.build(example, *with_base, "-t", "hello:e2e", "-o", f"type=oci,dest={archive}")
    inspected = subprocess.run([skopeo, "inspect", "--config", f"oci-archive:{archive}"], text=True, capture_output=True, check=True)
    assert json.loads(inspected.stdout)["config"]["Cmd"] == ["/usr/bin/hello"]
    subprocess.run([skopeo, "--insecure-policy", "copy", f"oci-archive:{archive}", f"oci:{layout}:hello"], check=True, capture_output=True)
    subprocess.run([umoci, "unpack", "--image", f"{layout}:hello", tmp_path / "bundle"], check=True, capture_output=True)
    assert (tmp_path / "bundle" / "rootfs" / "usr" / "bin" / "hello").stat().st_mode & 0o777 == 0o755


@pytest.fixture(scope="module")
def debian(registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Debian root of this machine's release in the registry."""
    mmdebstrap, skopeo, umoci = need("mmdebstrap"), need("skopeo"), need("umoci")
    folder = tmp_path_factory.mktemp("debian")
    release = dict(line.partition("=")[::2] for line in Path("/etc/os-release").read_text().splitlines())
    suite = release.get("VERSION_CODENAME", "stable").strip('"')
    options = ["--variant=apt", '--aptopt=Acquire::Check-Valid-Until "false"', "--aptopt=Acquire::Languages none"]  # mirrors may lag
    made = subprocess.run([mmdebstrap, *options, suite, str(folder / "root.tar")], text=True, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr[-2000:]
    layout = folder / "layout"
    subprocess.run([umoci, "init", "--layout", layout], check=True, capture_output=True)
    subprocess.run([umoci, "new", "--image", f"{layout}:debian"], check=True, capture_output=True)
    subprocess.run([umoci, "raw", "add-layer", "--image", f"{layout}:debian", folder / "root.tar"], check=True, capture_output=True)
    subprocess.run(
        [skopeo, "--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{layout}:debian", f"docker://{registry}/debian:root"],
        check=True, capture_output=True,
    )  # fmt: skip
    return f"{registry}/debian:root"


@pytest.mark.slow
@pytest.mark.parametrize("who", ["root", "many"])
def test_apt_works_on_a_debian_root_from_a_registry(
    request: pytest.FixtureRequest, who: str, context: MakeContext, registry: str, debian: str
) -> None:
    """As root, and as an ordinary user with subordinate ids, which apt needs for a user of its own."""
    skopeo, dockc = need("skopeo"), request.getfixturevalue(who)
    dockerfile = (
        f"FROM {debian} AS work\n"
        "RUN apt-get update && apt-get install -y --no-install-recommends hello\n"
        "FROM work\nRUN hello > /said\n"
    )
    name = f"{registry}/said:{who}"
    shown = dockc.build(context(dockerfile), "-o", "type=local,dest=out", "-t", name, "--push")
    assert shown.rstrip().endswith("2 steps run, 0 cached")
    assert (dockc.home / "out" / "said").read_text() == "Hello, world!\n"
    again = dockc.build(context(dockerfile), "-t", "said")
    assert again.rstrip().endswith("0 steps run, 2 cached")
    assert dockc.run("run", "said", "cat", "/said").stdout == "Hello, world!\n"
    pushed = subprocess.run([skopeo, "inspect", "--tls-verify=false", f"docker://{name}"], text=True, capture_output=True, check=True)
    assert len(json.loads(pushed.stdout)["Layers"]) == 3
