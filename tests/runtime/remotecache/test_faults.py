"""Caches elsewhere that misbehave, kind by kind and fault by fault: what is read is right or refused, what was written is whole or not there.

Real servers stand behind a proxy that does one thing instead of answering. Nothing is built here (`tests/e2e/test_cache_fault_tables.py` does), so the tables
are long: all bytes of the layers are compared, requests are counted, and a stranger to whom an answer leads looks for secrets.
"""

from __future__ import annotations

import gzip
import json
import re
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest

from dockc.errors import DockcError
from dockc.oci import digest as digests
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import Descriptor
from dockc.runtime.content.store import ContentStore
from dockc.runtime.refs.types import LayerDescriptor
from dockc.runtime.registry import push, transport
from dockc.runtime.registry.client import Client
from dockc.runtime.remotecache import gha, table
from dockc.runtime.remotecache.base import Place, parse_entry
from dockc.runtime.remotecache.chains import Chains
from dockc.runtime.remotecache.config import CacheConfig, CacheLayer, CacheRecord, CacheResult
from dockc.runtime.session.auth import Credentials
from tests.e2e import cache_servers
from tests.e2e.test_cache_fault_tables import (
    Elsewhere,
    body,
    longer,
    one_byte,
    other_range,
    said,
    says_less,
    says_more,
)
from tests.e2e.test_cache_faults import (
    Between,
    Do,
    Fault,
    Forward,
    hung_up,
    in_the_middle,
    other_bytes,
    status,
    too_short,
)
from tests.runtime.registry_servers import PASSWORD, USER, Answer, Script, Seen, real_registry

KINDS = ("registry", "azblob", "gha", "gha by version 1")
CONTENTS = (b"first layer " * 20_000, b"second " * 9, b"third" * 30_000)
SECRETS = (*cache_servers.SECRETS, PASSWORD, b64encode(f"{USER}:{PASSWORD}".encode()).decode())
MOST = 400
"""Requests that reading or writing three blobs may take, whatever goes wrong."""


class Login:
    """Who may ask the registry (`CredentialStore`)."""

    def credentials(self, name: str) -> Credentials:
        return Credentials(USER, PASSWORD)

    def token(self, wish: object, cancelled: object = None) -> None:
        return None


class Backend:
    """A real server that holds a cache of `CONTENTS`, the proxy before it, and a stranger to whom answers lead."""

    def __init__(self, kind: str, between: Between, proxy: Script, stranger: Script) -> None:
        self.kind, self.between, self.proxy, self.stranger = kind, between, proxy, stranger
        self.config = ""

    def entry(self, name: str) -> str:
        if self.kind == "registry":
            return f"type=registry,ref={self.proxy.address}/app/cache:{name}"
        if self.kind == "azblob":
            return f"{cache_servers.azure_entry(f'{self.proxy.url}/devstoreaccount1')},name={name},prefix={name}"
        entry = cache_servers.github_entry(self.proxy.url, first=self.kind != "gha").replace("scope=tests", f"scope={name}")
        return f"{entry},timeout=0s"

    def place(self, folder: Path, warn: Callable[[str], object] = lambda text: None) -> Place:
        content = ContentStore(folder)
        for data in CONTENTS:
            content.put(data)
        return Place(content, self._client, {}, warn=warn)

    def _client(self, insecure: bool = False) -> Client:
        return Client(config=Login())

    def write(self, name: str, place: Place, contents: tuple[bytes, ...] = CONTENTS) -> None:
        table.target_of(parse_entry(f"{self.entry(name)},mode=max"), {}).save(chains(*contents), place)

    def read(self, name: str, folder: Path) -> list[bytes]:
        """All layers of a cache, into a store that has none; none where there is no cache."""
        content = ContentStore(folder)
        found = []
        for one in table.source_of(parse_entry(self.entry(name)), {}).load(Place(content, self._client, {})):
            for layer in one.layers:
                assert layer is not None
                assert layer.provider is not None
                layer.provider.fetch(layer.descriptor, content)
                found.append(content.read(layer.descriptor.digest))
        return found

    def fault(self, role: str, do: Do, times: int = -1) -> Fault:
        methods = {"ask": "GET|POST", "config": "GET", "blob": "GET", "put": "PUT|PATCH", "end": "PUT|POST"}
        path = ROLES[self.kind][role].replace("CONFIG", self.config.removeprefix("sha256:"))
        return Fault(f"^({methods[role]})$", path, do, times)


