"""Caches in object stores that misbehave; and Azure Blob Storage, by its emulator."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext
from tests.runtime.registry_servers import free_port, wait_for_port

DOCKERFILE = "FROM base\nRUN echo one > /one\nCOPY a.txt /a.txt\nRUN cat /a.txt /one > /two\n"
STEPS = 3
SECRET = "dont-tell-anybody-this"


class Store(ThreadingHTTPServer):
    """The few of S3's requests that a cache makes, and what can go wrong with them.

    Attributes:
        objects: what was put, by path.
        fault: what goes wrong.
        asked: how often a request came, by method and path.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Objects)
        self.objects: dict[str, bytes] = {}
        self.fault = ""
        self.asked: Counter[str] = Counter()

    @property
    def entry(self) -> str:
        keys = f"access_key_id=k,secret_access_key={SECRET},session_token=t{SECRET}"
        return f"type=s3,bucket=b,region=r,endpoint_url=http://127.0.0.1:{self.server_port},use_path_style=true,{keys}"


class _Objects(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, status: int, data: bytes = b"", *, cut: bool = False, **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    def _handle(self) -> None:
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        path, fault = self.path.partition("?")[0], self.server.fault
        asked = f"{self.command} {path}"
        self.server.asked[asked] += 1
        blob = "/blobs/" in path
        if fault == "busy" and self.server.asked[asked] == 1:
            return self._answer(429, retry_after="0")
        if fault == "expired" and self.command != "HEAD":
            return self._answer(403, b"<Error><Code>ExpiredToken</Code></Error>")
        if self.command == "PUT":
            if fault == "dies" and not blob:
                self.close_connection = True
                return None
            self.server.objects[path] = data
            return self._answer(200)
        found = self.server.objects.get(path)
        if found is None:
            return self._answer(404)
        if blob and fault == "another":
            found = found[:-1] + bytes([found[-1] ^ 1])
        return self._answer(200, found, cut=blob and fault == "truncated" and self.command == "GET")

    do_GET = do_HEAD = do_PUT = _handle


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def files(context: MakeContext) -> Path:
    return context(DOCKERFILE, **{"a.txt": "A\n"})


def _build(dockc: Dockc, files: Path, base: Path, *args: str) -> tuple[str, int]:
    shown = dockc.build(files, "--build-context", f"base=oci-layout://{base}", *args)
    match = re.search(r"(\d+) steps? run, (\d+) cached", shown)
    assert match is not None, shown
    return shown, int(match[1])


def _other(dockc: Dockc) -> Dockc:
    return Dockc(dockc.home / "other", dockc.home, dockc.prefix, dockc.python_path)


def test_a_store_that_asks_for_patience_gets_it(root: Dockc, files: Path, base: Path, store: Store, tmp_path: Path) -> None:
    store.fault = "busy"
    shown, _ = _build(root, files, base, f"--cache-to={store.entry},mode=max,ignore-error=false")
    again, run = _build(_other(root), files, base, f"--cache-from={store.entry}", f"--output=type=oci,dest={tmp_path}/i.tar")
    assert run == 0
    assert max(store.asked.values()) < 6
    for place in (root.store, _other(root).store, tmp_path / "i.tar"):  # nowhere is what opens the store
        for path in [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file() and not path.is_symlink()]:
            assert SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in shown + again


@pytest.mark.parametrize("fault", ["dies", "expired"])
def test_what_was_not_written_is_told(root: Dockc, files: Path, base: Path, store: Store, fault: str) -> None:
    store.fault = fault
    shown, run = _build(root, files, base, f"--cache-to={store.entry},mode=max,retry_max_attempts=1")
    assert run == STEPS
    assert "was not written" in shown
    assert SECRET not in shown
    store.fault = ""
    _, run = _build(_other(root), files, base, f"--cache-from={store.entry}")
    assert run == STEPS, "a cache without its last word is none"


@pytest.mark.parametrize("fault", ["truncated", "another", "expired"])
def test_what_cannot_be_read_is_done_without(root: Dockc, files: Path, base: Path, store: Store, tmp_path: Path, fault: str) -> None:
    _build(root, files, base, f"--cache-to={store.entry},mode=max,ignore-error=false")
    store.fault = fault
    entry = f"--cache-from={store.entry},retry_max_attempts=1"
    shown, run = _build(_other(root), files, base, entry, f"--output=type=oci,dest={tmp_path}/i.tar")
    assert run == STEPS
    assert ("is not used" if fault == "expired" else "building again without imported caches") in shown
    assert _other(root).run("doctor").stdout.strip().endswith("healthy")


@pytest.mark.peer
def test_azure_blob_storage(root: Dockc, files: Path, base: Path, tmp_path: Path) -> None:
    with _azurite(tmp_path) as address:
        account = "account_url=" + address + ",account_name=devstoreaccount1,secret_access_key=" + _AZURITE
        shown, _ = _build(root, files, base, f"--cache-to=type=azblob,{account},mode=max,name=one;two,prefix=p,ignore-error=false")
        again, run = _build(_other(root), files, base, f"--cache-from=type=azblob,{account},name=two,prefix=p", f"--output=type=oci,dest={tmp_path}/i.tar")
        assert run == 0
        none, run = _build(Dockc(root.home / "third", root.home), files, base, f"--cache-from=type=azblob,{account},name=never,prefix=p")
        assert run == STEPS
    assert _AZURITE not in shown + again + none


_AZURITE = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # the emulator's own, known to all


@contextmanager
def _azurite(folder: Path) -> Iterator[str]:
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
