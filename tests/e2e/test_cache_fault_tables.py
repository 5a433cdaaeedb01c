"""What can go wrong with a registry, GitHub's service and Azure's, in tables: reading from them and writing to them, in the middle, for ever and once.

Real servers stand behind a proxy that does what the tables say. Whatever it does, the build ends well and says what was wrong, the store is sound,
and no secret goes anywhere but to the server that it is for.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import cache_servers
from tests.e2e.conftest import Dockc
from tests.e2e.test_cache_faults import (
    DOCKERFILE,
    STEPS,
    Between,
    Do,
    Fault,
    Forward,
    Made,
    hung_up,
    other_bytes,
    status,
)
from tests.e2e.test_caches import _ran
from tests.e2e.test_options import read_oci
from tests.runtime.registry_servers import PASSWORD, USER, Answer, Script, Seen

SECRETS = (*cache_servers.SECRETS, PASSWORD, b64encode(f"{USER}:{PASSWORD}".encode()).decode())
PATHS = {
    "registry": {"ask": "/manifests/", "config": "/blobs/sha256:CONFIG", "blob": "/blobs/sha256(?!:CONFIG)", "put": "/blobs/uploads", "end": "/manifests/"},
    "azblob": {"ask": "/manifests/", "config": "/manifests/", "blob": "/blobs/sha256", "put": "/blobs/sha256", "end": "/manifests/"},
    "gha": {"ask": "/GetCacheEntryDownloadURL", "config": "/index-", "blob": "/buildkit-blob-", "put": "/buildkit-blob-", "end": "/FinalizeCacheEntryUpload"},
}
"""What requests of each server are about; reading a cache begins with `ask`, writing ends with `end`."""
KINDS = tuple(PATHS)


@dataclass
class Backend:
    """A real server that holds the cache `ok`, the proxy before it, and a stranger to whom redirects lead; `layers` are those
    of the cache's image, in hexadecimal.
    """

    kind: str
    between: Between
    proxy: Script
    stranger: Script
    layers: tuple[str, ...] = ()
    config: str = ""
    made: dict[str, Any] = field(default_factory=dict)

    def entry(self, name: str, more: str = "") -> str:
        if self.kind == "registry":
            return f"type=registry,ref={self.proxy.address}/app/cache:{name}{more}"
        if self.kind == "azblob":
            return f"{cache_servers.azure_entry(f'{self.proxy.url}/devstoreaccount1')},name={name},prefix={name}{more}"
        return f"{cache_servers.github_entry(self.proxy.url).replace('scope=tests', f'scope={name}')},timeout=2s{more}"

    def fault(self, role: str, do: Do, times: int = -1, method: str = "") -> Fault:
        methods = {"ask": "GET|POST", "config": "GET", "blob": "GET", "put": "PUT|PATCH", "end": "PUT|POST"}
        if role in LAYERS:
            return Fault("^GET$", self.layers[LAYERS.index(role)], do, times)
        path = PATHS[self.kind][role].replace("CONFIG", self.config.removeprefix("sha256:"))
        path = path if self.config or self.kind != "registry" else path.replace("(?!:)", "")
        return Fault(f"^({method or methods[role]})$", path, do, times)

    def dockc(self, folder: Path) -> Dockc:
        """A store that has nothing, of somebody who may ask this server."""
        (folder / ".docker").mkdir(exist_ok=True)
        login = {"auth": b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
        (folder / ".docker/config.json").write_text(json.dumps({"auths": {self.proxy.address: login}}))
        return Dockc(folder / "store", folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Made:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    top = tmp_path_factory.mktemp("tables")
    files = top / "context"
    files.mkdir()
    (files / "Dockerfile").write_text(DOCKERFILE)
    (files / "a.txt").write_text("A\n")
    found = Made("", Dockc(top / "store", top), files, base)
    found.build(found.dockc, "-o", "type=cacheonly")
    return found


@pytest.fixture(scope="module", params=KINDS)
def backend(request: pytest.FixtureRequest, made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        between = Between(stack.enter_context(cache_servers.upstream(kind, folder)))
        stranger = stack.enter_context(Script(lambda seen: Answer(403, b"{}")))
        found = Backend(kind, between, stack.enter_context(Script(between)), stranger)
        image = folder / "image.tar"
        shown = made.build(
            found.dockc(made.dockc.home), f"--cache-to={found.entry('ok')},mode=max,ignore-error=false", f"--output=type=oci,dest={image}"
        )
        index, blobs = read_oci(image)
        manifest = json.loads(blobs[index["manifests"][0]["digest"]])
        found.layers = tuple(layer["digest"].removeprefix("sha256:") for layer in manifest["layers"])
        if kind == "registry":
            config = re.search(r"writing config (sha256:[0-9a-f]{64})", shown)
            put = next(seen for seen in found.proxy.seen if seen.method == "PUT" and "/manifests/" in seen.path)
            found.config = json.loads(put.body)["config"]["digest"]
            assert config is None or config[1] == found.config
        yield found


@pytest.fixture
def quiet(backend: Backend) -> Iterator[Backend]:
    """The server without faults, before and after."""
    backend.between.faults = []
    backend.stranger.seen.clear()
    yield backend
    backend.between.faults = []


def sound(dockc: Dockc, shown: str, backend: Backend) -> None:
    """No trace of Python, no damage, and no secret in what was said, kept, or told to a stranger."""
    assert "Traceback" not in shown
    assert dockc.run("doctor").stdout.strip().endswith("healthy")
    told = b"".join(repr(seen).encode() for seen in backend.stranger.seen)
    kept = {path: path.read_bytes() for path in dockc.store.rglob("*") if path.is_file() and not path.is_symlink()}
    for secret in SECRETS:
        assert secret not in shown
        assert secret.encode() not in told
        assert [path for path, data in kept.items() if secret.encode() in data] == []


# --- what servers do ----------------------------------------------------------------------------------


def said(answer: Answer, data: bytes, length: int = -1, cut: int | None = None) -> Answer:
    """The answer with another body, which is said to have `length` bytes."""
    kept = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
    return replace(answer, body=data, headers={**kept, "Content-Length": str(len(data) if length < 0 else length)}, cut=cut)


def body(data: bytes) -> Do:
    return lambda seen, forward: said(forward(), data)


def longer(seen: Seen, forward: Forward) -> Answer:
    answer = forward()
    return said(answer, answer.body + b"x" * 70_000)


def says_more(seen: Seen, forward: Forward) -> Answer:
    answer = forward()
    return said(answer, answer.body, 1 << 40, len(answer.body))


def says_less(seen: Seen, forward: Forward) -> Answer:
    answer = forward()
    return said(answer, answer.body, max(1, len(answer.body) // 2))


def one_byte(seen: Seen, forward: Forward) -> Answer:
    """The next byte, and the connection is gone: whoever comes back for each waits for ever."""
    return replace(forward(), cut=1)


def other_range(seen: Seen, forward: Forward) -> Answer:
    answer = forward()
    size = len(answer.body)
    if "range" not in seen.headers and "x-ms-range" not in seen.headers:
        return replace(answer, cut=size // 2)
    return Answer(206, answer.body[:9], {"Content-Range": f"bytes 0-8/{size}"})


class Elsewhere:
    """Sends away, to a stranger or round in a circle."""

    def __init__(self, code: int, *, circle: bool = False) -> None:
        self.code, self.circle = code, circle
        self.stranger = ""

    def __call__(self, seen: Seen, forward: Forward) -> Answer:
        place = f"{seen.path}?{seen.query}" if self.circle else f"{self.stranger}/away"
        return Answer(self.code, headers={"Location": place})


def challenged(seen: Seen, forward: Forward) -> Answer:
    """Wants a token, and refuses each that it is given."""
    if seen.path == "/token":
        return Answer(200, b'{"token": "refused", "expires_in": 300}')
    return Answer(401, b"{}", {"WWW-Authenticate": f'Bearer realm="http://{seen.headers["host"]}/token",service="tests"'})


LAYERS = ("base", "copied", "large", "small")
"""The layers of `DOCKERFILE`'s image, as roles of faults; they are fetched together, so that the first to be asked for may be any."""

