"""Remote caches whose servers fail: in the middle of a blob, for a while, for ever, with tokens that run out and bytes that are others.

Each has one of two ends: the build is as if nothing had happened, or it says what is wrong, builds what it needs itself, and ends well.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.request import Request, urlopen

import pytest

from tests.e2e.conftest import Dockc
from tests.e2e.test_caches import _Actions, _moto, _ran
from tests.runtime.registry_servers import Answer, Script, Seen, real_registry

DOCKERFILE = "FROM base\nCOPY a.txt /a\nRUN head -c 300000 /dev/urandom > /big\nRUN head -c 9 /big > /small\n"
STEPS = 3
Forward = Callable[[], Answer]
Do = Callable[[Seen, Forward], Answer]


@dataclass
class Fault:
    """What a server does instead of answering; `times` below 0 is always."""

    method: str
    path: str
    do: Do
    times: int = -1
    met: int = 0


class Between:
    """A proxy before a real server, with faults. Mutable: `faults`."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.faults: list[Fault] = []

    def __call__(self, seen: Seen) -> Answer:
        for fault in self.faults:
            if re.search(fault.method, seen.method) and re.search(fault.path, seen.path) and fault.met != fault.times:
                fault.met += 1
                return fault.do(seen, lambda: self._forward(seen))
        return self._forward(seen)

    def _forward(self, seen: Seen) -> Answer:
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            connection.request(seen.method, seen.path + (f"?{seen.query}" if seen.query else ""), seen.body or None, seen.headers)
            found = connection.getresponse()
            keep = {key: value for key, value in found.getheaders() if key.lower() not in {"transfer-encoding", "connection", "date", "server"}}
            return Answer(found.status, found.read(), keep)
        finally:
            connection.close()


def status(code: int, **headers: str) -> Do:
    return lambda seen, forward: Answer(code, b"{}", {name.replace("_", "-"): value for name, value in headers.items()})


