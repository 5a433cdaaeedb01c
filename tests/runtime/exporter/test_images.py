"""Images through real tools: skopeo, umoci, docker-registry, a Docker engine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from dockc.errors import DockcError, StoreError
from dockc.oci import config as configs
from dockc.oci import digest as digests
from dockc.oci import manifest as manifests
from dockc.oci import mediatypes as mt
from dockc.oci.manifest import Index, Manifest
from dockc.oci.platform import Platform
from dockc.runtime.exporter.export import Exporters, check, export, metadata_file
from dockc.runtime.exporter.options import parse_output
from dockc.runtime.exporter.source import ExportSource, PlatformResult
from dockc.runtime.refs.manager import RefManager
from tests.runtime.exporter.conftest import Maker, config_for, source_of
from tests.runtime.registry_servers import AMD64, need, real_registry

ARM = Platform("linux", "arm64", "v8")


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_manifest_and_config(exporters: Exporters, make_ref: Maker, tmp_path: Path) -> None:
    base = make_ref({"etc/os-release": b"tiny"}, description="base")
    top = make_ref({"app": b"x"}, base, "RUN make app")
    source = source_of(top, "me/app", history=[{"created_by": "base", "created": "2020-01-01T00:00:00Z"}])
    done = export(source, parse_output(f"type=oci,dest={tmp_path}/o.tar,annotation.who=me"), exporters)

    content = exporters.content
    body = manifests.parse(content.read(done.metadata["containerimage.digest"]))
    assert isinstance(body, Manifest)
    assert body.media_type == mt.OCI_MANIFEST and body.annotations == {"who": "me"}
    assert [layer.media_type for layer in body.layers] == [mt.OCI_LAYER_GZIP] * 2
    assert all(not layer.annotations for layer in body.layers)
    assert body.config.digest == done.metadata["containerimage.config.digest"]
    image = configs.ImageConfig.parse(content.read(body.config.digest))
    assert len(image.diff_ids) == 2
    assert [(h.created_by, h.comment) for h in image.history] == [
        ("base", ""),
        ("RUN make app", "buildkit.exporter.image.v0"),
    ]
    assert image.created == image.history[-1].created
    with tarfile.open(tmp_path / "o.tar") as opened:
        names = opened.getnames()
        index = json.load(opened.extractfile("index.json") or pytest.fail("no index"))
    assert names == sorted(names) and "manifest.json" not in names
    entry = index["manifests"][0]
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/me/app:latest"
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "latest"
    assert entry["platform"] == {"architecture": "amd64", "os": "linux"}


@pytest.mark.peer
@pytest.mark.parametrize("compression", ["gzip", "zstd", "uncompressed"])
def test_skopeo_and_umoci_accept_the_archive(
    exporters: Exporters, make_ref: Maker, tmp_path: Path, compression: str
) -> None:
    skopeo = need("skopeo")
    ref = make_ref({"bin/hello": b"#!/bin/sh\necho hello\n", "empty": None})
    out = tmp_path / "o.tar"
    output = parse_output(f"type=oci,dest={out},compression={compression}")
    done = export(source_of(ref, "hello:1"), output, exporters)
    seen = json.loads(run(skopeo, "inspect", f"oci-archive:{out}:1"))
    assert seen["Digest"] == done.metadata["containerimage.digest"]
    if compression == "zstd":
        return  # Debian's umoci is older than zstd layers
    umoci = need("umoci")
    layout = tmp_path / "layout"
    run(skopeo, "copy", f"oci-archive:{out}:1", f"oci:{layout}:1")
    run(umoci, "unpack", *(() if os.geteuid() == 0 else ("--rootless",)), "--image", f"{layout}:1", tmp_path / "b")
    assert (tmp_path / "b/rootfs/bin/hello").read_bytes() == b"#!/bin/sh\necho hello\n"
    assert (tmp_path / "b/rootfs/empty").is_dir()


@pytest.mark.peer
def test_a_layout_directory_takes_several_images(exporters: Exporters, make_ref: Maker, tmp_path: Path) -> None:
    skopeo = need("skopeo")
    layout = tmp_path / "layout"
    first = export(
        source_of(make_ref({"a": b"1"}), "a:1"), parse_output(f"type=oci,dest={layout},tar=false"), exporters
    )
    second = export(
        source_of(make_ref({"a": b"2"}), "b:2"), parse_output(f"type=oci,dest={layout},tar=false"), exporters
    )
    third = export(
        source_of(make_ref({"a": b"3"}), "a:1"), parse_output(f"type=oci,dest={layout},tar=false"), exporters
    )
    index = json.loads((layout / "index.json").read_bytes())
    assert [entry["digest"] for entry in index["manifests"]] == [
        second.metadata["containerimage.digest"],
        third.metadata["containerimage.digest"],
    ]
    assert first.metadata["containerimage.digest"] != third.metadata["containerimage.digest"]
    assert json.loads(run(skopeo, "inspect", f"oci:{layout}:2"))["Digest"] == second.metadata["containerimage.digest"]


@pytest.mark.peer
@pytest.mark.root
@pytest.mark.parametrize("types", ["true", "false"])
def test_docker_engine_loads_and_runs_it(
    exporters: Exporters, make_ref: Maker, dockerd: list[str], tmp_path: Path, types: str
) -> None:
    echo = Path(need("echo"))
    linked = subprocess.run(["ldd", str(echo)], capture_output=True, text=True, check=False).stdout
    files: dict[str, bytes | None] = {
        "bin/echo": echo.read_bytes(),
        "proc": None,
        "sys": None,
        "dev": None,
        "etc": None,
    }
    for line in linked.splitlines():
        path = next((word for word in line.split() if word.startswith("/")), "")
        if path:
            files[path.lstrip("/")] = Path(path).read_bytes()
    ref = make_ref(files)
    with exporters.refs.new_mutable(ref) as mutable:
        with mutable.mount() as root:
            for name in files:
                if files[name] is not None:
                    (root / name).chmod(0o755)
        ref = mutable.commit()
    name = f"loaded:{types}"
    config = config_for(history=[])
    document = {**json.loads(config), "config": {"Cmd": ["/bin/echo", "it runs"]}}
    result = PlatformResult(AMD64, ref, json.dumps(document).encode())
    output = parse_output(f"type=docker,dest={tmp_path}/d.tar,oci-mediatypes={types}")
    done = export(ExportSource((result,), names=(name,)), output, exporters)
    assert name in run(*dockerd, "load", "-i", tmp_path / "d.tar")
    seen = json.loads(run(*dockerd, "image", "inspect", name))[0]
    assert seen["Id"] == done.metadata["containerimage.config.digest"]
    assert run(*dockerd, "run", "--rm", "--network=none", name) == "it runs\n"


@pytest.mark.peer
@pytest.mark.root
def test_docker_without_a_destination_goes_into_the_engine(
    exporters: Exporters, make_ref: Maker, dockerd: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", dockerd[-1])
    output = parse_output("type=docker")
    check([output])
    done = export(source_of(make_ref({"a": b"1"}), "piped:1", history=[]), output, exporters)
    seen = json.loads(run(*dockerd, "image", "inspect", "piped:1"))[0]
    assert seen["Id"] == done.metadata["containerimage.config.digest"]
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    with pytest.raises(StoreError, match="docker load failed: "):
        export(source_of(make_ref({"a": b"1"}), "piped:2"), output, exporters)


@pytest.mark.peer
@pytest.mark.root
def test_the_engine_knows_the_id_that_a_build_prints(dockerd: list[str], tmp_path: Path) -> None:
    """`docker inspect $(dockc build -q --load .)`."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\nCMD [\"/x\"]\n")
    environ = os.environ | {"DOCKER_HOST": dockerd[-1], "DOCKC_STORE": str(tmp_path / "store")}
    command = [sys.executable, "-m", "dockc", "build", "-q", "--load", "--iidfile", str(tmp_path / "id"), str(tmp_path)]
    printed = subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout.strip()
    assert printed == (tmp_path / "id").read_text()
    seen = json.loads(run(*dockerd, "inspect", printed))[0]
    assert (seen["Id"], seen["Config"]["Cmd"]) == (printed, ["/x"])


