"""Command lines that people know from `docker buildx build`, seen in what comes out."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import Literal

import pytest

from tests.e2e.conftest import Dockc, MakeContext

Mode = Literal["w", "w:gz", "w:bz2", "w:xz"]


def archive(mode: Mode, **files: str) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode) as made:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.gid, info.mode = len(text), 7, 8, 0o640
            made.addfile(info, io.BytesIO(text.encode()))
    return raw.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_on_standard_input_is_the_context(dockc: Dockc, tmp_path: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    spool.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(spool))
    (tmp_path / "in").write_bytes(archive(mode, Dockerfile="FROM scratch\nCOPY a /a\n", Other="FROM scratch\nCOPY a /b\n", a="text"))
    for more, name in [((), "a"), (("-f", "Other"), "b")]:
        with (tmp_path / "in").open("rb") as stdin:
            dockc.run("build", "-", "--progress=plain", *more, "-o", tmp_path / name, stdin=stdin)
        assert [path.name for path in (tmp_path / name).iterdir()] == [name]
        assert (tmp_path / name / name).read_text() == "text"
    with (tmp_path / "in").open("rb") as stdin:
        again = dockc.run("build", "-", "--progress=plain", "-o", tmp_path / "again", stdin=stdin).stderr
    assert "0 steps run" in again, "the same archive again is the same context"
    with (tmp_path / "in").open("rb") as stdin:
        missing = dockc.run("build", "-", "-f", "None", stdin=stdin, status=1).stderr
    assert "error: " in missing
    assert "Traceback" not in missing
    assert not list(spool.iterdir())


def test_a_dockerfile_on_standard_input_has_an_empty_context(dockc: Dockc, tmp_path: Path) -> None:
    dockc.run("build", "-", "-o", tmp_path / "out", input="FROM scratch\nCOPY <<EOF /a\nhi\nEOF\n")
    assert (tmp_path / "out" / "a").read_text() == "hi\n"
    shown = dockc.run("build", "-", "--progress=plain", input="FROM scratch\nCOPY a /a\n", status=1).stderr
    assert '"/a": not found' in shown


def test_what_steps_are_given(dockc: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    folder = context(
        "FROM base\nRUN cat /proc/self/limits > /limits && cat /etc/hosts > /hosts && cat /proc/mounts > /mounts && ls /sys/class/net > /net\n"
    )
    dockc.build(
        folder, *with_base, "--ulimit", "nofile=100:200", "--ulimit=core=0", "--shm-size=3m", "--add-host", "me:host-gateway",
        "--network=none", "--pull", "-o", tmp_path / "out",
    )  # fmt: skip
    out = tmp_path / "out"
    limits = {line[:25].strip(): line[25:].split()[:2] for line in (out / "limits").read_text().splitlines()}
    assert limits["Max open files"] == ["100", "200"]
    assert limits["Max core file size"] == ["0", "0"]
    assert "127.0.0.1\tme\n" in (out / "hosts").read_text()
    assert any(line.split()[1] == "/dev/shm" and "size=3072k" in line for line in (out / "mounts").read_text().splitlines())
    assert (out / "net").read_text() == "lo\n"
    dockc.build(context("FROM base\nRUN --network=host true\n"), *with_base, "--network=host", "-o", "type=cacheonly")


def test_pull_does_not_do_with_what_the_store_has(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    root.build(context("FROM base\nRUN echo hi > /hi\n"), *with_base, "-t", "localhost:1/app:1")
    folder = context("FROM localhost:1/app:1\nRUN cat /hi\n")
    assert "1 step run" in root.build(folder)
    assert "cannot reach the registry" in root.build(folder, "--pull", status=1)


def test_annotations_and_the_epoch_of_the_environment(root: Dockc, context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000")
    folder = context("FROM scratch\nCOPY a /a\n", a="a")
    root.build(folder, "--annotation", "org.x=one", "-o", f"type=oci,dest={tmp_path / 'x'},tar=false")
    index = json.loads((tmp_path / "x" / "index.json").read_bytes())
    blobs = tmp_path / "x" / "blobs" / "sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_bytes())
    assert manifest["annotations"]["org.x"] == "one"
    assert json.loads((blobs / manifest["config"]["digest"][7:]).read_bytes())["created"] == "1970-01-01T00:16:40Z"


def test_warnings_of_the_compiler_are_shown(root: Dockc, context: MakeContext) -> None:
    folder = context("FROM scratch as A\nMAINTAINER me\nCOPY a /a\n", a="a")
    shown = root.build(folder)
    assert "#1 WARN: StageNameCasing: Stage name 'A' should be lowercase (line 1)\n" in shown
    assert "#1 WARN: MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)\n" in shown
    twice = root.build(folder, "--platform=linux/amd64,linux/arm64")
    assert twice.count("WARN: StageNameCasing") == 1
    raw = [json.loads(line) for line in root.run("build", folder, "--progress=rawjson").stderr.splitlines()]
    warnings = [one for batch in raw for one in batch.get("warnings", ())]
    assert base64.b64decode(warnings[0]["short"]).startswith(b"StageNameCasing: ")
    assert warnings[0]["range"] == [{"start": {"line": 1}, "end": {"line": 1}}]
    assert warnings[0]["url"].endswith("/stage-name-casing/")


def test_of_several_platforms_the_first_one_warns(root: Dockc, context: MakeContext) -> None:
    stages = "FROM scratch AS amd64\nCOPY a /a\nFROM scratch AS arm64\nCOPY a /a$UNSET\nFROM $TARGETARCH\n"
    folder = context(stages, a="a")
    assert "UndefinedVar" not in root.build(folder, "--platform=linux/amd64,linux/arm64")
    assert "UndefinedVar" in root.build(folder, "--platform=linux/arm64,linux/amd64")


def test_progress_of_the_environment_and_none(root: Dockc, context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = context("FROM scratch\nCOPY a /a\n", a="a")
    assert root.run("build", folder, "--progress=none").stderr == ""
    assert root.run("build", folder, "--progress=none").stdout == ""
    monkeypatch.setenv("BUILDKIT_PROGRESS", "quiet")
    assert root.run("build", folder).stdout.startswith("sha256:")
    assert "#1 [internal]" in root.run("build", folder, "--progress=plain").stderr
