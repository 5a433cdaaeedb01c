"""Images of this machine as bases: in archives of every form, in the store, and only where somebody asks for them."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext
from tests.runtime.registry_servers import real_registry


def _plain(data: bytes) -> bytes:
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


@pytest.fixture
def archives(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> Path:
    """`new.tar` and `old.tar` as docker save writes them, `oci.tar`, and each compressed: of an image `app:1`."""
    folder = root.home
    builder = Dockc(root.home / "first", root.home)
    builder.build(context("FROM base\nRUN echo hello > /said\n"), *with_base, "-t", "app:1")
    builder.run("save", "app:1", "-o", folder / "new.tar")
    builder.run("save", "app:1", "--format", "oci", "-o", folder / "oci.tar")
    with tarfile.open(folder / "new.tar") as new, tarfile.open(folder / "old.tar", "w") as old:
        (entry,) = json.load(new.extractfile("manifest.json") or io.BytesIO())
        layers = [_plain((new.extractfile(name) or io.BytesIO()).read()) for name in entry["Layers"]]
        names = [f"{number}/layer.tar" for number in range(len(layers))]
        config = (new.extractfile(entry["Config"]) or io.BytesIO()).read()
        manifest = json.dumps([{"Config": "config.json", "RepoTags": ["app:1"], "Layers": names}]).encode()
        for name, data in [*zip(names, layers, strict=True), ("config.json", config), ("manifest.json", manifest)]:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            old.addfile(member, io.BytesIO(data))
    for name in ("new", "old", "oci"):
        (folder / f"{name}.tgz").write_bytes(gzip.compress((folder / f"{name}.tar").read_bytes(), 1))
    return folder


def test_an_archive_is_a_base(root: Dockc, context: MakeContext, archives: Path) -> None:
    folder = context("FROM app\nRUN cat /said\n")
    for value in ("new.tar", "docker-archive:old.tgz", "oci-archive:oci.tgz:1"):
        said = root.build(folder, "--no-cache", "--build-context", f"app={value}")
        assert f"[context app] load {value}" in said
        assert " hello\n" in said
    assert root.run("image", "ls", "--json").stdout == "", "a base gets no name"


def test_an_archive_is_read_in_the_view_and_the_history_of_its_build(root: Dockc, context: MakeContext, archives: Path) -> None:
    with tarfile.open(archives / "old.tar") as old:
        (entry,) = json.load(old.extractfile("manifest.json") or io.BytesIO())
    folder = context("FROM app\nRUN cat /said\n")
    said = root.build(folder, "--build-context", "app=old.tgz")
    assert said.startswith("#1 [context app] load old.tgz\n#1 reading the archive "), said
    assert len(re.findall(r"^#1 sha256:\w{64} \S+ / \S+ .*done$", said, re.MULTILINE)) == len(entry["Layers"])
    numbers = [int(number) for number in re.findall(r"^#(\d+) (?:DONE|CACHED)", said, re.MULTILINE)]
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), "each step has a number of its own"
    assert "[context app] load old.tgz" in root.run("history", "inspect").stdout
    raw = root.run("build", folder, "--progress=rawjson", "--build-context", "app=old.tgz").stderr
    (first, *_) = (json.loads(line) for line in raw.splitlines())
    assert first["vertexes"][0]["name"] == "[context app] load old.tgz"
    (archives / "cut.tar").write_bytes((archives / "old.tar").read_bytes()[:5000])
    said = root.build(folder, "--build-context", "app=cut.tar", status=1)
    assert said.startswith("#1 [context app] load cut.tar\n#1 ERROR: cut.tar: "), said


def test_an_ordinary_user_builds_on_an_archive(user: Dockc, context: MakeContext, archives: Path) -> None:
    (user.home / "old.tgz").chmod(0o644)
    said = user.build(context("FROM app\nRUN cat /said\n"), "--build-context", "app=old.tgz")
    assert said.startswith("#1 [context app] load old.tgz\n#1 reading the archive "), said
    assert " hello\n" in said
    assert "[context app] load old.tgz" in user.run("history", "inspect").stdout


def test_every_spelling_is_the_same_image(root: Dockc, context: MakeContext, archives: Path) -> None:
    folder = context("FROM app\n")

    def digest(value: str) -> str:
        shown = root.run("compile", folder, "--emit=json", "--offline", "--build-context", f"app={value}").stdout
        (found,) = re.findall(r'"oci-layout://[^"@]*@(sha256:\w+)"', shown)
        return str(found)

    new = [
        "new.tar", "new.tgz", "docker-archive:new.tar", "docker-archive:new.tgz", "docker-archive:new.tar:app:1",
        "docker-archive:new.tar:1", f"docker-archive://{archives}/new.tar", "oci-archive:oci.tar", "oci-archive:oci.tar:1",
        "oci-archive:oci.tgz:1", "oci-layout://oci.tar", "oci-layout://oci.tgz", "oci-layout:oci.tar:1", "oci:oci.tar",
    ]  # fmt: skip
    assert len({digest(value) for value in new}) == 1
    assert len({digest(value) for value in ("old.tar", "old.tgz", "docker-archive:old.tar:app:1")}) == 1
    root.run("load", archives / "new.tar", "--name", "mine")
    assert digest("dockc-image://mine") == digest("dockc-image:mine:latest") == digest("new.tar")


def test_what_cannot_be_a_base_is_one_clear_error(root: Dockc, context: MakeContext, archives: Path) -> None:
    (archives / "notes.txt").write_text("FROM x\n")
    (archives / "cut.tgz").write_bytes((archives / "new.tgz").read_bytes()[:5000])
    folder = context("FROM app\n")
    for value, said in {
        "docker-archive:none.tar": "there is no archive none.tar",
        "docker-archive:new.tar:other": "new.tar: no image 'other' in it\n  help: It holds 1, app:1.",
        "notes.txt": "notes.txt is a file, and no archive of an image",
        "docker-archive:notes.txt": "notes.txt: not a tar archive, packed or not: ",
        "cut.tgz": "cut.tgz: ",
        "dockc-image://none": "build context app: no such image: none:latest",
        "docker-daemon:app": "docker-daemon:app is not a directory\n  help: It may also be docker-image://NAME",
        "oci-layout://none": "none: No such file or directory",
    }.items():
        result = root.run("build", folder, "-q", "--build-context", f"app={value}", status=None)
        assert result.returncode in (1, 2)
        assert said in result.stderr
        assert result.stderr.count("error: ") == 1
        assert "Traceback" not in result.stderr


def test_a_layout_taken_for_a_directory_is_told(root: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    """`app=DIR` is the directory, as with BuildKit; who made a layout means its image."""
    layout = with_base[1].partition("oci-layout://")[2]
    out = tmp_path / "out"
    said = root.build(context("FROM app\n"), "--build-context", f"app={layout}", "-o", out)
    assert f"warning: the build context app is the files of {layout}, which is an OCI layout: its image is app=oci-layout://{layout}\n" in said
    assert (out / "oci-layout").is_file()
    assert "OCI layout" not in root.build(context("FROM app\nCOPY f /\n", f=""), "--build-context", f"app={tmp_path}")


def test_what_does_not_load_is_said_once(root: Dockc, archives: Path) -> None:
    (archives / "notes.txt").write_text("no tar\n" * 200)
    for file, why in (("none.tar", "No such file or directory"), ("notes.txt", "not a tar archive, packed or not: ")):
        said = root.run("load", "-i", file, status=1).stderr
        assert said.count(why) == 1, said
        assert f"#1 ERROR\nerror: {file}: {why}" in said


def test_a_loaded_image_serves_from_only_when_asked(root: Dockc, context: MakeContext, archives: Path) -> None:
    with real_registry(root.home) as address:
        other = context("FROM scratch\nCOPY said /said\n", said="registry")
        root.build(other, "-t", f"{address}/app:1", "--push")
        root.run("load", archives / "new.tar", "--name", f"{address}/app:1")
        folder = context(f"FROM {address}/app:1\nRUN cat /said\n")
        assert 'exec: "/bin/sh"' in root.build(folder, status=1), "the registry's image has no shell"
        root.run("load", archives / "new.tar", "--name", f"{address}/app:1")
        said = root.build(folder, "--local-images")
        assert "the store's own image is used: images of the store come first" in said
        assert " hello\n" in said
        clash = root.run("build", folder, "--local-images", "--pull", status=2)
        assert clash.stderr.startswith("error: --pull and --local-images")
    root.run("load", archives / "new.tar", "--name", f"{address}/app:1")
    assert "the store's own image is used: " in root.build(folder), "nobody answers, and that is said"
