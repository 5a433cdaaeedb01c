"""The example of the README: builds, builds again from cache, and runs only what a change touches."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.conftest import member
from tests.e2e.conftest import Dockc, MakeContext

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    folder = tmp_path / "hello"
    shutil.copytree(REPO / "examples" / "hello", folder)
    return folder


def steps(shown: str) -> str:
    return shown.strip().splitlines()[-1]


def test_builds_twice_and_reruns_what_a_change_touches(dockc: Dockc, example: Path, with_base: tuple[str, str]) -> None:
    first = dockc.build(example, "-t", "hello", *with_base)
    assert steps(first) == "8 steps run, 0 cached"
    second = dockc.build(example, "-t", "hello", *with_base)
    assert steps(second) == "0 steps run, 8 cached"
    assert second.count("CACHED") >= 8

    (example / "words.txt").write_text("one\ntwo\n")
    third = dockc.build(example, "-t", "hello", *with_base)
    assert "[program 3/4]" in third
    ran = {line.split("] ")[0] for line in third.splitlines() if "RUN" in line and "CACHED" not in line}
    assert steps(third) == "3 steps run, 5 cached", ran

    listed = json.loads(dockc.run("images", "--json").stdout)
    assert listed["name"] == "hello:latest"
    assert listed["platforms"] == ["linux/amd64"] or listed["platforms"]
    assert dockc.run("run", "hello").stdout == "Hello from dockc:\n  one\n  two\n"
    assert "healthy" in dockc.run("doctor").stdout


def test_a_touched_file_runs_nothing_again_but_is_copied_with_its_new_time(
    dockc: Dockc, context: MakeContext, tmp_path: Path
) -> None:
    folder, shown = context("FROM scratch\nCOPY a /one\n", a="x"), ""
    for when in (1_500_000_000, 1_600_000_000):
        os.utime(folder / "a", (when, when))
        shown = dockc.build(folder, "-o", tmp_path / "out")
    assert "CACHED" in shown
    assert (tmp_path / "out" / "one").stat().st_mtime == 1_500_000_000
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a /two\n")
    dockc.build(folder, "-o", tmp_path / "out")
    assert (tmp_path / "out" / "two").stat().st_mtime == 1_600_000_000


def test_prune_keeps_named_images(root: Dockc, example: Path, with_base: tuple[str, str]) -> None:
    root.build(example, "-t", "hello", *with_base)
    root.run("prune", "--all")
    assert "vertex" in root.run("run", "hello").stdout
    root.run("images", "--remove", "hello")
    root.run("prune", "--all")
    assert "no such image" in root.run("run", "hello", status=1).stderr
    assert "0 records" in root.run("doctor").stdout


@pytest.mark.parametrize("executor", ["embedded", "crun", "runc"])
def test_each_executor_builds_it(root: Dockc, example: Path, with_base: tuple[str, str], executor: str) -> None:
    if executor != "embedded" and shutil.which(executor) is None:
        pytest.skip(f"{executor} is not installed")
    root.build(example, "-t", "hello", "--executor", executor, *with_base)
    assert root.run("run", "--executor", executor, "hello").stdout.startswith("Hello from dockc:")


@pytest.mark.parametrize("snapshotter", ["overlay", "native"])
def test_snapshotters_make_the_same_image(
    root: Dockc, example: Path, with_base: tuple[str, str], tmp_path: Path, snapshotter: str
) -> None:
    tar = tmp_path / "out.tar"
    root.build(example, "--snapshotter", snapshotter, "-o", f"type=tar,dest={tar}", *with_base)
    with tarfile.open(tar) as archive:
        assert member(archive, "usr/share/hello/words.txt") == b"digest\nedge\nlayer\nvertex\n"
        assert archive.getmember("usr/bin/hello").mode & 0o777 == 0o755


def test_outputs_and_metadata(root: Dockc, example: Path, with_base: tuple[str, str], tmp_path: Path) -> None:
    metadata = tmp_path / "meta.json"
    result = root.run(
        "build", example, *with_base, "-t", "hello", "--quiet", "--metadata-file", metadata,
        "-o", f"type=oci,dest={tmp_path / 'oci.tar'}", "-o", f"type=local,dest={tmp_path / 'root'}",
    )  # fmt: skip
    digest = result.stdout.strip()
    assert digest.startswith("sha256:")
    told = json.loads(metadata.read_text())
    assert told["containerimage.config.digest"] == digest, "the image's id, as docker prints it"
    assert (tmp_path / "root" / "usr" / "bin" / "hello").exists()
    with tarfile.open(tmp_path / "oci.tar") as archive:
        index = json.loads(member(archive, "index.json"))
    assert index["manifests"][0]["digest"] == told["containerimage.digest"]


def test_rawjson_progress_is_a_status_a_line(root: Dockc, example: Path, with_base: tuple[str, str]) -> None:
    shown = root.run("build", example, *with_base, "--progress=rawjson").stderr
    statuses = [json.loads(line) for line in shown.splitlines()]
    names = {v["name"] for s in statuses for v in s.get("vertexes", ())}
    assert any(name.startswith("[words 3/4] RUN") for name in names)