ROLES = {
    "registry": {"ask": "/manifests/", "config": "/blobs/sha256:CONFIG", "blob": "/blobs/sha256(?!:CONFIG)", "put": "/blobs/uploads", "end": "/manifests/"},
    "azblob": {"ask": "/manifests/", "config": "/manifests/", "blob": "/blobs/sha256", "put": "/blobs/sha256", "end": "/manifests/"},
    "gha": {"ask": "/GetCacheEntryDownloadURL", "config": "/index-", "blob": "/buildkit-blob-", "put": "/buildkit-blob-", "end": "/FinalizeCacheEntryUpload"},
    "gha by version 1": {"ask": "/cache$", "config": "/index-", "blob": "/buildkit-blob-", "put": "/caches/", "end": "/caches/"},
}
"""What requests of each server are about."""


def chains(*contents: bytes) -> Chains:
    """A cache of layers on top of each other, each with a key."""
    names = [digests.from_bytes(data) for data in contents]
    layers = {name: LayerDescriptor(name, Descriptor(mt.OCI_LAYER, name, len(data))) for name, data in zip(names, contents, strict=True)}
    config = CacheConfig(
        tuple(CacheLayer(name, at - 1, mt.OCI_LAYER, name, len(data)) for at, (name, data) in enumerate(zip(names, contents, strict=True))),
        tuple(CacheRecord(digests.from_bytes(f"key {name}".encode()), (), (CacheResult(tuple(range(at + 1)), 1),)) for at, name in enumerate(names)),
    )
    return Chains(config, layers)


