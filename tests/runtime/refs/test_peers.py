"""Layers that umoci makes are understood as umoci does, and umoci understands ours."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dockc.oci import digest as digests
from dockc.oci.descriptor import Descriptor
from dockc.runtime.archive.compress import Compression
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.ref import ImmutableRef
from dockc.runtime.refs.types import LayerDescriptor, RemoteOptions
from tests.runtime.refs.test_refs import step
from tests.runtime.store_helpers import Entry, Row, folder, hardlink, layer, make_tar, symlink, tree

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="owners need uid 0"),
]


def umoci(*arguments: str | Path) -> None:
    subprocess.run(["umoci", "--log=error", *arguments], check=True)


def comparable(root: Path) -> dict[str, Entry]:
    """The tree without the root, which umoci gives a time of its own."""
    found = tree(root)
    found.pop(".")
    return found


def layout_of(refs: RefManager, ref: ImmutableRef, place: Path, compression: Compression) -> None:
    """An OCI layout with an image `it` of the ref's layers."""
    remote = ref.remote(RemoteOptions(compression))
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for descriptor in remote.descriptors:
        shutil.copy(refs.content.path(descriptor.digest), blobs / digests.encoded(descriptor.digest))

    def blob(value: object, media_type: str) -> dict[str, object]:
        data = json.dumps(value).encode()
        digest = digests.from_bytes(data)
        (blobs / digests.encoded(digest)).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    rootfs = {"type": "layers", "diff_ids": list(remote.diff_ids)}
    config = blob(
        {"architecture": "amd64", "os": "linux", "rootfs": rootfs}, "application/vnd.oci.image.config.v1+json"
    )
    kind = "application/vnd.oci.image.manifest.v1+json"
    layers = [descriptor.to_json() for descriptor in remote.descriptors]
    manifest = blob({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}, kind)
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "it"}
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (place / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def layers_of(layout: Path, tag: str, refs: RefManager) -> list[LayerDescriptor]:
    """The layers of a tagged image, put into the store."""

    def load(digest: str) -> dict[str, Any]:
        return dict(json.loads((layout / "blobs" / digest.replace(":", "/")).read_text()))

    index = json.loads((layout / "index.json").read_text())
    (found,) = [m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == tag]
    manifest = load(found["digest"])
    diff_ids = load(manifest["config"]["digest"])["rootfs"]["diff_ids"]
    out = []
    for diff_id, item in zip(diff_ids, manifest["layers"], strict=True):
        refs.content.put((layout / "blobs" / item["digest"].replace(":", "/")).read_bytes(), item["digest"])
        out.append(LayerDescriptor(diff_id, Descriptor(item["mediaType"], item["digest"], item["size"])))
    return out


def random_change(rng: random.Random, root: Path) -> None:
    """Some files made, changed, linked, removed, given away, each at a whole second."""
    for _ in range(25):
        path = root / "/".join(rng.choice("abcdef") for _ in range(rng.randrange(1, 4)))
        other = root / rng.choice("abcdef")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            match rng.randrange(8):
                case 0 | 1:
                    path.write_bytes(rng.randbytes(rng.randrange(3000)))
                    path.chmod(rng.choice([0o644, 0o4755, 0o600]))
                case 2:
                    path.symlink_to(rng.choice(["a", "/b", "../c"]))
                case 3:
                    path.hardlink_to(other)
                case 4:
                    shutil.rmtree(path)
                case 5:
                    path.unlink()
                case 6:
                    os.lchown(path, rng.randrange(70000), 7)
                case 7:
                    shutil.rmtree(path)
                    path.mkdir(mode=0o751)
        except OSError:
            pass
    for place, names, files in os.walk(root):
        for name in [*names, *files]:
            when = rng.randrange(10**9)
            os.utime(Path(place, name), (when, when), follow_symlinks=False)


def test_a_hand_made_image_unpacks_alike(refs: RefManager, tmp_path: Path) -> None:
    image = refs.from_layers(
        [
            layer(
                refs,
                make_tar(
                    [
                        folder("usr", uid=1),
                        folder("usr/lib", 0o711),
                        Row("usr/lib/x", b"x" * 5000, mode=0o4755, uid=5, gid=6),
                        hardlink("usr/hard", "usr/lib/x"),
                        symlink("usr/link", "lib/../../../x"),
                        folder("gone"),
                        Row("gone/f"),
                        folder("opaque"),
                        Row("opaque/old"),
                        folder("keep"),
                        Row("keep/1"),
                        Row("ünï" + "n" * 120, pax={"SCHILY.xattr.user.a": "b"}),
                    ]
                ),
            ),
            layer(
                refs,
                make_tar(
                    [
                        Row(".wh.gone"),
                        folder("opaque"),
                        Row("opaque/.wh..wh..opq"),
                        Row("opaque/new"),
                        folder("usr"),
                        folder("usr/lib", 0o755),
                        Row("usr/lib/y", b"y"),
                        folder("keep"),
                        Row("keep/.wh.1"),
                    ]
                ),
                Compression("gzip"),
            ),
        ]
    )
    layout_of(refs, image, tmp_path / "layout", Compression())
    umoci("unpack", "--image", f"{tmp_path}/layout:it", tmp_path / "bundle")
    with image.mount() as root:
        assert comparable(root) == comparable(tmp_path / "bundle/rootfs")


@pytest.mark.parametrize("seed", range(3))
def test_our_layers_in_umoci(refs: RefManager, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    ref: ImmutableRef | None = None
    for _ in range(4):
        ref = step(refs, ref, lambda root: random_change(rng, root))
    assert ref is not None
    layout_of(refs, ref, tmp_path / "layout", Compression("gzip"))
    umoci("unpack", "--image", f"{tmp_path}/layout:it", tmp_path / "bundle")
    with ref.mount() as root:
        ours, theirs = comparable(root), comparable(tmp_path / "bundle/rootfs")
        assert {k: _loose(v) for k, v in ours.items()} == {k: _loose(v) for k, v in theirs.items()}


def _loose(entry: Entry) -> Entry:
    """Overlayfs without an index lets names of one lower file go apart when one is written; times of parents
    whose change nobody recorded differ as well."""
    return dataclasses.replace(entry, same_as="", mtime=0 if entry.kind == "d" else entry.mtime)


@pytest.mark.parametrize("seed", range(3))
def test_layers_of_umoci_in_ours(refs: RefManager, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    umoci("init", "--layout", tmp_path / "layout")
    umoci("new", "--image", f"{tmp_path}/layout:v0")
    for number in range(3):
        bundle = tmp_path / f"bundle{number}"
        umoci("unpack", "--image", f"{tmp_path}/layout:v{number}", bundle)
        random_change(rng, bundle / "rootfs")
        umoci("repack", "--image", f"{tmp_path}/layout:v{number + 1}", bundle)
    umoci("unpack", "--image", f"{tmp_path}/layout:v3", tmp_path / "end")
    with refs.from_layers(layers_of(tmp_path / "layout", "v3", refs)).mount() as root:
        ours, theirs = comparable(root), comparable(tmp_path / "end/rootfs")
        assert {k: _loose(v) for k, v in ours.items()} == {k: _loose(v) for k, v in theirs.items()}
