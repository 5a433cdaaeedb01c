"""`dockc image`: what is in images, and their ways in and out of the store."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Dockc, MakeContext
from tests.runtime.registry_servers import real_registry

DOCKERFILE = """\
FROM base
RUN mkdir /d && head -c 5000 /bin/sh > /d/big && head -c 70 /bin/sh > /d/two
RUN rm /d/big && head -c 3 /bin/sh > /d/two
RUN rm -r /d && mkdir /d && echo y > /d/z
ENV A=b
CMD ["cat", "/d/z"]
"""


@pytest.fixture
def app(dockc: Dockc, context: MakeContext, with_base: tuple[str, str]) -> Dockc:
    """A store with an image `app` that has files which nobody sees."""
    dockc.build(context(DOCKERFILE), *with_base, "-t", "app")
    return dockc


def _other(dockc: Dockc) -> Dockc:
    return Dockc(dockc.store.with_name("other-store"), dockc.home, dockc.prefix, dockc.python_path)


def _names(dockc: Dockc) -> set[str]:
    return {json.loads(line)["name"] for line in dockc.run("image", "ls", "--json").stdout.splitlines()}


def test_what_is_in_an_image(app: Dockc) -> None:
    (shown,) = json.loads(app.run("image", "inspect", "app").stdout)
    assert shown["name"] == "app:latest"
    assert shown["config"]["config"]["Cmd"] == ["cat", "/d/z"]
    assert len(shown["manifest"]["layers"]) == 4
    layers = [json.loads(line) for line in app.run("image", "layers", "app", "--json").stdout.splitlines()]
    assert [one["digest"] for one in layers] == [one["digest"] for one in shown["manifest"]["layers"]]
    counted = [[one[key] for key in ("files", "added", "changed", "removed", "wasted")] for one in layers[1:]]
    assert counted == [[5070, 3, 0, 0, 5070], [3, 0, 1, 1, 3], [2, 1, 0, 1, 0]]
    assert "mkdir /d && head" in layers[1]["line"]
    shown = app.run("image", "layers", "app").stdout
    assert "   RUN mkdir /d && head" in shown and "# buildkit" not in shown
    assert "   RUN /bin/sh -c mkdir /d && head" in app.run("image", "layers", "app", "--no-trunc").stdout
    (*_, last) = shown.splitlines()
    assert re.fullmatch(r"4 layers, \S+; \S+ of files, of which 5\.07kB \([\d.]+ %\) are wasted", last), last
    assert app.run("image", "history", "app").stdout == app.run("image", "layers", "app").stdout
    files = {
        row["path"]: row for row in map(json.loads, app.run("image", "files", "app", "--json").stdout.splitlines())
    }
    assert {path for path in files if path.startswith("/d")} >= {"/d", "/d/z"}
    assert "/d/two" not in files
    assert (files["/d/z"]["size"], files["/d/z"]["layer"], files["/d"]["type"]) == (2, 3, "d")
    missing = app.run("image", "inspect", "none", status=1)
    assert missing.stderr.startswith("error: no such image: none:latest")
    assert "not here for linux/s390x" in app.run("inspect", "app", "--platform", "linux/s390x", status=1).stderr


def test_names(app: Dockc) -> None:
    app.run("tag", "app", "team/app:2")
    assert _names(app) == {"app:latest", "team/app:2"}
    app.run("rmi", "app", "none", status=1)
    assert _names(app) == {"app:latest", "team/app:2"}, "all or none"
    assert app.run("image", "rm", "app").stdout == "Untagged: app:latest\n"
    app.run("system", "prune")
    assert app.run("run", "team/app:2").stdout == "y\n"
    app.run("tag", "app", "new", status=1)
    app.run("tag", "team/app:2", "UPPER", status=1)


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("packed", [None, gzip.compress, lzma.compress], ids=["plain", "gzip", "xz"])
def test_saved_is_loaded(
    root: Dockc, context: MakeContext, with_base: tuple[str, str], form: str, packed: Callable[[bytes], bytes] | None
) -> None:
    root.build(context(DOCKERFILE), *with_base, "-t", "app")
    archive = root.home / "app.tar"
    root.run("image", "save", "app", "--format", form, "-o", archive)
    if packed is not None:
        archive.write_bytes(packed(archive.read_bytes()))
    other = _other(root)
    assert other.run("image", "load", archive).stdout == "Loaded image: app:latest\n"
    assert other.run("run", "app").stdout == "y\n"
    assert json.loads(other.run("inspect", "app").stdout) == json.loads(root.run("inspect", "app").stdout)
    with archive.open("rb") as file:
        assert other.run("load", "-q", "--name", "again:1", stdin=file).stdout == "again:1\n"
    assert _names(other) == {"app:latest", "again:1"}


def test_an_ordinary_user_loads_what_was_saved(app: Dockc) -> None:
    app.run("save", "app", "-o", app.home / "app.tar")
    assert _other(app).run("load", "-i", app.home / "app.tar").stdout == "Loaded image: app:latest\n"
    assert _other(app).run("run", "app").stdout == "y\n"
    assert "healthy" in _other(app).run("doctor", "--full").stdout


def test_a_layout_needs_a_name(root: Dockc, base: Path) -> None:
    said = root.run("image", "load", base, status=1)
    assert "does not say how its image is called" in said.stderr
    assert root.run("image", "load", base, "--name", "base").stdout == "Loaded image: base:latest\n"
    assert root.run("run", "base", "head", "-c", "3", "/etc/passwd").stdout == "roo"


def test_what_other_tools_write(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("skopeo is not installed")
    root.build(context(DOCKERFILE), *with_base, "-t", "app")
    root.run("save", "app", "-o", root.home / "app.tar")
    for source, target in (
        ("oci-archive:app.tar", "docker-archive:old.tar:other/app:3"),
        ("docker-archive:app.tar", "oci-archive:new.tar:new/app:4"),
    ):
        subprocess.run([skopeo, "--insecure-policy", "copy", "-q", source, target], cwd=root.home, check=True)
    other = _other(root)
    assert other.run("load", root.home / "old.tar").stdout == "Loaded image: other/app:3\n"
    assert other.run("load", root.home / "new.tar").stdout == "Loaded image: new/app:4\n"
    assert other.run("run", "other/app:3").stdout == other.run("run", "new/app:4").stdout == "y\n"


@pytest.fixture
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def test_to_a_registry_and_back(root: Dockc, context: MakeContext, with_base: tuple[str, str], registry: str) -> None:
    root.build(context(DOCKERFILE), *with_base, "-t", "app")
    name = f"{registry}/team/app:1"
    root.run("tag", "app", name)
    assert root.run("push", name).stdout.startswith(f"Pushed {name} (sha256:")
    other = _other(root)
    assert other.run("image", "pull", name).stdout.startswith(f"Pulled {name} (sha256:")
    other.run("prune", "--all")
    assert other.run("run", name).stdout == "y\n"
    other.run("save", name, "-o", other.home / "again.tar")
    assert "not found" in other.run("pull", f"{registry}/team/none", status=1).stderr
    assert other.run("push", "none", status=1).stderr.startswith("error: no such image")


def _tar(**files: bytes | None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "/").replace("_", "."))
            member.size = len(data or b"")
            if data is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member, io.BytesIO(data or b""))
    return out.getvalue()


LAYER = _tar(f=b"x")
CONFIG: dict[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(LAYER).hexdigest()]},
}


def _docker(layer: bytes | None = LAYER, tags: object = ("evil:1",), config: object = CONFIG, **entry: object) -> bytes:
    listed = [{"Config": "c.json", "RepoTags": tags, "Layers": ["l/layer.tar"], **entry}]
    return _tar(manifest_json=json.dumps(listed).encode(), c_json=json.dumps(config).encode(), l__layer_tar=layer)


def test_an_old_archive_with_a_compressed_layer(root: Dockc) -> None:
    (root.home / "a.tar").write_bytes(_docker(gzip.compress(LAYER, mtime=0)))
    assert root.run("load", root.home / "a.tar").stdout == "Loaded image: evil:1\n"
    assert "/f" in root.run("image", "files", "evil:1").stdout


def _layout(*documents: object, name: str = "evil:1") -> bytes:
    """A layout whose documents are made from the first on: each may speak of those before it, `index.json` of the last."""
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "blobs/sha256/" + hashlib.sha256(LAYER).hexdigest(): LAYER,
    }
    last: dict[str, Any] = {}
    for make in documents:
        assert callable(make)
        data, kind = make(last)
        digest = hashlib.sha256(data).hexdigest()
        files[f"blobs/sha256/{digest}"] = data
        last = {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}
    entry = {**last, "annotations": {"io.containerd.image.name": name}}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


OCI = "application/vnd.oci.image."


def _config(_: dict[str, Any]) -> tuple[bytes, str]:
    return json.dumps(CONFIG).encode(), OCI + "config.v1+json"


def _manifest(config: dict[str, Any]) -> tuple[bytes, str]:
    digest = "sha256:" + hashlib.sha256(LAYER).hexdigest()
    layer = {"mediaType": OCI + "layer.v1.tar", "digest": digest, "size": len(LAYER)}
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config, "layers": [layer]}
    ).encode(), OCI + "manifest.v1+json"


def _index(child: dict[str, Any]) -> tuple[bytes, str]:
    """Of the same child three thousand times."""
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [child] * 3000}
    ).encode(), OCI + "index.v1+json"


def test_indexes_of_indexes_are_read_once(root: Dockc) -> None:
    """Each of the three is of three thousand: to follow all would never end."""
    (root.home / "a.tar").write_bytes(_layout(_config, _manifest, _index, _index, _index))
    assert root.run("load", root.home / "a.tar").stdout == "Loaded image: evil:1\n"
    assert _names(root) == {"evil:1"}
    assert "/f" in root.run("image", "files", "evil:1").stdout
    (root.home / "deep.tar").write_bytes(_layout(_config, _manifest, *[_index] * 6))
    assert "indexes inside each other" in root.run("load", root.home / "deep.tar", status=1).stderr


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither index.json nor manifest.json"),
        (b"no archive at all" * 100, "not a tar archive"),
        (LAYER, "neither index.json nor manifest.json"),
        (_docker()[:530], "end of archive"),
        (gzip.compress(_docker())[:100], "unexpected end of gzip data"),
        (_docker(None), "l/layer.tar is missing"),
        (_docker(Layers=["../../etc/passwd"]), "../../etc/passwd is missing"),
        (_docker(Layers=[]), "0 layers, and a config that speaks of 1"),
        (_docker(_tar(f=b"y")), "l/layer.tar"),
        (_docker(Config="/etc/passwd"), "/etc/passwd is missing"),
        (_docker(config=[]), "expected an object"),
        (_docker(tags=None), "does not say how its image is called"),
        (_docker(tags=["../../x"]), "invalid reference"),
        (_tar(manifest_json=b"[" * 100_000), "manifest.json"),
        (_tar(manifest_json=b"[]"), "without images"),
        (_tar(repositories=b"{}"), "before 1.10"),
        (_tar(index_json=b"{}"), "oci-layout"),
    ],
)
def test_hostile_and_broken_archives(root: Dockc, data: bytes, said: str) -> None:
    process = subprocess.run(
        root.argv("image", "load"),
        input=data,
        env=root.environ(),
        cwd=root.home,
        capture_output=True,
        check=False,
        timeout=100,
    )
    error = process.stderr.decode()
    assert process.returncode == 1, error
    assert "\nerror: " in "\n" + error
    assert said in error
    assert "Traceback" not in error
    assert _names(root) == set()


def test_words_of_docker_that_are_none(root: Dockc) -> None:
    assert "keeps no credentials" in root.run("login", "registry.example", "-u", "me", status=2).stderr
    assert root.run("version").stdout == root.run("--version").stdout
    shown = [re.sub(r"(Databases|Total): .*", r"\1", root.run(*words).stdout) for words in (("system", "df"), ("du",))]
    assert shown[0] == shown[1], "but for databases, which grow by being asked"
    assert "neither a file" in root.run("load", "/dev/zero", status=1).stderr
    assert "which image?" in root.run("image", "rm", status=2).stderr


def test_scripts_for_docker_find_their_words(app: Dockc) -> None:
    app.run("tag", "app", "team/app:2")
    digest = app.run("images", "-q").stdout.strip()
    assert digest.startswith("sha256:")
    assert "\n" not in digest, "each digest once"
    assert app.run("images", "--format", "{{.Repository}}:{{.Tag}}").stdout == "app:latest\nteam/app:2\n"
    assert app.run("image", "ls", "team/app", "--format={{.ID}}").stdout.strip() == digest
    assert app.run("images", "app:3", "-q").stdout == ""
    assert app.run("images", "--format", r"table {{.Tag}}\t{{.ID}}").stdout.splitlines()[0].split() == ["TAG", "IMAGE", "ID"]
    assert json.loads(app.run("images", "app", "--format=json").stdout)["Platforms"].startswith("linux/")
    assert app.run("inspect", "-f", "{{.Id}} {{json .Config.Cmd}} {{.Os}} {{.Config.User}} {{len .RootFS.Layers}}", "app").stdout == (
        f'{digest} ["cat","/d/z"] linux  4\n'
    )
    (one,) = map(json.loads, app.run("inspect", "--format", "{{json .}}", digest[7:19]).stdout.splitlines())
    assert (one["RepoTags"], one["RepoDigests"]) == (["app:latest"], [f"app@{digest}"])
    assert app.run("inspect", "-f", "{{range .Config.Env}}{{.}};{{end}}", digest).stdout.endswith(";A=b;\n")
    assert "there are Id, RepoTags" in app.run("inspect", "-f", "{{.Nope}}", "app", status=2).stderr
    assert "--format" in app.run("images", "--format", "{{", status=2).stderr
    shortened, whole = (app.run("image", "history", *more, "app").stdout for more in ([], ["--no-trunc"]))
    assert len(max(whole.splitlines(), key=len)) >= len(max(shortened.splitlines(), key=len))


def test_names_are_taken_away_by_digest(app: Dockc) -> None:
    app.run("tag", "app", "team/app:2")
    digest = app.run("images", "-q").stdout.strip()
    several = app.run("rmi", digest, status=1).stderr
    assert "has several names: app:latest, team/app:2" in several
    assert _names(app) == {"app:latest", "team/app:2"}
    assert "no such image: none\n" in app.run("rmi", "-f", "none", digest[7:20]).stderr
    assert _names(app) == set()
    app.run("rmi", "-f", digest)
    assert "no such image" in app.run("rmi", digest, status=1).stderr
