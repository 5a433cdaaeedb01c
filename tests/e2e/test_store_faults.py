"""What users did to stores: a store in its own context, a disk without a byte left, builders that were killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dockc.runtime.executor.cgroup import hierarchies
from tests.e2e.conftest import Dockc, MakeContext


def until(what: object, seconds: float = 60.0) -> bool:
    """Wait until a condition holds; whether it does."""
    assert callable(what)
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_store_below_the_context_is_no_part_of_it(dockc: Dockc, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (context / "deep").mkdir()
    if os.geteuid() == 0:
        for folder in (context, context / "deep"):
            os.chown(folder, tmp_path.stat().st_uid, -1)
    inside = replace(dockc, store=context / "deep" / ".dockc")
    for n in range(3):
        (context / "f").write_text(str(n))
        inside.build(context, "-o", f"type=local,dest={tmp_path / 'out'}")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")}
    assert found == {"Dockerfile", "f", "deep"}
    assert inside.build(context).count("CACHED") == 1


@pytest.fixture
def small_disk(root: Dockc, tmp_path: Path) -> Iterator[tuple[Dockc, Path]]:
    """A store on a disk of 40 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", disk], check=False, capture_output=True
    ).returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        yield replace(root, store=disk / "store"), disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def fill(path: Path) -> None:
    """Write until there is no room for another byte."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def test_prune_on_a_disk_without_a_byte_left(small_disk: tuple[Dockc, Path], tmp_path: Path) -> None:
    dockc, disk = small_disk
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY f /f\n")
    (context / "f").write_bytes(random.Random(1).randbytes(4_000_000))
    dockc.build(context)
    dockc.build(context, "-t", "kept")
    fill(disk / "filler")
    (context / "f").write_bytes(random.Random(2).randbytes(9_000_000))
    failed = dockc.build(context, status=1)
    assert "full" in failed
    fill(disk / "filler2")
    assert os.statvfs(disk).f_bavail == 0
    said = dockc.run("du", status=None).stderr
    assert "Traceback" not in said
    dockc.run("prune", "-a")
    assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > 1 << 20
    assert "kept" in dockc.run("images").stdout
    dockc.run("doctor")
    (disk / "filler").unlink()
    (disk / "filler2").unlink()
    assert "CACHED" not in dockc.build(context)


def test_control_groups_of_a_killed_build_are_swept(
    root: Dockc, context: MakeContext, with_base: tuple[str, str]
) -> None:
    name = f"dockctest{os.getpid()}"

    def groups() -> list[Path]:
        return [path for top in hierarchies() for path in (top / name / "dockc").glob("run-*")]

    folder = context("FROM base\nRUN sleep 314159\n")
    process = root.start("build", folder, *with_base, "--cgroup-parent", name)
    try:
        if not until(lambda: groups() or process.poll() is not None) or not groups():
            pytest.skip("no control groups can be made here")
        process.kill()
        process.communicate()
        root.build(context("FROM base\nRUN true\n"), *with_base, "--cgroup-parent", name)
        assert not groups()
    finally:
        process.kill()
        process.communicate()
        for top in hierarchies():
            for path in (*(top / name / "dockc").glob("run-*"), top / name / "dockc", top / name):
                if path.exists():
                    path.rmdir()


def test_a_build_that_waits_for_a_pipe_ends_when_it_is_told_to(
    dockc: Dockc, context: MakeContext, with_base: tuple[str, str]
) -> None:
    """A secret of a shell's `<(...)`, whose program says nothing and does not end."""
    reader, writer = os.pipe()
    os.fchmod(reader, 0o666)
    folder = context("FROM base\nRUN --mount=type=secret,id=s cat /run/secrets/s\n")
    secret = f"id=s,src=/dev/fd/{reader}"
    process = dockc.start("build", folder, *with_base, "--secret", secret, "--progress", "rawjson", pass_fds=[reader])
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if any(
                "RUN" in vertex.get("name", "") and "started" in vertex
                for vertex in json.loads(line).get("vertexes", [])
            ):
                break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 143
    finally:
        process.kill()
        process.communicate()
        os.close(reader)
        os.close(writer)
