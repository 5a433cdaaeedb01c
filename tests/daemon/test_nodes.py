"""Builders of several nodes: three daemons, one of which dies in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.test_daemon import Daemon, until
from tests.tools import shell_context

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
BOTH = "--platform=linux/amd64,linux/arm64"


class Farm:
    """Three daemons and a builder of them: `a` and `c` for amd64, `b` for arm64."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "XDG_CONFIG_HOME": str(folder / "config")}
        self.nodes: dict[str, Daemon] = {}
        for name, platform in (("a", "amd64"), ("b", "arm64"), ("c", "amd64")):
            (folder / name).mkdir()
            self.nodes[name] = Daemon(folder / name, "--oci-worker-platform", f"linux/{platform}", "--max-builds=2")
            more = [] if name == "a" else ["--append"]
            done = self.dockc("builder", "create", "farm", self.nodes[name].address, "--node", name, *more)
            assert done.returncode == 0, done.stderr

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "dockc", *arguments], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def dockc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def build(self, context: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.dockc("build", str(context), "--builder=farm", "--progress=plain", *arguments)

    def stop(self) -> None:
        for one in self.nodes.values():
            if one.process.poll() is None:
                one.stop()
            one.log.close()


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    made = Farm(tmp_path)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = shell_context(tmp_path / "context")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nARG TARGETPLATFORM\nRUN echo $TARGETPLATFORM > /made\n")
    return folder


def platforms_of(index: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    return [one["platform"]["architecture"] for one in index["manifests"]]


def test_two_nodes_make_one_index(farm: Farm, context: Path, tmp_path: Path, registry: str) -> None:
    listed = farm.dockc("builder", "ls", "--format=json")
    (row,) = map(json.loads, listed.stdout.splitlines())
    assert [(one["name"], one["status"], one["platforms"]) for one in row["nodes"]] == [
        ("a", "running", ["linux/amd64"]), ("b", "running", ["linux/arm64"]), ("c", "running", ["linux/amd64"]),
    ]  # fmt: skip
    inspected = farm.dockc("builder", "inspect", "farm")
    assert inspected.returncode == 0
    assert "Node b\n" in inspected.stdout

    # An archive, a layout and a registry.
    meta = tmp_path / "meta"
    outputs = (f"-otype=oci,dest={tmp_path / 'x.tar'}", f"-otype=oci,tar=false,dest={tmp_path / 'layout'}", f"-otype=registry,name={registry}/x:1")
    for output in outputs:
        done = farm.build(context, BOTH, output, f"--metadata-file={meta}")
        assert done.returncode == 0, done.stderr
        digest = json.loads(meta.read_text())["containerimage.digest"]
        if "x.tar" in output:
            with tarfile.open(tmp_path / "x.tar") as archive:
                names = archive.getnames()
                found = archive.extractfile(f"blobs/sha256/{digest[7:]}")
                assert found is not None
                index = json.load(found)
            assert all(f"blobs/sha256/{one['digest'][7:]}" in names for one in index["manifests"])
        elif "layout" in output:
            (entry,) = json.loads((tmp_path / "layout" / "index.json").read_text())["manifests"]
            assert entry["digest"] == digest
            index = json.loads((tmp_path / "layout" / "blobs" / "sha256" / digest[7:]).read_text())
        else:
            request = urllib.request.Request(f"http://{registry}/v2/x/manifests/1", headers={"Accept": "application/vnd.oci.image.index.v1+json"})
            with urllib.request.urlopen(request) as answer:
                assert answer.headers["docker-content-digest"] == digest
                index = json.load(answer)
        assert sorted(platforms_of(index)) == ["amd64", "arm64"]
    assert not [one.name for one in tmp_path.iterdir() if one.name.startswith(".dockc-")]

    # Directories, one for each platform.
    done = farm.build(context, BOTH, "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert {one.name: (one / "made").read_text() for one in (tmp_path / "out").iterdir()} == {
        "linux_amd64": "linux/amd64\n", "linux_arm64": "linux/arm64\n",
    }  # fmt: skip
    assert "[b internal] load build context" in done.stderr
    done = farm.build(context, BOTH, f"-otype=tar,dest={tmp_path / 'no'}")
    assert (done.returncode, "cannot come from several nodes" in done.stderr) == (2, True)

    # The variables of BuildKit's clients choose it, too.
    for variables in ({"BUILDX_BUILDER": "farm"}, {"BUILDKIT_HOST": farm.nodes["c"].address}):
        command = [sys.executable, "-m", "dockc", "build", str(context), "--progress=plain"]
        asked = subprocess.run(command, env={**farm.environment, **variables}, capture_output=True, text=True, check=False)
        assert asked.returncode == 0, asked.stderr
        assert ("[internal] farm: " in asked.stderr) == ("BUILDX_BUILDER" in variables)

    # What fails, fails: no other node is asked.
    (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nRUN exit 3\n")
    done = farm.build(context, "--platform=linux/amd64")
    assert done.returncode == 1
    assert "exit code: 3" in done.stderr
    assert "builds it" not in done.stderr


def test_another_node_takes_over(farm: Farm, context: Path, tmp_path: Path) -> None:
    """One dies in the middle of a build, and then is not there at all."""
    (context / "Dockerfile").write_text(
        "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nRUN sleep 4; echo done > /made\n"
    )
    building = farm.start("build", str(context), "--builder=farm", "--progress=plain", BOTH, f"-otype=oci,dest={tmp_path / 'x.tar'}")
    assert building.stderr is not None
    heard: list[str] = []
    node = ""
    for line in building.stderr:
        heard.append(line)
        if "linux/amd64 on " in line:
            node = line.partition("linux/amd64 on ")[2][0]
        if node and f"[{node} " in line and "RUN" in line:
            break
    assert node in {"a", "c"}
    farm.nodes[node].process.kill()
    farm.nodes[node].process.wait()
    _, rest = building.communicate(timeout=120)
    said = "".join(heard) + rest
    assert building.returncode == 0, said
    other = {"a": "c", "c": "a"}[node]
    assert f"{other} builds it" in said
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert len(archive.getnames()) > 6
    done = farm.build(context, BOTH, f"-otype=oci,dest={tmp_path / 'y.tar'}")
    assert done.returncode == 0, done.stderr
    assert f"the node {node} is left out" in done.stderr
    assert "0 steps run, 6 cached" in done.stderr  # the others have built it before
    for one in farm.nodes.values():
        if one.process.poll() is None:
            one.stop()
    done = farm.build(context)
    assert done.returncode == 1
    assert "no node of the builder farm can build" in done.stderr


def test_a_full_node_is_passed_over(farm: Farm, context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nARG N\nRUN sleep 600\n")
    address = farm.nodes["b"].address
    waiting = [farm.start("build", str(context), f"--addr={address}", "--progress=plain", f"--build-arg=N={number}") for number in range(2)]
    try:
        for one in waiting:
            assert one.stderr is not None
            for line in one.stderr:
                if "RUN sleep" in line:
                    break
        rows = farm.dockc("builder", "ls", "--format=json").stdout.splitlines()
        assert [one["status"] for one in json.loads(rows[0])["nodes"]] == ["running", "full", "running"]
        done = farm.dockc("build", str(context), f"--addr={address}")
        assert done.returncode == 1
        assert "2 builds run, as many as may" in done.stderr
        (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\n")
        done = farm.build(context, "--platform=linux/arm64", f"-otype=oci,dest={tmp_path / 'x.tar'}")
        assert done.returncode == 0, done.stderr
        assert "linux/arm64 on b" not in done.stderr
    finally:
        for one in waiting:
            one.terminate()
            one.communicate(timeout=60)
    until(lambda: json.loads(farm.dockc("builder", "ls", "--format=json").stdout)["nodes"][1]["status"] == "running")  # free again
