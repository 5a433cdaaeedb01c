"""Remote caches whose servers fail: in the middle of a blob, for a while, for ever, with tokens that run out and bytes that are others.

Each has one of two ends: the build is as if nothing had happened, or it says what is wrong, builds what it needs itself, and ends well.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Dockc
from tests.e2e.test_caches import _other, _ran
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


@pytest.mark.parametrize(
    ("faults", "whole", "said"),
    [
        ([Fault("GET", "/blobs/", in_the_middle, 3)], True, ""),
        ([Fault("GET", "/blobs/", hung_up, 2)], True, ""),
        ([Fault("GET", "/(blobs|manifests)/", status(503), 2)], True, ""),
        ([Fault("GET", "/(blobs|manifests)/", status(429, Retry_After="1"), 1)], True, ""),
        ([Fault("GET", "/blobs/", in_the_middle)], False, "imported"),
        ([Fault("GET", "/manifests/", status(503))], False, "503"),
        ([Fault("GET", "/blobs/", other_bytes)], False, "unexpected digest"),
        ([Fault("GET", "/blobs/", too_short)], False, "imported"),
        ([Fault("GET", "/manifests/", other_bytes)], False, "is not used"),
        ([Fault("GET", "/manifests/", status(401))], False, "is not used"),
    ],
)  # fmt: skip
def test_imports(made: Made, tmp_path: Path, faults: list[Fault], whole: bool, said: str) -> None:
    between = Between(made.registry)
    between.faults = [replace(fault, met=0) for fault in faults]
    other = Dockc(tmp_path / "store", tmp_path)
    with Script(between) as server:
        shown = made.build(other, f"--cache-from=type=registry,ref={server.address}/app/cache:ok", f"--output=type=oci,dest={tmp_path}/i.tar")
    assert all(fault.met for fault in between.faults), "the fault was met"
    assert _ran(shown) == ((0, STEPS) if whole else (STEPS, 0)), shown
    assert said in shown
    assert "Traceback" not in shown
    assert other.run("doctor").stdout.strip().endswith("healthy")


@pytest.mark.parametrize(
    ("faults", "whole", "said"),
    [
        ([Fault("PATCH|PUT", "/blobs/", hung_up, 1)], None, ""),
        ([Fault("POST|PATCH|PUT|HEAD", "/", status(503), 2)], None, ""),
        ([Fault("HEAD|POST", "/blobs/", status(429, Retry_After="1"), 1)], True, ""),
        ([Fault("PATCH|PUT", "/blobs/", hung_up)], False, "was not written"),
        ([Fault("PUT", "/manifests/", status(500))], False, "was not written"),
        ([Fault("POST", "/blobs/", status(403))], False, "was not written"),
    ],
)  # fmt: skip
def test_exports(made: Made, tmp_path: Path, request: pytest.FixtureRequest, faults: list[Fault], whole: bool | None, said: str) -> None:
    between = Between(made.registry)
    between.faults = [replace(fault, met=0) for fault in faults]
    name = f"app/export{abs(hash(request.node.name)) % 10**9}:x"
    with Script(between) as server:
        shown = made.build(made.dockc, f"--cache-to=type=registry,ref={server.address}/{name},mode=max", "-o", "type=cacheonly")
        if whole is False:
            failed = made.build(made.dockc, f"--cache-to=type=registry,ref={server.address}/{name},mode=max,ignore-error=false", code=1)
            assert "error: failed to solve" in failed
    assert all(fault.met for fault in between.faults), "the fault was met"
    assert said in shown
    assert "Traceback" not in shown
    written = "was not written" not in shown
    assert whole in (None, written), shown
    again = made.build(_other(Dockc(tmp_path / "store", tmp_path)), f"--cache-from=type=registry,ref={made.registry}/{name}", "-o", "type=cacheonly")
    assert _ran(again) == ((0, STEPS) if written else (STEPS, 0)), "all of it or nothing"


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