@pytest.mark.parametrize("kind", ["oci", "tar", "docker"])
def test_full_disk(exporters: Exporters, make_ref: Maker, kind: str) -> None:
    source = source_of(make_ref({"a": os.urandom(1 << 20)}))
    with pytest.raises(StoreError) as caught:
        export(source, parse_output(f"type={kind},dest=/dev/full"), exporters)
    assert caught.value.message == "cannot write /dev/full: No space left on device"


@pytest.mark.peer
def test_push(exporters: Exporters, make_ref: Maker, tmp_path: Path) -> None:
    skopeo = need("skopeo")
    with real_registry(tmp_path) as registry:
        source = source_of(make_ref({"p": b"pushed"}), f"{registry}/a/b:1", f"{registry}/a/c")
        done = export(source, parse_output("type=registry,oci-mediatypes=false"), exporters)
        assert done.metadata["image.name"] == f"{registry}/a/b:1,{registry}/a/c:latest"
        for name in ("a/b:1", "a/c:latest"):
            raw = run(skopeo, "inspect", "--raw", "--tls-verify=false", f"docker://{registry}/{name}")
            assert digests.from_bytes(raw.encode()) == done.metadata["containerimage.digest"]
            assert json.loads(raw)["mediaType"] == mt.DOCKER_MANIFEST
        by_digest = export(
            source_of(make_ref({"q": b""}), f"{registry}/x"),
            parse_output("type=image,push=true,push-by-digest=true"),
            exporters,
        )
        tags = subprocess.run(
            [skopeo, "list-tags", "--tls-verify=false", f"docker://{registry}/x"], capture_output=True, check=False
        )
        assert by_digest.metadata["containerimage.digest"] and b'"latest"' not in tags.stdout


