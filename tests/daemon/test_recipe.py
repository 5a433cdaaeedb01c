"""What is inside of the daemon's image: `buildctl`, and the script that builds once with a daemon of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.daemon.test_daemon import until
from tests.tools import shell_context

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "examples" / "daemon"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = shell_context(tmp_path / "context")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nARG RUN\nRUN $RUN && echo made > /made\n")
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """As in the image: `dockc`, `buildctl` and the script on PATH."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "dockc").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dockc "$@"\n')
    for name in ("buildctl", "dockc-build-once"):
        shutil.copy(RECIPE / name, place / name)
    for one in place.iterdir():
        one.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    return {
        **os.environ, "PATH": f"{place}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp"),
        "DOCKC_DAEMON_FLAGS": f"--root {tmp_path / 'root'}",
    }  # fmt: skip


def words(context: Path, run: str) -> list[str]:
    local = [f"--local=context={context}", f"--local=dockerfile={context}", f"--opt=build-arg:RUN={run}"]
    return ["dockc-build-once", "build", "--frontend=dockerfile.v0", *local, f"--output=type=tar,dest={context.parent / 'x.tar'}"]


def daemons(tmp_path: Path) -> list[Path]:
    """Daemons of ours that run."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(tmp_path / "root").encode() in one.read_bytes().split(b"\0"):
                found.append(one)
        except OSError:
            continue
    return found


def test_one_build_with_a_daemon_of_its_own(context: Path, environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(words(context, "true"), env=environment, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert "made" in archive.getnames()
    done = subprocess.run(words(context, "false"), env=environment, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 1
    assert "exit code: 1" in done.stderr
    assert daemons(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    broken = {**environment, "DOCKC_DAEMON_FLAGS": "--nonsense"}
    done = subprocess.run(words(context, "true"), env=broken, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 1
    assert "there is no option --nonsense" in done.stderr
    assert done.stderr.endswith("the daemon did not start\n")


def test_one_build_that_is_told_to_end(context: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """The group is told, as a terminal and a container's runtime do."""
    building = subprocess.Popen(words(context, "sleep 600"), env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert building.stderr is not None
    for line in building.stderr:
        if "sleep 600" in line:
            break
    os.killpg(building.pid, signal.SIGTERM)
    building.communicate(timeout=120)
    assert building.returncode in {130, 143}
    until(lambda: not daemons(tmp_path))
    assert list((tmp_path / "tmp").iterdir()) == []


def test_buildctl(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(["buildctl", f"--addr=unix://{tmp_path}/none", "debug", "info"], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "cannot connect to unix://" in done.stderr
