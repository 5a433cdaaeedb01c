"""Remote caches whose servers fail: in the middle of a blob, for a while, for ever, with tokens that run out and bytes that are others.

Each has one of two ends: the build is as if nothing had happened, or it says what is wrong, builds what it needs itself, and ends well.
"""

from __future__ import annotations

import http.client
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.e2e import cache_servers
from tests.e2e.conftest import Dockc
from tests.e2e.test_caches import _ran
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


def test_layers_that_an_earlier_build_left_where_they_were_and_that_nobody_gives(made: Made, tmp_path: Path) -> None:
    """They are made again, also by a build that reads no cache itself."""
    between = Between(made.registry)
    other = Dockc(tmp_path / "store", tmp_path)
    with Script(between) as server:
        entry = f"--cache-from=type=registry,ref={server.address}/app/cache:ok"
        assert _ran(made.build(other, entry, "-o", "type=cacheonly")) == (0, STEPS)
        between.faults = [Fault("GET", "/blobs/", status(403))]
        shown = made.build(other, f"--output=type=oci,dest={tmp_path}/i.tar")
    assert "building again without imported caches" in shown
    assert f"layers of an earlier build from docker-image://{server.address}/app/cache" in shown
    assert _ran(shown) == (STEPS, 0), shown
    assert other.run("doctor").stdout.strip().endswith("healthy")


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
        run, cached = _ran(shown)
        assert run + cached == STEPS, shown
        assert run >= STEPS - 1, "one of the blobs that are fetched together came, and that may be the first step's"
    assert (tmp_path / "i.tar").stat().st_size > 300_000


# --- other stores -------------------------------------------------------------------------------------


def test_github_s_service_when_it_is_busy_and_tokens_run_out(made: Made, tmp_path: Path) -> None:
    with cache_servers.actions() as server:
        between = Between(server.url.removeprefix("http://"))
        with Script(between) as proxy:
            entry = cache_servers.github_entry(proxy.url)
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
    assert cache_servers.GITHUB_SIGNATURE not in shown + late


@pytest.mark.filterwarnings("ignore")
def test_a_bucket_that_asks_for_patience_and_keys_that_run_out(made: Made, tmp_path: Path) -> None:
    with cache_servers.moto(tmp_path) as endpoint:
        between = Between(endpoint.removeprefix("http://"))
        with Script(between) as proxy:
            entry = cache_servers.s3_entry(proxy.url)
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
    assert cache_servers.S3_SECRET not in shown + late


@pytest.fixture(scope="module")
def bucket(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Between]:
    """A proxy before a bucket that has the cache under the name `ok`."""
    with cache_servers.moto(tmp_path_factory.mktemp("bucket")) as endpoint:
        entry = cache_servers.s3_entry(endpoint)
        made.build(made.dockc, f"--cache-to={entry},mode=max,name=ok,ignore-error=false", "-o", "type=cacheonly")
        yield Between(endpoint.removeprefix("http://"))


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT", "/manifests/", hung_up),
        Fault("PUT", "/manifests/", status(403)),
        Fault("PUT", "/blobs/", status(500)),
        Fault("HEAD", "/blobs/", status(500)),
        Fault("PUT", "/blobs/", hung_up),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_a_bucket_did_not_take_is_told(made: Made, bucket: Between, tmp_path: Path, fault: Fault) -> None:
    bucket.faults = [replace(fault)]
    with Script(bucket) as proxy:
        entry = f"{cache_servers.s3_entry(proxy.url)},prefix={tmp_path.name}/,retry_max_attempts=1"
        assert "was not written" in made.build(made.dockc, f"--cache-to={entry},mode=max", "-o", "type=cacheonly")
        assert bucket.faults[0].met
        bucket.faults = []
        shown = made.build(Dockc(tmp_path / "store", tmp_path), f"--cache-from={entry}", "-o", "type=cacheonly")
        assert _ran(shown) == (STEPS, 0), "a cache without its last word is none"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("GET", "/blobs/", too_short), "building again without imported caches"),
        (Fault("GET", "/blobs/", other_bytes), "building again without imported caches"),
        (Fault("GET", "/blobs/", status(404)), "building again without imported caches"),
        (Fault("GET", "/manifests/", too_short), "is not used"),
        (Fault("GET", "/manifests/", other_bytes), "is not used"),
        (Fault("GET", "/manifests/", status(403)), "is not used"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_a_bucket_does_not_give_is_done_without(made: Made, bucket: Between, tmp_path: Path, fault: Fault, said: str) -> None:
    bucket.faults = [replace(fault)]
    other = Dockc(tmp_path / "store", tmp_path)
    with Script(bucket) as proxy:
        entry = f"--cache-from={cache_servers.s3_entry(proxy.url)},name=ok,retry_max_attempts=1"
        shown = made.build(other, entry, f"--output=type=oci,dest={tmp_path}/i.tar")
    assert bucket.faults[0].met
    assert _ran(shown) == (STEPS, 0)
    assert said in shown
    assert other.run("doctor").stdout.strip().endswith("healthy")
