"""dockc on macOS and Windows: checks, compiles and sends builds to a builder; what needs Linux says so.

There are no such machines here: a process is made like one as far as Python's own names go (`other_systems`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon.test_daemon import Daemon
from tests.runtime.registry_servers import free_port

SYSTEMS = ("darwin", "win32")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    where = f"tcp://127.0.0.1:{free_port()}"
    daemon = Daemon(tmp_path_factory.mktemp("builder"), "--addr", where)
    assert daemon.process.poll() is None, daemon.said()
    yield where
    daemon.stop()


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def there(system: str, tmp_path: Path) -> Run:
    """Runs dockc as on the other system, in a directory with a context."""
    context = tmp_path / "context"
    (context / "d/inner").mkdir(parents=True)
    (context / "d/inner/file").write_text("x" * 300_000)
    (context / "d/link").symlink_to("inner/file")
    (context / "left-out").write_text("no")
    (context / ".dockerignore").write_text("left-out\n")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /all/\nCOPY d/link /followed\n")
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).with_name("other_systems")),
        "DOCKC_TESTS_SYSTEM": system,
        "DOCKC_STORE": str(tmp_path / "store"),
        "HOME": str(tmp_path),
    }

    def run(*words: str, status: int = 0, path: str = "") -> subprocess.CompletedProcess[str]:
        found = subprocess.run(
            [sys.executable, "-m", "dockc", *words],
            cwd=tmp_path,
            env={**env, "PATH": f"{path}:{env['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in found.stderr, found.stderr
        assert found.returncode == status, found.stderr
        return found

    return run


@pytest.mark.parametrize(
    "words", [("lint", "context"), ("fmt", "--check", "context/Dockerfile"), ("compile", "context", "--offline", "-o", "out.llb"), ("explain", "context"), ("explain", "--graph", "context"),
              ("config",), ("history", "ls"), ("builder", "ls"), ("version", "--json"), ("--help",), ("build", "--help"), ("passes",)],
    ids=" ".join,
)  # fmt: skip
def test_what_needs_no_linux(there: Run, words: tuple[str, ...]) -> None:
    there(*words)


@pytest.mark.parametrize(
    "words",
    [("build", "context"), ("run", "x"), ("image", "layers", "x"), ("doctor",), ("du",), ("prune",), ("daemon",)],
    ids=" ".join,
)
def test_what_needs_linux_says_so(there: Run, system: str, words: tuple[str, ...]) -> None:
    told = there(*words, status=1).stderr
    assert f"need Linux, and this is {system}" in told
    assert "--builder" in told


def test_a_build_elsewhere(there: Run, system: str, builder: str, tmp_path: Path) -> None:
    there("build", "context", "--addr", builder, "-o", "type=tar,dest=out.tar")
    with tarfile.open(tmp_path / "out.tar") as archive:
        files = {member.name.strip("/"): member for member in archive}
    assert {"all/d/inner/file", "all/d/link", "followed", "all/Dockerfile"} <= set(files)
    assert "all/left-out" not in files
    assert files["all/d/link"].linkname == "inner/file"
    assert files["followed"].size == 300_000
    assert files["all/d/inner/file"].mode == (0o755 if system == "win32" else 0o644)
    again = there(
        "build",
        "context",
        "--addr",
        builder,
        "-o",
        "type=oci,tar=false,dest=layout",
        "--metadata-file",
        "facts.json",
        "--cache-to",
        "type=local,dest=cache",
    )
    assert "0 steps run" in again.stderr
    assert json.loads((tmp_path / "facts.json").read_text())["containerimage.digest"].startswith("sha256:")
    assert (tmp_path / "layout/index.json").is_file()
    assert (tmp_path / "cache/index.json").is_file()
    there(
        "buildctl",
        "--addr",
        builder,
        "build",
        "--frontend",
        "dockerfile.v0",
        "--local",
        "context=context",
        "--local",
        "dockerfile=context",
    )
    assert "context" in there("history", "ls").stdout


def test_a_directory_as_output(there: Run, system: str, builder: str, tmp_path: Path) -> None:
    words = ("build", "context", "--addr", builder, "-o", "type=local,dest=out")
    if system == "win32":
        assert "type=local cannot be written on Windows" in there(*words, status=2).stderr
    else:
        there(*words)
        assert (tmp_path / "out/all/d/link").readlink() == Path("inner/file")


def test_a_builder_behind_a_command(there: Run, builder: str, tmp_path: Path) -> None:
    """`ssh://`: the helper's standard streams carry the bytes."""
    helper = tmp_path / "bin/ssh"
    helper.parent.mkdir()
    helper.write_text(
        f"#!/bin/sh\nunset PYTHONPATH DOCKC_TESTS_SYSTEM\nexec {sys.executable} -m dockc buildctl --addr {builder} dial-stdio\n"
    )
    helper.chmod(0o755)
    there("build", "context", "--addr", "ssh://me@far", "-o", "type=tar,dest=out.tar", path=str(helper.parent))
    assert tarfile.is_tarfile(tmp_path / "out.tar")


def test_the_client_loads_no_room_of_linux(builder: str, tmp_path: Path) -> None:
    """Here, too: who builds elsewhere does not wait for the store, the executors and the snapshots to be loaded."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    code = (
        "import atexit, sys\nfrom dockc.__main__ import main\n"
        "import dockc.line.main as line\nend = line._end\n"
        "def told(status):\n    print(*sorted(sys.modules), file=sys.stderr)\n    end(status)\n"
        "line._end = told\nmain()\n"
    )
    words = ["build", str(tmp_path), "--addr", builder, "-o", f"type=tar,dest={tmp_path}/out.tar"]
    env = {**os.environ, "DOCKC_STORE": str(tmp_path / "store")}
    found = subprocess.run(
        [sys.executable, "-c", code, *words], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = found.stderr.splitlines()[-1].split()
    assert "dockc.client.building" in loaded
    assert not [
        name
        for name in loaded
        if name.startswith(
            (
                "dockc.runtime.executor",
                "dockc.runtime.snapshot",
                "dockc.runtime.ops",
                "dockc.runtime.kernel.syscalls",
                "dockc.engine.engine",
            )
        )
    ]
