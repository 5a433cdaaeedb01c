"""Real and broken registries on loopback, and small images to put into them; used by several test folders."""

from __future__ import annotations

import base64
import gzip
import http.server
import io
import json
import os
import random
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dockc.golang.text import dump_json
from dockc.oci import config as configs
from dockc.oci import digest as digests
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import Descriptor, platform_to_json
from dockc.oci.manifest import Index, Manifest
from dockc.oci.platform import Platform
from dockc.runtime.content.store import ContentStore

USER, PASSWORD = "ali", "open sesame"
_BCRYPT = "$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW"
AMD64 = Platform("linux", "amd64")
#: From this port on the kernel chooses by itself.
_EPHEMERAL = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def need(program: str) -> str:
    """Path of a program, also where an ordinary user does not look, or the test is skipped."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def free_port() -> int:
    """A port of loopback that nobody listens on, and that the kernel gives to nobody else meanwhile: connections and
    sockets without a number get theirs above.
    """
    while True:
        port = random.randrange(10_000, _EPHEMERAL)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"registry ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("registry did not open its port")


@contextmanager
def real_registry(folder: Path, *, auth: str = "") -> Iterator[str]:
    """Debian's docker-registry on a free port; yields `127.0.0.1:port`.

    Args:
        folder: where its storage and configuration go.
        auth: "" for none, "htpasswd" for basic, or YAML text of an `auth:` section.
    """
    program = need("docker-registry")
    port = free_port()
    section = auth
    if auth == "htpasswd":
        (folder / "htpasswd").write_text(f"{USER}:{_BCRYPT}\n")
        section = f"auth:\n  htpasswd:\n    realm: tests\n    path: {folder}/htpasswd\n"
    (folder / "registry.yml").write_text(
        f"version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {folder}/data\n"
        f"http:\n  addr: 127.0.0.1:{port}\n{section}"
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", folder / "registry.yml"], stdout=log, stderr=log)
        try:
            wait_for_port(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


# --- images -------------------------------------------------------------------------------------------


def layer_tar(files: Mapping[str, bytes | None], *, mtime: int = 1) -> bytes:
    """A tar of the given files; None makes a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.mtime = mtime
            if data is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            else:
                entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data or b""))
    return buffer.getvalue()


@dataclass
class Image:
    """A small image whose blobs are in a content store."""

    root: Descriptor
    config: Descriptor
    layers: list[Descriptor]
    diff_ids: list[str]
    manifest: bytes