def in_the_middle(seen: Seen, forward: Forward) -> Answer:
    answer = forward()
    return replace(answer, cut=len(answer.body) // 2) if answer.status in (200, 206) else answer


def hung_up(seen: Seen, forward: Forward) -> Answer:
    raise ConnectionResetError


def other_bytes(seen: Seen, forward: Forward) -> Answer:
    answer = forward()
    return replace(answer, body=bytes(len(answer.body)))


def too_short(seen: Seen, forward: Forward) -> Answer:
    answer = forward()
    body = answer.body[: len(answer.body) // 2]
    return replace(answer, body=body, headers={**answer.headers, "Content-Length": str(len(body))})


@dataclass
class Made:
    """A cache in a registry, and the store and context that it was made of."""

    registry: str
    dockc: Dockc
    files: Path
    base: Path

    def build(self, dockc: Dockc, *args: str, code: int = 0) -> str:
        return dockc.build(self.files, "--build-context", f"base=oci-layout://{self.base}", *args, status=code)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Iterator[Made]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    top = tmp_path_factory.mktemp("faults")
    files = top / "context"
    files.mkdir()
    (files / "Dockerfile").write_text(DOCKERFILE)
    (files / "a.txt").write_text("A\n")
    (top / "registry").mkdir()
    with real_registry(top / "registry") as registry:
        found = Made(registry, Dockc(top / "store", top), files, base)
        found.build(found.dockc, f"--cache-to=type=registry,ref={registry}/app/cache:ok,mode=max", "-o", "type=cacheonly")
        yield found


def test_patience(made: Made, tmp_path: Path) -> None:
    """What passes costs time and nothing else."""
    between = Between(made.registry)
    between.faults = [
        Fault("HEAD|POST", "/blobs/", status(429, Retry_After="1"), 1),
        Fault("POST|PATCH|PUT|HEAD", "/", status(503), 2),
        Fault("GET", "/(blobs|manifests)/", status(503), 2),
        Fault("GET", "/(blobs|manifests)/", status(429, Retry_After="1"), 1),
        Fault("GET", "/manifests/", in_the_middle, 1),
        Fault("GET", "/blobs/", in_the_middle, 2),
        Fault("GET", "/blobs/", hung_up, 1),
    ]
    with Script(between) as server:
        ref = f"{server.address}/app/patient:x"
        shown = made.build(made.dockc, f"--cache-to=type=registry,ref={ref},mode=max", "-o", "type=cacheonly")
        assert "was not written" not in shown
        other = Dockc(tmp_path / "store", tmp_path)
        assert _ran(made.build(other, f"--cache-from=type=registry,ref={ref}", f"--output=type=oci,dest={tmp_path}/i.tar")) == (0, STEPS)
    assert all(fault.met == fault.times for fault in between.faults)
    assert other.run("doctor").stdout.strip().endswith("healthy")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("GET", "/blobs/", in_the_middle), "unexpected end of the answer"),
        (Fault("GET", "/blobs/", other_bytes), "unexpected digest"),
        (Fault("GET", "/blobs/", too_short), "importing cache manifest"),
        (Fault("GET", "/manifests/", other_bytes), "unexpected manifest digest"),
        (Fault("GET", "/manifests/", status(401)), "is not used"),
        (Fault("GET", "/manifests/", status(500)), "is not used"),
    ],
)  # fmt: skip
def test_imports_from_a_broken_server(made: Made, tmp_path: Path, fault: Fault, said: str) -> None:
    between = Between(made.registry)
    between.faults = [replace(fault)]
    other = Dockc(tmp_path / "store", tmp_path)
    with Script(between) as server:
        shown = made.build(other, f"--cache-from=type=registry,ref={server.address}/app/cache:ok", f"--output=type=oci,dest={tmp_path}/i.tar")
    assert between.faults[0].met
    assert _ran(shown) == (STEPS, 0), shown
    assert said in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    "fault", [Fault("PATCH|PUT", "/blobs/", hung_up), Fault("PUT", "/manifests/", status(500)), Fault("POST", "/blobs/", status(403))]
)
def test_exports_to_a_broken_server(made: Made, tmp_path: Path, fault: Fault) -> None:
    between = Between(made.registry)
    between.faults = [replace(fault)]
    name = f"app/broken{len(fault.path)}{fault.method[:3].lower()}:x"
    with Script(between) as server:
        entry = f"--cache-to=type=registry,ref={server.address}/{name},mode=max"
        shown = made.build(made.dockc, entry, "-o", "type=cacheonly")
        assert "was not written" in shown
        assert "Traceback" not in shown
        assert "error: failed to solve" in made.build(made.dockc, f"{entry},ignore-error=false", "-o", "type=cacheonly", code=1)
    assert between.faults[0].met
    again = made.build(Dockc(tmp_path / "store", tmp_path), f"--cache-from=type=registry,ref={made.registry}/{name}", "-o", "type=cacheonly")
    assert _ran(again) == (STEPS, 0), "half a cache is none"


def test_a_backend_that_dies_for_good(made: Made, tmp_path: Path) -> None:
    """It answers until the third blob, then nobody is there any more: for writing, and for reading."""
    between = Between(made.registry)
    left = [3]

    def dying(seen: Seen, forward: Forward) -> Answer:
        left[0] -= 1
        if left[0] < 0:
            raise ConnectionResetError
        return forward()

    between.faults = [Fault(".", ".", dying)]
    with Script(between) as server:
        shown = made.build(made.dockc, f"--cache-to=type=registry,ref={server.address}/app/dead:x,mode=max", "-o", "type=cacheonly")
        assert "was not written" in shown
        left[0] = 3
        shown = made.build(
            Dockc(tmp_path / "store", tmp_path), f"--cache-from=type=registry,ref={server.address}/app/cache:ok", f"--output=type=oci,dest={tmp_path}/i.tar"
        )
        assert _ran(shown)[0] == STEPS
    assert (tmp_path / "i.tar").stat().st_size > 300_000


