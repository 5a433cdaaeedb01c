"""Builds on BuildKit's own daemon, where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import shell_context

DAEMON = shutil.which("buildkitd")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.root,
    pytest.mark.skipif(DAEMON is None or os.geteuid() != 0, reason="needs buildkitd and root"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    assert DAEMON is not None
    folder = tmp_path_factory.mktemp("buildkitd")
    (folder / "config").write_text('[worker.oci]\n  networkMode = "host"\n[worker.containerd]\n  enabled = false\n')
    where = f"unix://{folder}/s"
    command = [DAEMON, "--root", str(folder / "root"), "--addr", where, "--config", str(folder / "config")]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(1200):
            if (folder / "s").exists() or daemon.poll() is not None:
                break
            time.sleep(0.1)
        assert daemon.poll() is None, (folder / "log").read_text()
        yield where
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = shell_context(tmp_path / "context")
    (folder / "data.txt").write_text("data\n")
    (folder / "Dockerfile").write_text(
        "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/cat\nCOPY data.txt /\n"
        'RUN --mount=type=secret,id=tok cat /run/secrets/tok > /got\nRUN echo built > /made\nCMD ["/bin/sh"]\n'
    )
    (tmp_path / "tok").write_text("s3cret")
    return folder


def dockc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dockc", *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_outputs(address: str, context: Path, tmp_path: Path) -> None:
    common = [
        "build",
        str(context),
        "--addr",
        address,
        "--secret",
        f"id=tok,src={tmp_path / 'tok'}",
        "--progress=plain",
    ]
    out = tmp_path / "out"
    done = dockc(*common, "-o", str(out), "--metadata-file", str(tmp_path / "meta"))
    assert done.returncode == 0, done.stderr
    assert (out / "got").read_text() == "s3cret"
    assert (out / "made").read_text() == "built\n"
    for kind in ("oci", "docker", "tar"):
        done = dockc(
            *common,
            "-o",
            f"type={kind},dest={tmp_path / kind}",
            "-t",
            "example.com/x:1",
            "--metadata-file",
            str(tmp_path / "meta"),
        )
        assert done.returncode == 0, done.stderr
        assert subprocess.run(["tar", "tf", tmp_path / kind], capture_output=True, check=True).stdout
    done = dockc(
        *common,
        "-o",
        f"type=oci,tar=false,dest={tmp_path / 'layout'}",
        "-t",
        "example.com/x:1",
        "--metadata-file",
        str(tmp_path / "meta"),
    )
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads((tmp_path / "layout" / "index.json").read_text())["manifests"]
    assert entry["digest"] == json.loads((tmp_path / "meta").read_text())["containerimage.digest"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "1"


def test_a_failed_step_shows_its_line(address: str, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nRUN exit 7\n")
    done = dockc("build", str(context), "--addr", address)
    assert done.returncode == 1
    assert "   3 | >>> RUN exit 7" in done.stderr
    assert 'failed to solve: process "/bin/sh -c exit 7" did not complete successfully: exit code: 7' in done.stderr


def test_the_daemons_frontend_and_buildctls_words(address: str, context: Path, tmp_path: Path) -> None:
    secret = f"id=tok,src={tmp_path / 'tok'}"
    done = dockc(
        "build",
        str(context),
        "--addr",
        address,
        "--frontend=dockerfile.v0",
        "--secret",
        secret,
        "-o",
        str(tmp_path / "a"),
    )
    assert done.returncode == 0, done.stderr
    words = [
        "buildctl",
        "--addr",
        address,
        "build",
        "--frontend",
        "dockerfile.v0",
        "--local",
        f"context={context}",
        "--local",
        f"dockerfile={context}",
    ]
    done = dockc(*words, "--secret", secret, "--output", f"type=local,dest={tmp_path / 'b'}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "made").read_text() == (tmp_path / "b" / "made").read_text() == "built\n"
    for what in (
        ["debug", "workers"],
        ["debug", "info"],
        ["du"],
        ["debug", "histories"],
        ["prune", "--all"],
        ["prune-histories"],
    ):
        done = dockc("buildctl", "--addr", address, *what)
        assert done.returncode == 0, done.stderr
        assert done.stdout