def make_image(
    store: ContentStore,
    layers: list[Mapping[str, bytes | None]],
    *,
    platform: Platform = AMD64,
    docker: bool = False,
    config: Mapping[str, Any] | None = None,
) -> Image:
    """Write an image of these layers into a store."""
    descriptors, diff_ids = [], []
    for files in layers:
        raw = layer_tar(files)
        packed = gzip.compress(raw, mtime=0)
        diff_ids.append(digests.from_bytes(raw))
        kind = mt.DOCKER_LAYER_GZIP if docker else mt.OCI_LAYER_GZIP
        descriptors.append(Descriptor(kind, store.put(packed), len(packed)))
    document = {
        **platform_to_json(platform),
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    data = dump_json(document)
    config_kind = mt.DOCKER_CONFIG if docker else mt.OCI_CONFIG
    config_descriptor = Descriptor(config_kind, store.put(data), len(data))
    kind = mt.DOCKER_MANIFEST if docker else mt.OCI_MANIFEST
    body = Manifest(kind, config_descriptor, tuple(descriptors)).marshal()
    root = Descriptor(kind, store.put(body), len(body), platform=platform)
    assert configs.ImageConfig.parse(data).diff_ids == tuple(diff_ids)
    return Image(root, config_descriptor, descriptors, diff_ids, body)


def make_index(store: ContentStore, *images: Image) -> Descriptor:
    """An index over images."""
    data = Index(mt.OCI_INDEX, tuple(image.root for image in images)).marshal()
    return Descriptor(mt.OCI_INDEX, store.put(data), len(data))


def write_layout(store: ContentStore, root: Descriptor, name: str = "") -> Path:
    """Make the store's folder a complete OCI layout with one entry."""
    annotations = {"org.opencontainers.image.ref.name": name} if name else {}
    entry = Descriptor(root.media_type, root.digest, root.size, annotations=annotations)
    (store.root / "index.json").write_bytes(Index(mt.OCI_INDEX, (entry,)).marshal())
    return store.root


# --- scripted servers ---------------------------------------------------------------------------------


@dataclass
class Seen:
    """One request as a scripted server saw it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What a scripted server says; `cut` bytes of the body are sent before the connection is closed."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    delay: float = 0.0


def _headers(reply: Answer) -> dict[str, str]:
    """What the answer says of itself; names are alike in any case, so a proxied answer's own length is the one that counts."""
    told = {name.title(): value for name, value in reply.headers.items()}
    return {"Content-Length": str(len(reply.body)), **told}


class Script:
    """A server whose answers a function chooses; every request is recorded."""

    def __init__(self, answer: Callable[[Seen], Answer]) -> None:
        self.answer = answer
        self.seen: list[Seen] = []
        script = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                parts = urlsplit(self.path)
                headers = {key.lower(): value for key, value in self.headers.items()}
                seen = Seen(self.command, parts.path, parts.query, headers, self.rfile.read(size))
                script.seen.append(seen)
                reply = script.answer(seen)
                time.sleep(reply.delay)
                self.send_response(reply.status)
                for key, value in _headers(reply).items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "HEAD":
                    return
                self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
                if reply.cut is not None:
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

            def log_message(self, *_: object) -> None:
                return

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.address}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Script:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def paths(self, method: str = "GET") -> list[str]:
        """Paths asked for with a method, in order."""
        return [seen.path for seen in self.seen if seen.method == method]


def serve_image(store: ContentStore, image: Image, tag: str = "latest") -> Callable[[Seen], Answer]:
    """Answers of an honest registry that holds one image."""

    def answer(seen: Seen) -> Answer:
        kind, _, name = seen.path.rpartition("/")
        if kind.endswith("/manifests"):
            if name not in (tag, image.root.digest):
                return Answer(404, error_body("MANIFEST_UNKNOWN", "manifest unknown"))
            headers = {"Content-Type": image.root.media_type, "Docker-Content-Digest": image.root.digest}
            return Answer(200, image.manifest, headers)
        if kind.endswith("/blobs") and digests.is_valid(name) and store.has(name):
            data = store.read(name, 64 << 20)
            wanted = seen.headers.get("range", "")
            if wanted:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                place = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
                return Answer(206, data[start:], place)
            return Answer(200, data)
        return Answer(404, error_body("UNKNOWN", "no"))

    return answer


def error_body(code: str, message: str) -> bytes:
    """The JSON of a refusal."""
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


class TokenServer:
    """A registry that wants bearer tokens and the server that gives them out."""

    def __init__(self, store: ContentStore, *, user: str = "", expires: int = 300) -> None:
        self.image = make_image(store, [{"t": b"token"}])
        self._honest = serve_image(store, self.image)
        self._user = user
        self._expires = expires
        self.valid: set[str] = set()
        self.given = 0
        self.script = Script(self.answer)

    def answer(self, seen: Seen) -> Answer:
        if seen.path == "/token":
            return self.token(seen)
        held = seen.headers.get("authorization", "").removeprefix("Bearer ")
        if held not in self.valid:
            header = f'Bearer realm="{self.script.url}/token",service="tests"'
            return Answer(401, headers={"WWW-Authenticate": header})
        return self._honest(seen)

    def token(self, seen: Seen) -> Answer:
        if self._user:
            basic = base64.b64encode(self._user.encode()).decode()
            refreshed = seen.method == "POST" and parse_qs(seen.body.decode()).get("refresh_token") == [self._user]
            if seen.headers.get("authorization") != f"Basic {basic}" and not refreshed:
                return Answer(401)
        self.given += 1
        self.valid = {f"t{self.given}"}
        name = "access_token" if seen.method == "POST" else "token"
        return Answer(200, json.dumps({name: f"t{self.given}", "expires_in": self._expires}).encode())
