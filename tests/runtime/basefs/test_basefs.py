"""Base images made from this machine's programs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from dockc.errors import DockcError
from dockc.runtime.baseimage import build as basefs


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs/sha256" / digest.removeprefix("sha256:")


def _layer(layout: Path, name: str = "") -> Path:
    rows = _json(layout / "index.json")["manifests"]
    row = next(r for r in rows if not name or r.get("annotations", {}).get(basefs.REF_NAME) == name)
    manifest = _json(_blob(layout, row["digest"]))
    return _blob(layout, manifest["layers"][0]["digest"])


def test_layout_is_whole_and_its_digests_hold(tmp_path: Path) -> None:
    written = basefs.base(["sh", "cat"], tmp_path / "base", name="v1")
    layout = tmp_path / "base"
    assert _json(layout / "oci-layout") == {"imageLayoutVersion": "1.0.0"}
    (row,) = _json(layout / "index.json")["manifests"]
    assert row["digest"] == written.digest
    assert row["annotations"] == {basefs.REF_NAME: "v1"}
    for blob in (layout / "blobs/sha256").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    config = _json(_blob(layout, _json(_blob(layout, written.digest))["config"]["digest"]))
    assert config["rootfs"]["diff_ids"] == ["sha256:" + _layer(layout).name]
    assert config["config"]["Env"][0].startswith("PATH=/usr/local/sbin:")


def test_same_programs_same_digest(tmp_path: Path) -> None:
    one = basefs.base(["sh", "cat", "ls"], tmp_path / "a")
    two = basefs.base(["ls", "cat", "sh"], tmp_path / "b")
    three = basefs.base(["sh", "cat", "ls"], tmp_path / "c.tar")
    assert one.digest == two.digest == three.digest


def test_root_is_owned_by_root_and_old(tmp_path: Path) -> None:
    basefs.base(["sh"], tmp_path / "base")
    with tarfile.open(_layer(tmp_path / "base")) as tar:
        members = {m.name: m for m in tar}
    assert all((m.uid, m.gid, m.mtime) == (0, 0, 0) for m in members.values())
    assert members["tmp"].mode == 0o1777
    assert members["root"].mode == 0o700
    assert {"etc/passwd", "etc/group", "dev", "proc", "sys"} <= set(members)
    assert not any(m.mode & 0o6000 for m in members.values() if m.isfile())


def test_programs_run_in_the_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")
    basefs.base(["sh", "ls", "id", "grep"], tmp_path / "base")
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(_layer(tmp_path / "base")) as tar:
        tar.extraction_filter = lambda member, _: member
        tar.extractall(root)
    script = "id -un; ls /tmp; grep -c root /etc/passwd"
    done = subprocess.run(["chroot", str(root), "/bin/sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("root\n1\n", "")


def test_scripts_bring_their_interpreters(tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text("#!/usr/bin/env -S head -n 1\nx\n")
    script.chmod(0o755)
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/cat\n")
    plain.chmod(0o755)
    names = set(basefs.collect([str(script), str(plain)]))
    assert {str(script)[1:], str(plain)[1:], "usr/bin/env"} <= names
    assert names & {"usr/bin/head", "bin/head"}
    assert names & {"usr/bin/cat", "bin/cat"}


def test_links_are_kept(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    program = tmp_path / "real/prog"
    shutil.copy(shutil.which("true") or "/bin/true", program)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "other").symlink_to(tmp_path / "link/prog")
    entries = basefs.collect([str(tmp_path / "other")])
    prefix = str(tmp_path)[1:]
    assert entries[f"{prefix}/other"].target == str(tmp_path / "link/prog")
    assert entries[f"{prefix}/link"].target == "real"
    assert entries[f"{prefix}/real/prog"].source == program


def test_link_loop(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(DockcError):
        basefs.collect([str(tmp_path / "a")])


def test_setuid_is_dropped(tmp_path: Path) -> None:
    program = tmp_path / "prog"
    shutil.copy(shutil.which("true") or "/bin/true", program)
    program.chmod(0o4711)
    assert basefs.collect([str(program)])[str(program)[1:]].mode == 0o755


def test_extra_files(tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("x")
    assert str(data)[1:] in basefs.collect(["sh"], extra=[str(data)])


def test_directories_come_with_all_below(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "sub").mkdir(parents=True)
    (top / "sub/data").write_text("x")
    shutil.copy(shutil.which("ls") or "/bin/ls", top / "prog")
    (top / "link").symlink_to("sub")
    (top / "dangling").symlink_to("nowhere")
    os.mkfifo(top / "fifo")
    entries = basefs.collect([str(top)])
    prefix = str(top)[1:]
    below = {path for path in entries if path.startswith(prefix)}
    assert below == {prefix, *(f"{prefix}/{n}" for n in ("sub", "sub/data", "prog", "link", "dangling"))}
    assert entries[f"{prefix}/link"].target == "sub"
    assert any(Path(path).name.startswith("libc.") for path in entries)


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_a_language_with_its_library(tmp_path: Path) -> None:
    python = Path("/usr/bin/python3")
    if not python.exists():
        pytest.skip("no Python of the system on this machine")
    ask = "import os; print(os.path.dirname(os.__file__))"
    library = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    entries = basefs.collect(["/usr/bin/python3", library])
    root = tmp_path / "root"
    root.mkdir()
    with (tmp_path / "layer").open("w+b") as stream:
        basefs.write_layer(entries, stream)
        stream.seek(0)
        with tarfile.open(fileobj=stream) as tar:
            tar.extraction_filter = lambda member, _: member
            tar.extractall(root)
    done = subprocess.run(
        ["chroot", str(root), "/usr/bin/python3", "-c", "import json, ssl, sqlite3; print(json.dumps([1]))"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[1]\n", "")


def test_busybox_brings_its_applets(tmp_path: Path) -> None:
    box = tmp_path / "busybox"
    box.write_text("#!/bin/sh\nprintf 'bin/ls\\nbin/wget\\nusr/bin/awk\\nbin/busybox\\n'\n")
    box.chmod(0o755)
    entries = basefs.collect([str(box)])
    assert any(entries.get(name) and entries[name].target == str(box) for name in ("bin/wget", "usr/bin/awk"))


def test_unknown_program(tmp_path: Path) -> None:
    with pytest.raises(DockcError, match="nosuchprogram: no such program on this machine"):
        basefs.base(["nosuchprogram"], tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_a_layout_takes_several_images(tmp_path: Path) -> None:
    layout = tmp_path / "base"
    first = basefs.base(["sh"], layout, name="small")
    second = basefs.base(["sh", "ls"], layout, name="large")
    third = basefs.base(["sh", "cat"], layout, name="small")
    rows = {r["annotations"][basefs.REF_NAME]: r["digest"] for r in _json(layout / "index.json")["manifests"]}
    assert rows == {"small": third.digest, "large": second.digest}
    assert first.digest != third.digest


def test_other_directories_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(DockcError, match="neither empty nor an OCI layout"):
        basefs.base(["sh"], tmp_path)


def test_default_programs(tmp_path: Path) -> None:
    entries = basefs.collect([])
    names = {Path(path).name for path in entries}
    assert {"sh", "ls", "cat", "mkdir", "env"} <= names


@pytest.mark.peer
def test_other_tools_accept_it(tmp_path: Path) -> None:
    basefs.base(["sh", "ls"], tmp_path / "base", name="v1")
    if shutil.which("skopeo") is None or shutil.which("umoci") is None:
        pytest.skip("no skopeo or umoci on this machine")
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", f"oci:{tmp_path}/base:v1", f"oci:{tmp_path}/copy:v2"],
        check=True,
        capture_output=True,
    )
    subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", f"{tmp_path}/base:v1", str(tmp_path / "bundle")],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "bundle/rootfs/etc/passwd").is_file()


@pytest.mark.peer
def test_archive_is_accepted(tmp_path: Path) -> None:
    basefs.base(["sh"], tmp_path / "base.tar", name="v1")
    if shutil.which("skopeo") is None:
        pytest.skip("no skopeo on this machine")
    done = subprocess.run(
        ["skopeo", "inspect", "--config", f"oci-archive:{tmp_path}/base.tar:v1"], check=True, capture_output=True
    )
    assert json.loads(done.stdout)["os"] == "linux"


def test_a_file_in_the_way_of_the_destination(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DockcError, match=r"cannot make .*file: "):
        basefs.base(["sh"], tmp_path / "file" / "base")
