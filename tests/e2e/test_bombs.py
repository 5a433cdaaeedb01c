"""Archives that would be more than the disk has, or more than anybody means, are refused by what they say."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockc.runtime.archive.compress import Compression, compress_bytes
from dockc.runtime.kernel import syscalls
from tests.e2e.conftest import Dockc, MakeContext
from tests.runtime.store_helpers import need_mounts


def header(name: str, size: int) -> bytes:
    """A tar member of any size, without the data."""
    field = f"{size:011o}\0".encode() if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    block = bytearray(512)
    block[0 : len(name)] = name.encode()
    block[100:108], block[108:116], block[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    block[124:136], block[136:148], block[156:157], block[257:265] = field, b"00000000000\0", b"0", b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


#: A file larger than any disk here, that begins; and one that the limit of a layer forbids.
HUGE = header("f", (256 << 30) - 1) + bytes(1 << 20)
BEYOND = header("f", 1 << 50) + bytes(1 << 20)
ZSTD: Callable[[bytes], bytes] = lambda data: compress_bytes(data, Compression("zstd"))  # noqa: E731


def free(path: Path) -> int:
    state = os.statvfs(path)
    return state.f_bfree * state.f_frsize


@pytest.fixture(autouse=True)
def _room(root: Dockc) -> Iterator[None]:
    """Where the disk would take it, the store gets a small one of its own."""
    if free(root.home) <= 255 << 30:
        yield
        return
    need_mounts()
    root.store.mkdir()
    syscalls.mount("tmpfs", str(root.store), "tmpfs", 0, "size=2g,mode=700")
    try:
        yield
    finally:
        syscalls.umount(str(root.store), syscalls.MNT_DETACH)


def layout(folder: Path, blob: bytes, kind: str) -> Path:
    """An image with one layer, compressed."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{media}", "digest": f"sha256:{digest}", "size": len(data)}

    layer = put(blob, f"layer.v1.tar+{kind}")
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}
    manifest = {"schemaVersion": 2, "config": put(json.dumps(config).encode(), "config.v1+json"), "layers": [layer]}
    index = put(json.dumps(manifest).encode(), "manifest.v1+json")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [index]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@pytest.mark.parametrize(("pack", "kind"), [(gzip.compress, "gzip"), (ZSTD, "zstd")])
def test_layers(root: Dockc, context: MakeContext, tmp_path: Path, pack: Callable[[bytes], bytes], kind: str) -> None:
    folder = context("FROM bomb\nCOPY Dockerfile /\n")
    for name, data, said in (("huge", HUGE, "the disk of the store "), ("beyond", BEYOND, "a layer of more than 274877906944 bytes")):
        image = layout(tmp_path / name, pack(data), kind)
        before = free(root.store.parent), free(root.store) if root.store.exists() else 0
        shown = root.build(folder, "--build-context", f"bomb=oci-layout://{image}", status=1)
        assert said in shown and "Traceback" not in shown
        after = free(root.store.parent), free(root.store)
        assert max(b - a for b, a in zip(before, after, strict=True)) < 1 << 30, "nothing of it was written"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    bomb = gzip.compress(HUGE)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(bomb)))
            self.end_headers()
            self.wfile.write(bomb)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_contexts_and_added_archives(root: Dockc, context: MakeContext, served: str) -> None:
    folder = context("FROM scratch\nADD bomb.tar /\n")
    for bomb, said in ((HUGE, "no space left on device"), (BEYOND, "more than 274877906944 bytes or 8000000 entries")):
        for pack in (gzip.compress, ZSTD):
            (folder / "bomb.tar").write_bytes(pack(bomb))
            shown = root.build(folder, status=1)
            assert said in shown and "Traceback" not in shown
    shown = root.build(f"{served}/c.tar.gz", status=1)
    assert "no space left on device" in shown or "unexpected end" in shown
    done = subprocess.run(
        root.argv("build", "--progress=plain", "-"), input=gzip.compress(HUGE), env=root.environ(), cwd=root.home, capture_output=True, check=False, timeout=100
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
