"""Caches that travel: written by one store, read by another, in every kind of place; and what becomes of broken ones."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

import pytest

from tests.e2e.conftest import Dockc, MakeContext
from tests.runtime.registry_servers import free_port, real_registry, wait_for_port

DOCKERFILE = """\
FROM base AS one
RUN echo one > /one
COPY a.txt /a.txt
RUN cat /a.txt > /copied
FROM base AS two
COPY --link b.txt /two/
RUN echo two > /made
FROM base
COPY --from=one /copied /copied
COPY --from=two /made /made
RUN cat /copied /made > /both
"""
STEPS = 9
FINAL = 3


@pytest.fixture
def files(context: MakeContext) -> Path:
    return context(DOCKERFILE, **{"a.txt": "A\n", "b.txt": "B\n"})


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def _ran(shown: str) -> tuple[int, int]:
    match = re.search(r"(\d+) steps? run, (\d+) cached", shown)
    assert match is not None, shown
    return int(match[1]), int(match[2])


def _other(dockc: Dockc, number: int = 2) -> Dockc:
    return Dockc(dockc.home / f"store{number}", dockc.home, dockc.prefix, dockc.python_path)


def _build(dockc: Dockc, files: Path, base: Path, *args: str, status: int = 0) -> str:
    return dockc.build(files, "--build-context", f"base=oci-layout://{base}", *args, status=status)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_directory(root: Dockc, files: Path, base: Path, tmp_path: Path, mode: str) -> None:
    assert _ran(_build(root, files, base, f"--cache-to=type=local,dest={tmp_path}/cache,mode={mode}")) == (STEPS, 0)
    shown = _build(_other(root), files, base, f"--cache-from=type=local,src={tmp_path}/cache", f"--output=type=oci,dest={tmp_path}/image.tar")
    assert _ran(shown)[0] == 0 if mode == "max" else _ran(shown)[0] <= STEPS - FINAL
    assert (tmp_path / "image.tar").stat().st_size > 1000
    layout = json.loads((tmp_path / "cache/index.json").read_text())
    assert layout["manifests"][0]["annotations"] == {"org.opencontainers.image.ref.name": "latest"}


def test_a_registry_and_what_changed(root: Dockc, files: Path, base: Path, registry: str) -> None:
    ref = f"{registry}/app/cache:one"
    _build(root, files, base, f"--cache-to=type=registry,ref={ref},mode=max")
    other = _other(root)
    (files / "b.txt").write_text("changed\n")
    ran, cached = _ran(_build(other, files, base, f"--cache-from={ref}"))
    assert 1 <= ran <= 3  # the copy itself, and what depends on it unless its result is the same
    assert cached >= STEPS - 3
    assert _ran(_build(other, files, base)) == (0, STEPS), "what was imported is kept"


@pytest.mark.parametrize("form", ["image-manifest=false", "image-manifest=false,oci-mediatypes=false", "compression=zstd,force-compression=true", "compression=uncompressed"])
def test_forms_of_the_manifest(root: Dockc, files: Path, base: Path, registry: str, form: str) -> None:
    ref = f"{registry}/app/cache:form"
    _build(root, files, base, f"--cache-to=type=registry,ref={ref},mode=max,{form}")
    assert _ran(_build(_other(root), files, base, f"--cache-from=type=registry,ref={ref}"))[0] == 0


@pytest.mark.parametrize("asked", ["--cache-to=type=inline", "--build-arg=BUILDKIT_INLINE_CACHE=1"])
def test_an_image_carries_its_cache(root: Dockc, files: Path, base: Path, registry: str, asked: str) -> None:
    name = f"{registry}/app/image:inline"
    _build(root, files, base, asked, "-t", name, "--push")
    ran, cached = _ran(_build(_other(root), files, base, f"--cache-from={name}"))
    assert cached >= FINAL
    assert ran <= STEPS - FINAL


def test_nothing_is_downloaded_that_nobody_needs(root: Dockc, files: Path, base: Path, registry: str) -> None:
    ref = f"{registry}/app/cache:lazy"
    _build(root, files, base, f"--cache-to=type=registry,ref={ref},mode=max")
    other = _other(root)
    before = {path.name for path in (other.store / "content/blobs/sha256").glob("*")} if other.store.exists() else set()
    _build(other, files, base, f"--cache-from={ref}", "--output=type=cacheonly")
    after = {path.name for path in (other.store / "content/blobs/sha256").glob("*")}
    archives = [path for path in after - before if (other.store / "content/blobs/sha256" / path).read_bytes()[:2] == b"\x1f\x8b"]
    assert archives == []


def test_equal_results_are_found_by_both_their_ways(root: Dockc, context: MakeContext, base: Path, tmp_path: Path) -> None:
    """Two steps that give the same file: what stands on it is one step, which the keys of either lead to."""
    files = context(
        "FROM base AS a\nRUN echo x > /o && touch -d @0 /o\n"
        "FROM base AS b\nRUN echo x > /o && sleep 0.3 && touch -d @0 /o\n"
        "FROM scratch AS one\nCOPY --from=a /o /o\n"
        "FROM scratch AS two\nCOPY --from=b /o /o\n"
        "FROM base\nCOPY --from=one / /1/\nCOPY --from=two / /2/\n"
    )
    _build(root, files, base, f"--cache-to=type=local,dest={tmp_path}/cache,mode=max")
    for target in ("one", "two"):
        other = _other(root, 2 + len(target))
        shown = _build(other, files, base, f"--cache-from=type=local,src={tmp_path}/cache", f"--target={target}")
        assert _ran(shown) == (0, 2), target
    assert _ran(_build(_other(root, 9), files, base, f"--cache-from=type=local,src={tmp_path}/cache"))[0] == 0


def test_local_caches_do_not_grow(root: Dockc, files: Path, base: Path, tmp_path: Path) -> None:
    sizes = []
    for number in range(3):
        (files / "a.txt").write_text(f"{number}\n" * 10)
        _build(root, files, base, f"--cache-to=type=local,dest={tmp_path}/cache,mode=max,gc=true")
        sizes.append(sum(1 for path in (tmp_path / "cache/blobs/sha256").iterdir()))
    assert sizes[2] <= sizes[0]
    assert _ran(_build(_other(root), files, base, f"--cache-from=type=local,src={tmp_path}/cache"))[0] == 0


# --- what is broken -----------------------------------------------------------------------------------


def test_a_cache_that_is_not_there_is_told(root: Dockc, files: Path, base: Path, registry: str, tmp_path: Path) -> None:
    port = free_port()
    for entry in (f"{registry}/no/such:cache", f"type=registry,ref=127.0.0.1:{port}/x", f"type=local,src={tmp_path}/nowhere,tag=x"):
        shown = _build(root, files, base, f"--cache-from={entry}", "--no-cache")
        assert _ran(shown)[0] == STEPS
    shown = _build(root, files, base, f"--cache-from={registry}/no/such:cache")
    assert "ERROR" in shown
    assert "is not used" in shown


def test_a_cache_that_cannot_be_written(root: Dockc, files: Path, base: Path) -> None:
    entry = f"type=registry,ref=127.0.0.1:{free_port()}/x"
    assert "error: failed to solve" in _build(root, files, base, f"--cache-to={entry},ignore-error=false", status=1)
    for said in ("", ",ignore-error=true"):
        assert "was not written" in _build(root, files, base, f"--cache-to={entry}{said}")


def test_a_poisoned_blob_is_not_used(root: Dockc, files: Path, base: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    _build(root, files, base, f"--cache-to=type=local,dest={cache},mode=max")
    for path in (cache / "blobs/sha256").iterdir():
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            path.chmod(0o644)
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    other = _other(root)
    shown = _build(other, files, base, f"--cache-from=type=local,src={cache}", f"--output=type=oci,dest={tmp_path}/i.tar")
    assert "building again without imported caches" in shown
    assert _ran(shown)[0] == STEPS
    assert _ran(_build(other, files, base)) == (0, STEPS)
    assert other.run("doctor").stdout.strip().endswith("healthy")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("type=nonsense,x=y", "unknown cache exporter"),
        ("type=registry", "ref is required"),
        ("type=local", "requires dest"),
        ("type=registry,ref=x/y,mode=all", "invalid mode"),
        ("type=registry,ref=x/y,colour=red", "unknown option colour"),
        ("type=registry,ref=x/y,image-manifest=true,oci-mediatypes=false", "OCI mediatypes are required"),
        ("type=registry,ref=x/y,ignore-error=perhaps", "expected true or false"),
        ("type=inline,mode=max", "mode=min only"),
        ("type=s3", "bucket ($AWS_BUCKET) not set"),
        ("type=s3,bucket=b,region=r,upload_parallelism=0", "must be a positive integer"),
        ("type=gha", "token not set"),
        ("type=azblob", "account_url attribute is required"),
    ],
)
def test_options_that_make_no_sense(root: Dockc, files: Path, entry: str, said: str) -> None:
    done = root.run("build", files, f"--cache-to={entry}", status=2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


# --- object stores ------------------------------------------------------------------------------------


@contextmanager
def _moto(folder: Path) -> Iterator[str]:
    """A real server of S3's protocol, on loopback."""
    pytest.importorskip("moto.server", reason="needs moto's server")
    port = free_port()
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:
            wait_for_port(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.filterwarnings("ignore")
def test_s3(root: Dockc, files: Path, base: Path, tmp_path: Path) -> None:
    with _moto(tmp_path) as endpoint:
        urlopen(Request(f"{endpoint}/bucket", method="PUT"), timeout=60).close()
        entry = f"type=s3,bucket=bucket,region=us-east-1,endpoint_url={endpoint},use_path_style=true,access_key_id=k,secret_access_key=topsecret"
        shown = _build(root, files, base, f"--cache-to={entry},mode=max,name=one;two,prefix=p/")
        again = _build(_other(root), files, base, f"--cache-from={entry},name=two,prefix=p/", f"--output=type=oci,dest={tmp_path}/image.tar")
        empty = _build(_other(root, 3), files, base, f"--cache-from={entry},name=never,prefix=p/")
    assert _ran(again)[0] == 0
    assert _ran(empty)[0] == STEPS
    assert "topsecret" not in shown + again


class _Actions(BaseHTTPRequestHandler):
    """The part of the Actions cache's service (version 2) that a cache needs: entries that cannot be changed, found by prefix."""

    entries: ClassVar[dict[str, tuple[float, bytes]]] = {}
    open: ClassVar[dict[str, bytes]] = {}
    numbers: ClassVar[list[str]] = []

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        if "/artifactcache/" in self.path:
            self._first(f"POST {self.path.partition('/artifactcache/')[2]}")
            return
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        method = self.path.rpartition("/")[2]
        here = f"http://{self.headers['host']}"  # whoever stands between is asked again
        found: dict[str, object] = {"ok": False}
        status = 200
        if not self.headers.get("authorization", "").startswith("Bearer "):
            status = 401
        elif method == "CreateCacheEntry":
            if asked["key"] in self.entries or asked["key"] in self.open:
                status = 409
            else:
                self.open[asked["key"]] = b""
                found = {"ok": True, "signed_upload_url": f"{here}/{asked['key'].replace('#', '%23')}?sig=1"}
        elif method == "FinalizeCacheEntryUpload":
            data = self.open.pop(asked["key"])
            assert len(data) == asked["size_bytes"]
            self.entries[asked["key"]] = (time.monotonic(), data)
            found = {"ok": True, "entry_id": "1"}
        elif method == "GetCacheEntryDownloadURL":
            matches = [key for prefix in (asked["key"], *asked["restore_keys"]) for key in self.entries if key.startswith(prefix)]
            if matches:
                key = max(matches, key=lambda one: self.entries[one][0])
                found = {"ok": True, "signed_download_url": f"{here}/{key.replace('#', '%23')}?sig=1", "matched_key": key}
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _say(self, status: int, document: object = None) -> None:
        data = json.dumps(document).encode() if document is not None else b""
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _first(self, asked: str) -> None:
        """Version 1: entries have numbers until they are finished."""
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        assert isinstance(self.server, ThreadingHTTPServer)
        keys = list(self.numbers)
        if asked.startswith("GET cache?"):
            key = parse_qs(asked.partition("?")[2])["keys"][0]
            matches = [one for one in self.entries if one.startswith(key)]
            if not matches:
                return self._say(204)
            found = max(matches, key=lambda one: self.entries[one][0])
            return self._say(200, {"cacheKey": found, "archiveLocation": f"http://127.0.0.1:{self.server.server_port}/{found.replace('#', '%23')}?sig=1"})
        if asked == "POST caches":
            key = json.loads(data)["key"]
            if key in self.entries or key in self.open:
                return self._say(409)
            self.open[key] = b""
            self.numbers.append(key)
            return self._say(201, {"cacheId": len(keys) + 1})
        key = keys[int(asked.rpartition("/")[2]) - 1]
        if asked.startswith("PATCH"):
            assert self.headers["content-range"].startswith(f"bytes {len(self.open[key])}-")
            self.open[key] += data
        else:
            assert json.loads(data)["size"] == len(self.open[key])
            self.entries[key] = (time.monotonic(), self.open.pop(key))
        return self._say(204)

    def do_PATCH(self) -> None:
        self._first(f"PATCH {self.path.partition('/artifactcache/')[2]}")

    def _key(self) -> str:
        return self.path.partition("?")[0].lstrip("/").replace("%23", "#")

    def do_PUT(self) -> None:
        self.open[self._key()] += self.rfile.read(int(self.headers["content-length"]))
        self.send_response(201)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        if "/artifactcache/" in self.path:
            self._first(f"GET {self.path.partition('/artifactcache/')[2]}")
            return
        data = self.entries[self._key()][1]
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.mark.parametrize("where", ["url_v2", "url"])
def test_github_actions(root: Dockc, files: Path, base: Path, tmp_path: Path, where: str) -> None:
    for table in (_Actions.entries, _Actions.open, _Actions.numbers):
        table.clear()
    claims = base64.urlsafe_b64encode(json.dumps({"ac": json.dumps([{"Scope": "refs/heads/main", "Permission": 3}]), "exp": 9e9}).encode()).decode().rstrip("=")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Actions) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        entry = f"type=gha,{where}=http://127.0.0.1:{server.server_address[1]}/,token=x.{claims}.y"
        _build(root, files, base, f"--cache-to={entry},mode=max")
        (files / "b.txt").write_text("changed\n")
        _build(root, files, base, f"--cache-to={entry},mode=max")
        assert sorted(key.rpartition("#")[2] for key in _Actions.entries if "#" in key) == ["1", "2"]
        shown = _build(_other(root), files, base, f"--cache-from={entry}", f"--output=type=oci,dest={tmp_path}/image.tar")
        server.shutdown()
    assert _ran(shown)[0] == 0
