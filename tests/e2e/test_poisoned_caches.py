"""Caches that somebody has tampered with: what is no layer, or another than was said, is not used, and no build fails because of it.

A cache may say that a step made other files than it did: that is believed, as in BuildKit, of who may write the cache. Everything else is found out, whether
the build that imports the cache unpacks the layer, or a later one does, or an export packs it otherwise.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Dockc, MakeContext
from tests.e2e.test_caches import _ran

DOCKERFILE = "FROM base\nCOPY a.txt /a\nRUN mkdir -p /d && cat /a > /d/two\nRUN cat /a /d/two > /three\n"
STEPS = 3
UNCOMPRESSED = "containerd.io/uncompressed"


def archive(*members: tuple[str, bytes, str], data: bytes = b"x") -> bytes:
    """A tar of members: name, type, target of a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, target in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, target, len(data) if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(data) if entry.size else None)
    return out.getvalue()


FILE, LINK = tarfile.REGTYPE, tarfile.LNKTYPE
FINE = archive(("f", FILE, ""))
OTHER = "sha256:" + "1" * 64
POISON: dict[str, tuple[bytes, str]] = {
    "another diff id": (gzip.compress(FINE), OTHER),
    "a path out of the root": (gzip.compress(archive(("../../../../../../../tmp/dockc-escaped", FILE, ""))), ""),
    "a hard link out of the root": (gzip.compress(archive(("h", LINK, "../../../../../../etc/passwd"))), ""),
    "a hard link to what is not there": (gzip.compress(archive(("h", LINK, "/nowhere"))), ""),
    "a whiteout of the root": (gzip.compress(archive((".wh..", FILE, ""))), ""),
    "a whiteout out of the root": (gzip.compress(archive(("../.wh.tmp", FILE, ""))), ""),
    "no archive": (gzip.compress(b"hello" * 1000), ""),
    "cut off": (gzip.compress(FINE)[:-9], OTHER),
    "more behind its end": (gzip.compress(FINE) + b"garbage" * 50, ""),
    "a bomb": (gzip.compress(bytes(64 << 20), 1), OTHER),
    "not what its type says": (b"BZh91AY&SY", OTHER),
}
"""Blobs, and their diff ids where they are not those of what is in them."""