@pytest.fixture(scope="module", params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    kind, folder = request.param, tmp_path_factory.mktemp("server")
    with ExitStack() as stack:
        between = Between(stack.enter_context(cache_servers.upstream(kind, folder)))
        stranger = stack.enter_context(Script(lambda seen: Answer(200, b"{}")))
        found = Backend(kind, between, stack.enter_context(Script(between)), stranger)
        found.write("ok", found.place(folder / "content"))
        if kind == "registry":
            manifest = next(seen for seen in found.proxy.seen if seen.method == "PUT" and "/manifests/" in seen.path)
            found.config = json.loads(manifest.body)["config"]["digest"]
        yield found


@pytest.fixture
def quiet(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The server without faults; who waits for it takes no time."""
    for module in (transport, gha, push):
        monkeypatch.setattr(module, "pause", lambda seconds, cancelled: None)
    monkeypatch.setattr(gha, "_PATIENCE", 0.0)
    backend.between.faults = []
    backend.stranger.seen.clear()
    backend.proxy.seen.clear()
    yield backend
    backend.between.faults = []


# --- what servers do ----------------------------------------------------------------------------------


def cut_at(count: int) -> Do:
    """So many bytes of the body, and the connection is gone."""
    return lambda seen, forward: replace(forward(), cut=count)


def gone_once() -> Do:
    """The first blob is not there, the others are."""
    gone: list[str] = []

    def do(seen: Seen, forward: Forward) -> Answer:
        gone.append(seen.path) if not gone else None
        return Answer(404, b"{}") if seen.path == gone[0] else forward()

    return do


def headers(**more: str) -> Do:
    return lambda seen, forward: with_headers(forward(), {name.replace("_", "-"): value for name, value in more.items()})


def with_headers(answer: Answer, more: dict[str, str]) -> Answer:
    names = {name.lower() for name in more}
    return replace(answer, headers={name: value for name, value in answer.headers.items() if name.lower() not in names} | more)


def gzipped(seen: Seen, forward: Forward) -> Answer:
    """As a proxy sends it that compresses whatever comes by."""
    answer = forward()
    return with_headers(said(answer, gzip.compress(answer.body)), {"Content-Encoding": "gzip"})


def deflated_wrong(seen: Seen, forward: Forward) -> Answer:
    answer = forward()
    return with_headers(said(answer, zlib.compress(answer.body)[:-9] + b"123456789"), {"Content-Encoding": "deflate"})


def encoded_oddly(seen: Seen, forward: Forward) -> Answer:
    return with_headers(forward(), {"Content-Encoding": "br"})


def bomb(seen: Seen, forward: Forward) -> Answer:
    """A small answer that is a large one."""
    return with_headers(said(Answer(200), gzip.compress(bytes(200 << 20), 1)), {"Content-Encoding": "gzip"})


def whole_again(seen: Seen, forward: Forward) -> Answer:
    """Cut off, and whoever asks for the rest gets the whole."""
    if "range" not in seen.headers and "x-ms-range" not in seen.headers:
        return in_the_middle(seen, forward)
    seen.headers.pop("range", None)
    seen.headers.pop("x-ms-range", None)
    return forward()


def no_such_range(seen: Seen, forward: Forward) -> Answer:
    """Cut off, and the rest is not given."""
    if "range" in seen.headers or "x-ms-range" in seen.headers:
        return Answer(416, b"<Error/>", {"Content-Range": "bytes */5"})
    return in_the_middle(seen, forward)


def other_half(seen: Seen, forward: Forward) -> Answer:
    """Cut off, and the rest is of another file."""
    answer = forward()
    return replace(answer, body=bytes(len(answer.body))) if answer.status == 206 else in_the_middle(seen, forward)


def last_bytes_missing(seen: Seen, forward: Forward) -> Answer:
    answer = forward()
    return said(answer, answer.body[:-1])


def date(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


def nested(seen: Seen, forward: Forward) -> Answer:
    return said(forward(), b'{"layers":' * 100_000)


def unending_numbers(seen: Seen, forward: Forward) -> Answer:
    return said(forward(), b'{"layers":[{"blob":"x","parent":' + b"9" * 100_000 + b"}]}")


def empty(seen: Seen, forward: Forward) -> Answer:
    return said(forward(), b"")


def no_content(seen: Seen, forward: Forward) -> Answer:
    return Answer(204)


def many_headers(seen: Seen, forward: Forward) -> Answer:
    return with_headers(forward(), {f"X-{number}": "x" for number in range(300)})


def long_header(seen: Seen, forward: Forward) -> Answer:
    return with_headers(forward(), {"X-Long": "x" * 100_000})


READING: dict[str, tuple[str, Callable[[], Do], int, str]] = {
    "cut before the first byte": ("blob", lambda: cut_at(0), 1, "fine"),
    "cut after a byte": ("blob", lambda: cut_at(1), 1, "fine"),
    "cut again and again": ("blob", lambda: in_the_middle, -1, "either"),
    "cut before the first byte, always": ("blob", lambda: cut_at(0), -1, "refused"),
    "the config is cut": ("config", lambda: cut_at(7), 2, "fine"),
    "the config is cut, always": ("config", lambda: cut_at(7), -1, "refused"),
    "the rest cannot be had": ("blob", lambda: no_such_range, -1, "refused"),
    "the rest is the whole": ("blob", lambda: whole_again, -1, "either"),  # Azure signs what is asked for
    "the rest is of another": ("blob", lambda: other_half, -1, "refused"),
    "the rest begins elsewhere": ("blob", lambda: other_range, -1, "refused"),
    "a byte at a time": ("blob", lambda: one_byte, -1, "refused"),
    "hung up on twice": ("blob", lambda: hung_up, 2, "fine"),
    "hung up on always": ("blob", lambda: hung_up, -1, "refused"),
    "403 once, in the middle": ("blob", lambda: status(403), 1, "either"),
    "403": ("blob", lambda: status(403), -1, "refused"),
    "404 of one": ("blob", gone_once, -1, "refused"),
    "409": ("blob", lambda: status(409), -1, "refused"),
    "412": ("config", lambda: status(412), -1, "refused"),
    "418": ("ask", lambda: status(418), -1, "refused"),
    "429 until a date": ("blob", lambda: status(429, Retry_After=date(1)), 2, "fine"),
    "429 until a date that was": ("ask", lambda: status(429, Retry_After=date(-9999)), 2, "fine"),
    "429 until the year 9999": ("ask", lambda: status(429, Retry_After="Fri, 31 Dec 9999 23:59:59 GMT"), 2, "fine"),
    "429 until nobody knows": ("ask", lambda: status(429, Retry_After="\xff soon, 99 Foo 99999999999"), 2, "fine"),
    "429 for as long as the world": ("ask", lambda: status(429, Retry_After="9" * 40), 2, "fine"),
    "500, then fine": ("config", lambda: status(500), 3, "fine"),
    "503 until a date": ("blob", lambda: status(503, Retry_After=date(2)), 3, "fine"),
    "504 always": ("blob", lambda: status(504), -1, "refused"),
    "a length that is no number": ("blob", lambda: headers(Content_Length="many"), -1, "either"),
    "a length below nothing": ("config", lambda: headers(Content_Length="-5"), -1, "either"),
    "a length that is too large": ("config", lambda: says_more, -1, "refused"),
    "a length that is too small": ("config", lambda: says_less, -1, "refused"),
    "a blob's length that is too small": ("blob", lambda: says_less, -1, "either"),
    "more than there should be": ("blob", lambda: longer, -1, "refused"),
    "the last byte is missing": ("blob", lambda: last_bytes_missing, -1, "refused"),
    "half of it, and nobody says so": ("blob", lambda: too_short, -1, "either"),
    "compressed on the way": ("blob", lambda: gzipped, -1, "fine"),
    "a config compressed on the way": ("config", lambda: gzipped, -1, "fine"),
    "compressed and damaged": ("blob", lambda: deflated_wrong, -1, "refused"),
    "encoded as nobody knows": ("blob", lambda: encoded_oddly, -1, "refused"),
    "a blob that is a bomb": ("blob", lambda: bomb, -1, "refused"),
    "a config that is a bomb": ("config", lambda: bomb, -1, "refused"),
    "a config of 100 MB": ("config", lambda: body(b" " * (100 << 20)), -1, "refused"),
    "a config nested for ever": ("config", lambda: nested, -1, "refused"),
    "a number without an end": ("config", lambda: unending_numbers, -1, "refused"),
    "a config of a million layers": ("config", lambda: body(json.dumps({"layers": [{"blob": "x"}] * 1_000_000}).encode()), -1, "refused"),
    "bytes of another": ("blob", lambda: other_bytes, -1, "refused"),
    "nothing": ("blob", lambda: empty, -1, "refused"),
    "no content": ("blob", lambda: no_content, -1, "refused"),
    "a config that is nothing": ("config", lambda: empty, -1, "refused"),
    "many headers": ("blob", lambda: many_headers, -1, "either"),
    "a long header": ("ask", lambda: long_header, -1, "either"),
    **{f"{code} to a stranger": ("blob", partial(Elsewhere, code), -1, "refused") for code in (301, 302, 303, 307, 308)},
    "the question to a stranger": ("ask", lambda: Elsewhere(307), -1, "either"),
    "round in a circle": ("blob", lambda: Elsewhere(302, circle=True), -1, "refused"),
    "to a file": ("blob", lambda: status(302, Location="file:///etc/passwd"), -1, "refused"),
    "to nowhere": ("blob", lambda: status(302, Location="http://["), -1, "refused"),
    "to a broken name": ("blob", lambda: status(302, Location="//\udcff:99999999/"), -1, "refused"),
}
"""Each: what the request is about, what is answered, how often, and whether the cache can be read all the same."""


def kept_quiet(backend: Backend, words: str, folder: Path) -> None:
    """No secret was told to a stranger, nor stands in what was said; nobody asked for ever."""
    told = b"".join(repr(seen).encode() for seen in backend.stranger.seen)
    for secret in SECRETS:
        assert secret.encode() not in told
        assert secret not in words
    assert len(backend.proxy.seen) + len(backend.stranger.seen) < MOST


@pytest.mark.parametrize("name", READING)
def test_reading(quiet: Backend, tmp_path: Path, name: str) -> None:
    role, make, times, outcome = READING[name]
    do = make()
    if isinstance(do, Elsewhere):
        do.stranger = quiet.stranger.url
    fault = quiet.fault(role, do, times)
    quiet.between.faults = [fault]
    words = ""
    try:
        found = quiet.read("ok", tmp_path / "store")
    except DockcError as error:
        words = f"{error.message} {error.hint}"
        assert outcome != "fine", words
        assert error.message.isprintable()
    else:
        assert outcome != "refused"
        # A config has no digest: whom its own server names as the one to be asked is believed, a stranger who has none, too.
        assert sorted(found) == sorted(CONTENTS) or (outcome == "either" and role == "ask" and not found)
    assert fault.met
    kept_quiet(quiet, words, tmp_path)
    # What was there is whole, and nothing else is.
    content = ContentStore(tmp_path / "store")
    for data in CONTENTS:
        if content.has(digests.from_bytes(data)):
            assert content.read(digests.from_bytes(data)) == data
    quiet.between.faults = []
    assert sorted(quiet.read("ok", tmp_path / "store")) == sorted(CONTENTS), "what broke off is no harm to the next"


WRITING: dict[str, tuple[str, Callable[[], Do], int, str]] = {
    "hung up on in the middle": ("put", lambda: hung_up, 2, "fine"),
    "hung up on always": ("put", lambda: hung_up, -1, "refused"),
    "403 in the middle": ("put", lambda: later(status(403), 1), -1, "refused"),
    "404 of the upload": ("put", lambda: status(404), 1, "either"),
    "409 on the commit": ("end", lambda: status(409), -1, "either"),
    "409 of a blob": ("put", lambda: status(409), -1, "either"),
    "412 on the commit": ("end", lambda: status(412), -1, "refused"),
    "416 in the middle": ("put", lambda: status(416), -1, "refused"),
    "429 until a date": ("put", lambda: status(429, Retry_After=date(1)), 2, "fine"),
    "429 until a date, on the commit": ("end", lambda: status(429, Retry_After=date(1)), 2, "fine"),
    "500 with patience": ("end", lambda: status(500), 3, "fine"),
    "502 always": ("end", lambda: status(502), -1, "refused"),
    "507": ("put", lambda: status(507), -1, "refused"),
    "done, and nobody heard": ("end", lambda: done_and_hung_up, 1, "either"),
    "a blob is there, and nobody heard": ("put", lambda: done_and_hung_up, 1, "either"),
    "200 for what was not done": ("end", lambda: status(200), -1, "either"),
    "an answer without an end": ("end", lambda: body(b"x" * (1 << 20)), -1, "either"),
    "to a stranger": ("put", lambda: Elsewhere(307), -1, "either"),
    "the commit to a stranger": ("end", lambda: Elsewhere(308), -1, "either"),
    "the commit in a circle": ("end", lambda: Elsewhere(307, circle=True), -1, "refused"),
}
"""Each: what the request is about, what is answered, how often, and whether there is a cache afterwards."""


def later(do: Do, count: int) -> Do:
    """The same after so many requests that go well."""
    left = [count]

    def after(seen: Seen, forward: Forward) -> Answer:
        left[0] -= 1
        return forward() if left[0] >= 0 else do(seen, forward)

    return after


def done_and_hung_up(seen: Seen, forward: Forward) -> Answer:
    forward()
    raise ConnectionResetError


@pytest.mark.parametrize("name", WRITING)
def test_writing(quiet: Backend, tmp_path: Path, name: str) -> None:
    """Who is told that a cache was written can read it; a cache that is there is whole."""
    role, make, times, outcome = WRITING[name]
    do = make()
    if isinstance(do, Elsewhere):
        do.stranger = quiet.stranger.url
    mine = tuple(data + f"{quiet.kind} {name}".encode() for data in CONTENTS)
    place = quiet.place(tmp_path / "content")
    for data in mine:
        place.content.put(data)
    target = re.sub("[^a-z0-9]", "", f"w{list(WRITING).index(name)}")
    fault = quiet.fault(role, do, times)
    quiet.between.faults = [fault]
    words = ""
    try:
        quiet.write(target, place, mine)
    except DockcError as error:
        words = f"{error.message} {error.hint}"
        assert outcome != "fine", words
    else:
        assert outcome != "refused"
    assert fault.met
    kept_quiet(quiet, words, tmp_path)
    quiet.between.faults = []
    try:
        found = quiet.read(target, tmp_path / "store")
    except DockcError:
        found = []
    assert sorted(found) in ([], sorted(mine))
    if outcome == "fine":
        assert found


class Short:
    """A registry whose first two tokens are good for a few requests; it counts who asks for new ones, and with what.

    Not more of them: an upload is begun three times.
    """

    def __init__(self, between: Between, uses: int) -> None:
        self._between, self._uses = between, uses
        self._left: dict[str, int] = {}
        self.asked: list[str] = []
        self.refused = 0

    def __call__(self, seen: Seen) -> Answer:
        if seen.path == "/token":
            self.asked.append(seen.headers.get("authorization", ""))
            name = f"token-{len(self.asked)}"
            self._left[name] = self._uses if len(self.asked) <= 2 else MOST
            return Answer(200, json.dumps({"token": name, "expires_in": 300}).encode())
        token = seen.headers.pop("authorization", "").removeprefix("Bearer ")
        if self._left.get(token, 0) > 0:
            self._left[token] -= 1
            return self._between(seen)
        self.refused += 1
        realm = f'Bearer realm="http://{seen.headers["host"]}/token",service="tests",scope="repository:app/cache:pull,push",error="invalid_token"'
        return Answer(401, b"{}", {"WWW-Authenticate": realm})


@pytest.mark.parametrize("uses", [1, 3, 6])
def test_tokens_that_run_out_in_the_middle(tmp_path: Path, uses: int) -> None:
    """Another is got, with the credentials, for as long as each brings something."""
    (tmp_path / "registry").mkdir()
    with real_registry(tmp_path / "registry") as upstream:
        gate = Short(Between(upstream), uses)
        with Script(gate) as proxy, Script(lambda seen: Answer(404)) as stranger:
            backend = Backend("registry", gate._between, proxy, stranger)
            backend.write("ok", backend.place(tmp_path / "content"))
            assert sorted(backend.read("ok", tmp_path / "store")) == sorted(CONTENTS)
    assert len(gate.asked) >= 3
    assert gate.refused > 1
    assert {b64encode(f"{USER}:{PASSWORD}".encode()).decode() in one for one in gate.asked} == {True}
    assert len(proxy.seen) < MOST