def test_names_are_told_as_they_were_written(exporters: Exporters, make_ref: Maker) -> None:
    source = source_of(make_ref({"a": b""}), "one")
    assert export(source, parse_output("type=image"), exporters).metadata["image.name"] == "docker.io/library/one:latest"
    named = export(source, parse_output('type=image,"name=foo,bar:1",dangling-name-prefix=zz'), exporters).metadata
    assert named["image.name"] == f"foo,bar:1,zz@{named['containerimage.digest']}"


def test_a_tag_cannot_be_pushed_by_digest(exporters: Exporters, make_ref: Maker) -> None:
    source = source_of(make_ref({"a": b""}))
    with pytest.raises(DockcError, match=r"^failed to push localhost:1/x:1: can't push tagged ref localhost:1/x:1 by digest$"):
        export(source, parse_output("type=image,push=true,push-by-digest=true,name=localhost:1/x:1"), exporters)


def test_a_name_by_digest_is_noted_whole(exporters: Exporters, make_ref: Maker, tmp_path: Path) -> None:
    name = "docker.io/library/foo@sha256:" + "0" * 64
    for given, noted in ((name, name), ("foo:2", "2")):
        export(source_of(make_ref({"a": b""})), parse_output(f"type=oci,dest={tmp_path}/x.tar,name={given}"), exporters)
        with tarfile.open(tmp_path / "x.tar") as archive:
            index = json.load(archive.extractfile("index.json") or pytest.fail("no index"))
        assert index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] == noted


def test_several_platforms_make_an_index(exporters: Exporters, make_ref: Maker, tmp_path: Path) -> None:
    results = (
        PlatformResult(AMD64, make_ref({"a": b"1"}), config_for(AMD64)),
        PlatformResult(ARM, make_ref({"a": b"2"}), config_for(ARM)),
    )
    output = parse_output(
        f"type=oci,dest={tmp_path}/m.tar,annotation-index.i=1,annotation-manifest[linux/arm64/v8].m=2,"
        "annotation-manifest-descriptor.d=3"
    )
    # The platform of a result is normalised in the index, its name for annotations is as asked for.
    done = export(ExportSource(results, multi=True), output, exporters)
    index = manifests.parse(exporters.content.read(done.metadata["containerimage.digest"]))
    assert isinstance(index, Index)
    assert [str(entry.platform) for entry in index.manifests] == ["linux/amd64", "linux/arm64"]
    assert index.annotations == {"i": "1"} and index.manifests[0].annotations == {"d": "3"}
    second = manifests.parse(exporters.content.read(index.manifests[1].digest))
    assert second.annotations == {"m": "2"}
    assert "containerimage.config.digest" not in done.metadata
    with pytest.raises(DockcError, match="does not currently support exporting manifest lists"):
        export(ExportSource(results, multi=True), parse_output(f"type=docker,dest={tmp_path}/x"), exporters)
    with pytest.raises(DockcError, match="cannot export multiple platforms"):
        export(ExportSource(results), parse_output(f"type=oci,dest={tmp_path}/x"), exporters)
    assert not (tmp_path / "x").exists()


