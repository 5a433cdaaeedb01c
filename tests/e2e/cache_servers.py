"""Object stores that caches are kept in, on loopback: moto for S3, Azurite for Azure, a small honest service for GitHub's cache."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.runtime.registry_servers import free_port, real_registry, wait_for_port

S3_SECRET = "s3-secret-of-nobody"
GITHUB_SIGNATURE = "gha-signature-of-nobody"
GITHUB_TOKEN = "github-token-of-nobody"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's own, known to all."""
SECRETS = (S3_SECRET, GITHUB_SIGNATURE, GITHUB_TOKEN, AZURE_KEY)
KINDS = ("s3", "azblob", "gha", "gha by version 1")


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """A real server of S3's protocol with the bucket `bucket`; yields its address."""
    pytest.importorskip("moto.server", reason="needs moto's server")
    port = free_port()
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:
            wait_for_port(port, process)
            urlopen(Request(f"http://127.0.0.1:{port}/bucket", method="PUT"), timeout=60).close()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def s3_entry(endpoint: str) -> str:
    keys = f"access_key_id=k,secret_access_key={S3_SECRET},session_token=t{S3_SECRET}"
    return f"type=s3,bucket=bucket,region=us-east-1,endpoint_url={endpoint},use_path_style=true,{keys}"


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """Azure's emulator; yields the address of its account."""
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite-blob is not installed")
    port = free_port()
    argv = [program, "--silent", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder / "azurite")]
    with (folder / "azurite.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            wait_for_port(port, process)
            yield f"http://127.0.0.1:{port}/devstoreaccount1"
        finally:
            process.terminate()
            process.wait(20)


def azure_entry(address: str) -> str:
    return f"type=azblob,account_url={address},account_name=devstoreaccount1,secret_access_key={AZURE_KEY}"


class Actions(ThreadingHTTPServer):
    """The part of the Actions cache's service that a cache needs: entries that cannot be changed, found by prefix.

    Attributes:
        entries: finished ones by key, each with when it was finished.
        open: those that are being sent.
        asked: what was asked, methods and paths.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.entries: dict[str, tuple[float, bytes]] = {}
        self.open: dict[str, bytes] = {}
        self.numbers: list[str] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def actions() -> Iterator[Actions]:
    with Actions() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def github_token() -> str:
    claims = {"ac": json.dumps([{"Scope": "refs/heads/main", "Permission": 3}]), "exp": 9e9}
    return f"head.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{GITHUB_SIGNATURE}"


def github_entry(url: str, *, first: bool = False) -> str:
    return f"type=gha,{'url' if first else 'url_v2'}={url}/,token={github_token()},scope=tests"


@contextmanager
def store(kind: str, folder: Path) -> Iterator[str]:
    """An object store; yields the entry of a cache in it."""
    if kind == "s3":
        with moto(folder) as endpoint:
            yield s3_entry(endpoint)
    elif kind == "azblob":
        with azurite(folder) as address:
            yield azure_entry(address)
    else:
        with actions() as server:
            yield github_entry(server.url, first=kind != "gha")


class _Answers(BaseHTTPRequestHandler):
    server: Actions

    def log_message(self, *args: object) -> None:
        pass

    def _say(self, status: int, document: object = None, data: bytes = b"") -> None:
        data = json.dumps(document).encode() if document is not None else data
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.send_header("x-ms-request-id", "1")  # as Azure does: BuildKit ends without
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_POST(self) -> None:
        self.server.asked.append(f"POST {self.path}")
        if "/artifactcache/" in self.path:
            return self._first(f"POST {self.path.partition('/artifactcache/')[2]}")
        entries, opened = self.server.entries, self.server.open
        asked = json.loads(self._body())
        method = self.path.rpartition("/")[2]
        here = f"http://{self.headers['host']}"  # whoever stands between is asked again
        if not self.headers.get("authorization", "").startswith("Bearer "):
            return self._say(401, {})
        if method == "CreateCacheEntry":
            if asked["key"] in entries or asked["key"] in opened:
                return self._say(409, {"ok": False})
            opened[asked["key"]] = b""
            return self._say(200, {"ok": True, "signed_upload_url": f"{here}/{asked['key'].replace('#', '%23')}?sig=1"})
        if method == "FinalizeCacheEntryUpload":
            data = opened.pop(asked["key"])
            assert len(data) == asked["size_bytes"]
            entries[asked["key"]] = (time.monotonic(), data)
            return self._say(200, {"ok": True, "entry_id": "1"})
        matches = [key for prefix in (asked["key"], *asked["restore_keys"]) for key in entries if key.startswith(prefix)]
        if not matches:
            return self._say(200, {"ok": False})
        key = max(matches, key=lambda one: entries[one][0])
        return self._say(200, {"ok": True, "signed_download_url": f"{here}/{key.replace('#', '%23')}?sig=1", "matched_key": key})

    def _first(self, asked: str) -> None:
        """Version 1: entries have numbers until they are finished."""
        data = self._body()
        entries, opened, keys = self.server.entries, self.server.open, self.server.numbers
        if asked.startswith("GET cache?"):
            key = parse_qs(asked.partition("?")[2])["keys"][0]
            matches = [one for one in entries if one.startswith(key)]
            if not matches:
                return self._say(204)
            found = max(matches, key=lambda one: entries[one][0])
            return self._say(200, {"cacheKey": found, "archiveLocation": f"http://{self.headers['host']}/{found.replace('#', '%23')}?sig=1"})
        if asked == "POST caches":
            key = json.loads(data)["key"]
            if key in entries or key in opened:
                return self._say(409)
            opened[key] = b""
            keys.append(key)
            return self._say(201, {"cacheId": len(keys)})
        key = keys[int(asked.rpartition("/")[2]) - 1]
        if asked.startswith("PATCH"):
            assert self.headers["content-range"].startswith(f"bytes {len(opened[key])}-")
            opened[key] += data
        else:
            assert json.loads(data)["size"] == len(opened[key])
            entries[key] = (time.monotonic(), opened.pop(key))
        return self._say(204)

    def do_PATCH(self) -> None:
        self._first(f"PATCH {self.path.partition('/artifactcache/')[2]}")

    def _key(self) -> str:
        return self.path.partition("?")[0].lstrip("/").replace("%23", "#")

    def do_PUT(self) -> None:
        self.server.open[self._key()] += self._body()
        self._say(201)

    def do_GET(self) -> None:
        self.server.asked.append(f"GET {self.path}")
        if "/artifactcache/" in self.path:
            return self._first(f"GET {self.path.partition('/artifactcache/')[2]}")
        if self.path.startswith("/repos/o/r/actions/caches?"):
            asked = parse_qs(urlsplit(self.path).query)
            found = [key for key in self.server.entries if key.startswith(asked["key"][0])]
            page = int(asked["page"][0])
            if self.headers.get("authorization") != f"Bearer {GITHUB_TOKEN}":
                return self._say(401, {})
            return self._say(200, {"actions_caches": [{"key": key, "ref": "refs/heads/main"} for key in found[100 * page - 100 : 100 * page]]})
        return self._say(200, data=self.server.entries[self._key()][1])


@contextmanager
def upstream(kind: str, folder: Path) -> Iterator[str]:
    """The host and port of a server for `registry` (which wants a password), `azblob` or one of GitHub's kind."""
    with ExitStack() as stack:
        if kind == "registry":
            yield stack.enter_context(real_registry(folder, auth="htpasswd"))
        elif kind == "azblob":
            yield stack.enter_context(azurite(folder)).removeprefix("http://").partition("/")[0]
        else:
            yield stack.enter_context(actions()).url.removeprefix("http://")