# --- other stores -------------------------------------------------------------------------------------


def _token() -> str:
    claims = {"ac": json.dumps([{"Scope": "refs/heads/main", "Permission": 3}]), "exp": 9e9}
    return f"head.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.gha-signature-of-nobody"


def test_github_s_service_when_it_is_busy_and_tokens_run_out(made: Made, tmp_path: Path) -> None:
    class Service(_Actions):
        entries: ClassVar[dict[str, tuple[float, bytes]]] = {}
        open: ClassVar[dict[str, bytes]] = {}

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        between = Between(f"127.0.0.1:{server.server_address[1]}")
        with Script(between) as proxy:
            entry = f"type=gha,url_v2={proxy.url}/,token={_token()},scope=faults"
            between.faults = [Fault("POST", "CreateCacheEntry", status(429, Retry_After="1"), 1), Fault("PUT", "/", status(503), 2)]
            shown = made.build(made.dockc, f"--cache-to={entry},mode=max", "-o", "type=cacheonly")
            assert "was not written" not in shown
            between.faults = [
                Fault("POST", "GetCacheEntryDownloadURL", status(503), 1),
                Fault("GET", "/index-", in_the_middle, 1),
                Fault("GET", "/buildkit-blob-", status(403), 1),  # the address has run out: another is asked for
                Fault("GET", "/buildkit-blob-", in_the_middle, 1),
            ]
            first = Dockc(tmp_path / "one", tmp_path)
            assert _ran(made.build(first, f"--cache-from={entry}", f"--output=type=oci,dest={tmp_path}/i.tar")) == (0, STEPS)
            assert [fault.met for fault in between.faults] == [fault.times for fault in between.faults]
            between.faults = [Fault("POST", "/", status(401))]
            late = made.build(Dockc(tmp_path / "two", tmp_path), f"--cache-from={entry}", f"--cache-to={entry},mode=max", "-o", "type=cacheonly")
            assert _ran(late) == (STEPS, 0)
            assert "is not used" in late and "was not written" in late and "401" in late
        server.shutdown()
    assert "gha-signature-of-nobody" not in shown + late


@pytest.mark.filterwarnings("ignore")
def test_a_bucket_that_asks_for_patience_and_keys_that_run_out(made: Made, tmp_path: Path) -> None:
    with _moto(tmp_path) as endpoint:
        urlopen(Request(f"{endpoint}/bucket", method="PUT"), timeout=60).close()
        between = Between(endpoint.removeprefix("http://"))
        with Script(between) as proxy:
            keys = "access_key_id=k,secret_access_key=s3-secret-of-nobody,session_token=s3-session-of-nobody"
            entry = f"type=s3,bucket=bucket,region=us-east-1,endpoint_url={proxy.url},use_path_style=true,{keys}"
            between.faults = [Fault("PUT|HEAD", "/", status(503), 2), Fault("GET", "/blobs/", in_the_middle, 2), Fault("GET", "/", hung_up, 1)]
            shown = made.build(made.dockc, f"--cache-to={entry},mode=max", "-o", "type=cacheonly")
            assert "was not written" not in shown
            first = Dockc(tmp_path / "one", tmp_path)
            assert _ran(made.build(first, f"--cache-from={entry}", f"--output=type=oci,dest={tmp_path}/i.tar")) == (0, STEPS)
            assert all(fault.met == fault.times for fault in between.faults)
            expired = Answer(400, b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>")
            between.faults = [Fault(".", "/", lambda seen, forward: expired)]
            late = made.build(Dockc(tmp_path / "two", tmp_path), f"--cache-from={entry}", f"--cache-to={entry},mode=max", "-o", "type=cacheonly")
            assert _ran(late) == (STEPS, 0)
            assert "The provided token has expired" in late
            assert "is not used" in late and "was not written" in late
    assert "of-nobody" not in shown + late