def test_wrong_annotations(exporters: Exporters, make_ref: Maker, tmp_path: Path) -> None:
    source = source_of(make_ref({"a": b""}))
    one = parse_output(f"type=oci,dest={tmp_path}/x,annotation[linux/s390x].a=b")
    export(source, one, exporters)  # as in BuildKit: the only image of a build answers to any platform
    with pytest.raises(DockcError, match=r"invalid annotation: no platform linux/s390x found in source"):
        export(ExportSource(source.results, multi=True), one, exporters)
    with pytest.raises(DockcError, match="index annotations not supported for single platform export"):
        export(source, parse_output(f"type=oci,dest={tmp_path}/x,annotation-index.a=b"), exporters)


def test_empty_image(exporters: Exporters, tmp_path: Path) -> None:
    source = ExportSource((PlatformResult(AMD64, None),))
    done = export(source, parse_output(f"type=docker,dest={tmp_path}/e.tar"), exporters)
    config = json.loads(exporters.content.read(done.metadata["containerimage.config.digest"]))
    assert config["config"]["WorkingDir"] == "/" and config["rootfs"]["diff_ids"] == []
    with tarfile.open(tmp_path / "e.tar") as archive:
        listed = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest"))
    assert listed[0]["Layers"] in (None, []) and listed[0]["RepoTags"] is None


def test_equal_epochs_make_equal_archives(exporters: Exporters, make_ref: Maker, tmp_path: Path) -> None:
    ref = make_ref({"a": b"1"})
    result = replace(source_of(ref, "a").results[0], epoch=1_000_000_000)
    for name in ("one", "two"):
        export(ExportSource((result,), names=("a",)), parse_output(f"type=oci,dest={tmp_path}/{name}"), exporters)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(tmp_path / "one") as archive:
        index = json.load(archive.extractfile("index.json") or pytest.fail("no index"))
    created = index["manifests"][0]["annotations"]["org.opencontainers.image.created"]
    assert created == "2001-09-09T01:46:40Z"


def test_metadata_file(exporters: Exporters, make_ref: Maker, tmp_path: Path) -> None:
    done = export(source_of(make_ref({"a": b"1"}), "n:1"), parse_output(f"type=oci,dest={tmp_path}/o"), exporters)
    written = json.loads(metadata_file([done]))
    assert list(written) == [
        "containerimage.config.digest",
        "containerimage.descriptor",
        "containerimage.digest",
        "image.name",
    ]
    assert written["containerimage.descriptor"]["digest"] == written["containerimage.digest"]
    assert (
        json.loads(base64.b64decode(done.metadata["containerimage.descriptor"])) == written["containerimage.descriptor"]
    )
    assert written["image.name"] == "docker.io/library/n:1"


def test_a_damaged_blob_is_made_anew(exporters: Exporters, make_ref: Maker, tmp_path: Path, refs: RefManager) -> None:
    ref = make_ref({"a": b"1"})
    blob = ref.remote().layers[0].descriptor
    path = refs.content.path(blob.digest)
    path.chmod(0o644)
    path.write_bytes(b"\0" * blob.size)
    export(source_of(ref), parse_output(f"type=oci,dest={tmp_path}/o.tar"), exporters)
    with tarfile.open(tmp_path / "o.tar") as archive:
        blobs = {Path(one.name).name: one for one in archive.getmembers() if one.name.startswith("blobs/sha256/") and one.isfile()}
        for name, member in blobs.items():
            stream = archive.extractfile(member)
            assert stream is not None
            assert hashlib.sha256(stream.read()).hexdigest() == name
    assert len(blobs) == 3



def test_destinations_are_checked_before_the_build(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dir").mkdir()
    for text, message in [
        (f"type=oci,dest={tmp_path}/dir", f"destination file {tmp_path}/dir is a directory"),
        (f"type=local,dest={tmp_path}/file", f"destination directory {tmp_path}/file is a file"),
        ("type=registry", "tag is needed when pushing to registry"),
    ]:
        with pytest.raises(DockcError) as caught:
            check([parse_output(text)])
        assert caught.value.message == message
    check([parse_output(f"type=oci,dest={tmp_path}/new"), parse_output("type=registry")], ["a"])