def poisoned(folder: Path, blob: bytes, diff_id: str) -> Path:
    """The cache with this blob in the place of each of its layers; they differ in what gzip says of its file."""

    def put(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (folder / "blobs/sha256" / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def read(digest: str) -> Any:
        return json.loads((folder / "blobs" / digest.replace(":", "/")).read_bytes())

    index = json.loads((folder / "index.json").read_text())
    manifest = read(index["manifests"][0]["digest"])
    config = read(manifest["config"]["digest"])
    try:
        inside = "sha256:" + hashlib.sha256(gzip.decompress(blob)).hexdigest()
    except (OSError, EOFError):
        inside = OTHER
    for number, layer in enumerate(manifest["layers"]):
        marked = blob[:4] + bytes([number + 1]) + blob[5:] if blob[:2] == b"\x1f\x8b" else blob + bytes([number])
        for known in config["layers"]:
            if known["blob"] == layer["digest"]:
                known["blob"] = "sha256:" + hashlib.sha256(marked).hexdigest()
        layer |= put(marked)
        layer["annotations"][UNCOMPRESSED] = diff_id or inside
    manifest["config"] |= put(json.dumps(config).encode())
    index["manifests"][0] |= put(json.dumps(manifest).encode())
    (folder / "index.json").write_text(json.dumps(index))
    return folder


class Case:
    """A cache, the context that it is of, and stores that have nothing."""

    def __init__(self, root: Dockc, files: Path, base: Path, tmp_path: Path) -> None:
        self.files, self.base, self.top = files, base, tmp_path
        self.build(root, f"--cache-to=type=local,dest={tmp_path}/cache,mode=max,ignore-error=false", "-o", f"type=local,dest={tmp_path}/right")

    def build(self, dockc: Dockc, *args: object) -> str:
        return dockc.build(self.files, "--build-context", f"base=oci-layout://{self.base}", *args)

    def poisoned(self, name: str) -> Path:
        return poisoned(Path(shutil.copytree(self.top / "cache", self.top / "poisoned")), *POISON[name])

    def sound(self, dockc: Dockc) -> None:
        assert dockc.run("doctor").stdout.strip().endswith("healthy")
        assert not Path("/tmp/dockc-escaped").exists()


@pytest.fixture
def case(root: Dockc, context: MakeContext, base: Path, tmp_path: Path) -> Case:
    return Case(root, context(DOCKERFILE, **{"a.txt": "A\n"}), base, tmp_path)


@pytest.mark.parametrize("name", POISON)
def test_what_is_no_layer_is_not_used(case: Case, name: str) -> None:
    other = Dockc(case.top / "other", case.top)
    shown = case.build(other, f"--cache-from=type=local,src={case.poisoned(name)}", "-o", f"type=local,dest={case.top}/out")
    assert _ran(shown) == (STEPS, 0), shown
    assert "building again without imported caches" in shown
    assert "Traceback" not in shown
    assert (case.top / "out/three").read_bytes() == (case.top / "right/three").read_bytes() == b"A\nA\n"
    case.sound(other)


EARLIER: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "took nothing": lambda top: ("-o", "type=cacheonly"),
    "took the blobs as they were": lambda top: ("-o", f"type=oci,dest={top}/as-it-was.tar"),
}


@pytest.mark.parametrize("earlier", EARLIER)
@pytest.mark.parametrize("gone", [False, True])
def test_nor_is_it_by_a_build_that_comes_later(case: Case, earlier: str, gone: bool) -> None:
    """It reads no cache itself, and what the earlier one has read may not be there any more."""
    other = Dockc(case.top / "other", case.top)
    folder = case.poisoned("another diff id")
    case.build(other, f"--cache-from=type=local,src={folder}", *EARLIER[earlier](case.top))
    if gone:
        shutil.rmtree(folder)
    shown = case.build(other, "-o", f"type=local,dest={case.top}/out")
    assert _ran(shown) == (STEPS, 0), shown
    assert (case.top / "out/three").read_bytes() == b"A\nA\n"
    case.sound(other)


@pytest.mark.parametrize("kind", ["", "x/y\r\nX: 1", "application/vnd.oci.image.manifest.v1+json", "application/vnd.in-toto+json"])
def test_what_does_not_say_that_it_is_a_layer_is_none(case: Case, kind: str) -> None:
    """It would stand so in the image, and an export would take it for a manifest."""
    folder = Path(shutil.copytree(case.top / "cache", case.top / "poisoned"))
    index = json.loads((folder / "index.json").read_text())
    manifest = json.loads((folder / "blobs" / index["manifests"][0]["digest"].replace(":", "/")).read_bytes())
    for layer in manifest["layers"]:
        layer["mediaType"] = kind
    data = json.dumps(manifest).encode()
    digest = hashlib.sha256(data).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(data)
    index["manifests"][0] |= {"digest": f"sha256:{digest}", "size": len(data)}
    (folder / "index.json").write_text(json.dumps(index))
    other = Dockc(case.top / "other", case.top)
    shown = case.build(other, f"--cache-from=type=local,src={folder}", "-o", f"type=oci,dest={case.top}/image.tar")
    assert _ran(shown) == (STEPS, 0), shown
    case.sound(other)


def test_nor_is_it_packed_otherwise(case: Case) -> None:
    other = Dockc(case.top / "other", case.top)
    entry = f"--cache-from=type=local,src={case.poisoned('another diff id')}"
    shown = case.build(other, entry, "-o", f"type=oci,dest={case.top}/image.tar,compression=zstd,force-compression=true")
    assert _ran(shown) == (STEPS, 0), shown
    case.sound(other)


def test_a_base_image_that_is_broken_is_told(case: Case) -> None:
    """Nobody can do without: the build fails, once and by its own words."""
    image = Path(shutil.copytree(case.base, case.top / "broken"))
    index = json.loads((image / "index.json").read_text())
    manifest = json.loads((image / "blobs" / index["manifests"][0]["digest"].replace(":", "/")).read_bytes())
    config = json.loads((image / "blobs" / manifest["config"]["digest"].replace(":", "/")).read_bytes())
    config["rootfs"]["diff_ids"] = [OTHER] * len(config["rootfs"]["diff_ids"])
    data = json.dumps(config).encode()
    digest = hashlib.sha256(data).hexdigest()
    (image / "blobs/sha256" / digest).write_bytes(data)
    manifest["config"] |= {"digest": f"sha256:{digest}", "size": len(data)}
    data = json.dumps(manifest).encode()
    digest = hashlib.sha256(data).hexdigest()
    (image / "blobs/sha256" / digest).write_bytes(data)
    index["manifests"][0] |= {"digest": f"sha256:{digest}", "size": len(data)}
    (image / "index.json").write_text(json.dumps(index))
    for other in (Dockc(case.top / "other", case.top),) * 2:
        shown = other.build(case.files, "--build-context", f"base=oci-layout://{image}", status=1)
        assert "unexpected digest" in shown
        assert "again without" not in shown
        assert "Traceback" not in shown