READING: dict[str, tuple[str, Callable[[], Do], str]] = {
    "nested for ever": ("config", lambda: body(b"[" * 200_000), "is not used"),
    "larger than a config may be": ("config", lambda: body(b" " * (65 << 20)), "is not used"),
    "401 for ever": ("ask", lambda: challenged, "is not used"),
    "429 for ever": ("ask", lambda: status(429), "is not used"),
    "sent round in a circle": ("ask", lambda: Elsewhere(302, circle=True), "is not used"),
    "a config elsewhere": ("config", lambda: Elsewhere(302), "is not used"),
    "a blob elsewhere": ("blob", lambda: Elsewhere(302), "again"),
    "a blob that goes on": ("blob", lambda: longer, "again"),
    "a length that is too large": ("blob", lambda: says_more, "fine"),
    "a length that is too small": ("blob", lambda: says_less, "either"),
    "bytes of another": ("blob", lambda: other_bytes, "again"),
    "the first of many is gone": ("copied", lambda: status(404), "again"),
    "the last of many is gone": ("small", lambda: status(404), "in part"),
    "only the base is gone": ("base", lambda: status(404), "in part"),
    "the wrong part": ("blob", lambda: other_range, "again"),
    "a byte at a time": ("blob", lambda: one_byte, "again"),
}


@pytest.mark.parametrize("name", READING)
def test_reading(made: Made, quiet: Backend, tmp_path: Path, name: str) -> None:
    role, make, outcome = READING[name]
    do = make()
    if isinstance(do, Elsewhere):
        do.stranger = quiet.stranger.url
    fault = quiet.fault(role, do)
    quiet.between.faults = [fault, Fault(".", "^/token$", do)]
    dockc = quiet.dockc(tmp_path)
    shown = made.build(dockc, f"--cache-from={quiet.entry('ok')}", f"--output=type=oci,dest={tmp_path}/i.tar")
    assert fault.met, quiet.proxy.seen[-3:]
    if outcome in ("fine", "either") and _ran(shown) == (0, STEPS):
        assert "again" not in shown
    else:
        assert outcome != "fine", shown
        run, cached = _ran(shown)
        # Layers that came before the lost one was asked for are used, and what stands on the lost one is not.
        assert run + cached == STEPS if outcome == "in part" else (run, cached) == (STEPS, 0), shown
        assert run or role != "small", shown
        assert ("is not used" if outcome == "is not used" else "building again without imported caches") in shown
    sound(dockc, shown, quiet)


WRITING: dict[str, tuple[str, Callable[[], Do], int, bool]] = {
    "forbidden": ("put", lambda: status(403), -1, False),
    "401 for ever": ("put", lambda: challenged, -1, False),
    "500 for ever": ("put", lambda: status(500), -1, False),
    "hung up on once": ("put", lambda: hung_up, 1, True),
    "busy once": ("put", lambda: status(429, Retry_After="1"), 1, True),
    "to a stranger": ("put", lambda: Elsewhere(307), -1, False),
    "the end is hung up on": ("end", lambda: hung_up, -1, False),
    "the end is busy once": ("end", lambda: status(503), 1, True),
    "an upload that has run out": ("put", lambda: status(404), 1, True),
}


FINAL = {("gha", "an upload that has run out")}
"""What cannot be begun again there."""


@pytest.mark.parametrize("name", WRITING)
def test_writing(made: Made, quiet: Backend, tmp_path: Path, name: str) -> None:
    """Without the last word there is no cache; with it there is the whole."""
    role, make, times, works = WRITING[name]
    works = works and (quiet.kind, name) not in FINAL
    do = make()
    if isinstance(do, Elsewhere):
        do.stranger = quiet.stranger.url
    fault = quiet.fault(role, do, times)
    quiet.between.faults = [fault, Fault(".", "^/token$", do)]
    writer = quiet.dockc(made.dockc.home)
    entry = quiet.entry(re.sub("[^a-z0-9]", "", f"w{list(WRITING).index(name)}"))
    (made.files / "a.txt").write_text(f"{quiet.kind} {name}\n")  # GitHub's blobs are those of all caches: others are needed
    shown = made.build(writer, f"--cache-to={entry},mode=max", "-o", "type=cacheonly")
    assert fault.met
    assert ("was not written" not in shown) == works, shown
    quiet.between.faults = []
    dockc = quiet.dockc(tmp_path)
    again = made.build(dockc, f"--cache-from={entry}", f"--output=type=oci,dest={tmp_path}/i.tar")
    assert _ran(again) == ((0, STEPS) if works else (STEPS, 0)), again
    sound(dockc, shown, quiet)


def test_two_at_once(made: Made, quiet: Backend, tmp_path: Path) -> None:
    """Two builders write different caches under one name at the same time: what is there afterwards is one of them, whole."""
    (made.files / "a.txt").write_text(f"{quiet.kind}, two at once\n")  # a writer that died before may hold the blob of another
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    argv = ["--build-context", f"base=oci-layout://{made.base}", f"--cache-to={quiet.entry('both')},mode=max,ignore-error=false", "-o", "type=cacheonly"]
    running = [quiet.dockc(folder).start("build", made.files, "--progress=plain", *argv) for folder in folders]
    said = [process.communicate(timeout=280) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    dockc = quiet.dockc(tmp_path)
    shown = made.build(dockc, f"--cache-from={quiet.entry('both')}", f"--output=type=oci,dest={tmp_path}/i.tar")
    assert _ran(shown) == (0, STEPS), shown
    sound(dockc, shown, quiet)
