"""Object stores of their own: what one service does that others do not."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.base.record import replace
from dockc.client import caches
from dockc.errors import DockcError, UsageError
from dockc.golang.text import dump_json
from dockc.oci import digest as digests
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import Descriptor
from dockc.runtime.content.store import ContentStore
from dockc.runtime.refs.types import LayerDescriptor
from dockc.runtime.registry.client import Client
from dockc.runtime.registry.transport import Limits
from dockc.runtime.remotecache import azblob, gha, manifest, s3, table
from dockc.runtime.remotecache.base import CacheEntry, CacheFailed, Place, parse_entry
from dockc.runtime.remotecache.chains import Chains
from dockc.runtime.remotecache.config import CacheConfig, CacheLayer, CacheRecord, CacheResult
from dockc.runtime.remotecache.local import LocalTarget
from dockc.runtime.remotecache.objects import ObjectTarget
from tests.e2e import cache_servers
from tests.runtime.registry_servers import Answer, Script, Seen

DATA = b"0123456789abcdef" * 4
DIGEST = digests.from_bytes(DATA)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    content = ContentStore(tmp_path / "content")
    content.put(DATA)
    return Place(content, lambda insecure=False: Client(), {})


def _chains(*contents: bytes) -> Chains:
    """A cache of a layer for each content, and a key with a result on each."""
    names = [digests.from_bytes(data) for data in contents]
    layers = {name: LayerDescriptor(name, Descriptor(mt.OCI_LAYER, name, len(data))) for name, data in zip(names, contents, strict=True)}
    records = tuple(CacheRecord(digests.from_bytes(f"key {name}".encode()), (), (CacheResult((at,), 1),)) for at, name in enumerate(names))
    return Chains(CacheConfig(tuple(CacheLayer(name, -1, mt.OCI_LAYER, name, 1) for name in names), records), layers)


# --- options ------------------------------------------------------------------------------------------

NAMED = {"s3": s3.OPTIONS, "azblob": azblob.OPTIONS, "gha": gha.OPTIONS, "registry": manifest.OPTIONS, "local": manifest.OPTIONS}
COMMON = ("mode", "ignore-error", "mounts", "compression", "compression-level", "force-compression", "ref", "src", "dest", "tag", "digest", "gc", "reset")
ODD = st.one_of(st.text(max_size=9), st.sampled_from(["soon", "1d", "-1s", "1h", "true", "si", "-1", "10", "1e9", "sha256:12", "http://[", "https://a.b/?sig=1", "a/b:c", "%%%"]))


@given(st.sampled_from(sorted(NAMED)), st.data())
def test_any_option_is_understood_or_refused(kind: str, data: st.DataObject) -> None:
    """Whatever stands behind an option: the cache can be asked, or one sentence says what is wrong."""
    good = {"bucket": "b", "region": "r", "account_url": "https://a.blob.core.windows.net", "token": cache_servers.github_token(), "url": "http://x", "ref": "a/b"}
    good |= {"src": "/x", "dest": "/x"}
    wanted = {"s3": ("bucket", "region"), "azblob": ("account_url",), "gha": ("token", "url"), "registry": ("ref",), "local": ("src", "dest")}[kind]
    attrs = {name: good[name] for name in wanted} | data.draw(st.dictionaries(st.sampled_from([*NAMED[kind], *COMMON]), ODD, max_size=3))
    for make, not_his in ((table.source_of, "dest"), (table.target_of, "src")):
        try:
            make(CacheEntry(kind, {name: value for name, value in attrs.items() if name != not_his or kind != "local"}), {})
        except DockcError as error:
            assert error.message


@pytest.mark.parametrize(("entry", "said"), [("type=s3,bucket=b,region=r,touch_refresh=1d", "invalid touch_refresh '1d'"), ("type=gha,url=http://x,timeout=soon", "failed to parse timeout")])
def test_durations_that_are_none(entry: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        table.source_of(parse_entry(entry), {"ACTIONS_RUNTIME_TOKEN": cache_servers.github_token()})


@pytest.mark.parametrize("url", ["a.blob.core.windows.net", "ftp://a", "https://", "https://[/"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="account_url of an azblob cache is no web address"):
        table.source_of(CacheEntry("azblob", {"account_url": url}), {})


# --- directories --------------------------------------------------------------------------------------


def _written(folder: Path, tag: str) -> set[str]:
    """The blobs of the cache that a tag of a directory names; all of them are there."""
    index = json.loads((folder / "index.json").read_text())
    (root,) = (one["digest"] for one in index["manifests"] if one["annotations"]["org.opencontainers.image.ref.name"] == tag)
    manifest = json.loads((folder / "blobs" / root.replace(":", "/")).read_text())
    named = {root, manifest["config"]["digest"], *(one["digest"] for one in manifest["layers"])}
    assert {one for one in named if not (folder / "blobs" / one.replace(":", "/")).exists()} == set()
    return named


def test_nothing_is_collected_while_another_writes(place: Place, tmp_path: Path) -> None:
    """A writer whose blobs are there and whose index is not yet written meets one who collects: both caches are whole, and the last collects for both."""
    folder, sent, go = tmp_path / "cache", threading.Event(), threading.Event()
    first, other = b"of before", b"of the other"
    for data in (first, other):
        place.content.put(data)
    LocalTarget(parse_entry(f"type=local,dest={folder},tag=slow")).save(_chains(first), place)
    before = _written(folder, "slow")

    def told(digest: str, offset: int, total: int, done: bool) -> None:
        sent.set()
        assert go.wait(60)

    slow = LocalTarget(parse_entry(f"type=local,dest={folder},tag=slow,gc=true"))
    thread = threading.Thread(target=slow.save, args=(_chains(DATA), replace(place, progress=told)))
    thread.start()
    assert sent.wait(60)
    LocalTarget(parse_entry(f"type=local,dest={folder},tag=fast,reset=true")).save(_chains(other), place)
    fast = _written(folder, "fast")
    go.set()
    thread.join()
    kept = _written(folder, "slow") | fast
    assert {f"sha256:{path.name}" for path in (folder / "blobs/sha256").iterdir()} == kept
    assert before - kept


# --- Azure --------------------------------------------------------------------------------------------


@pytest.mark.peer
def test_large_blobs_of_a_container(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first blob of all is sent in blocks, into a container that is not there yet; two send it at once; a list of blocks that are gone is told."""
    monkeypatch.setattr(azblob, "_BLOCK", 16)
    with cache_servers.azurite(tmp_path) as address:
        entry = parse_entry(f"{cache_servers.azure_entry(address)},container=new")
        one, other = (azblob.Container(azblob.settings(entry, {})) for _ in range(2))
        threads = [threading.Thread(target=store.put_blob, args=(DIGEST, len(DATA), io.BytesIO(DATA), place)) for store in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with one.open_blob(DIGEST, 0, None) as answer:
            assert answer.read_all(len(DATA)) == DATA
        with one.open_blob(DIGEST, 20, None) as answer:
            assert (answer.status, answer.read_all(len(DATA))) == (206, DATA[20:])
        missing = digests.from_bytes(b"other")
        with pytest.raises(CacheFailed, match="400"):
            one._put(f"blobs/{missing}", b"<BlockList><Latest>MDE=</Latest></BlockList>", place, query="comp=blocklist")
        assert not one.has_blob(missing, place)


# --- GitHub -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "environment", "address", "first"),
    [
        ("", {"ACTIONS_RESULTS_URL": "http://new/"}, "http://new", False),
        ("", {"ACTIONS_RESULTS_URL": "http://new", "ACTIONS_CACHE_URL": "http://old"}, "http://old", True),
        ("", {"ACTIONS_RESULTS_URL": "http://new", "ACTIONS_CACHE_URL": "http://old", "ACTIONS_CACHE_SERVICE_V2": "True"}, "http://new", False),
        ("", {"ACTIONS_CACHE_URL": "http://old"}, "http://old", True),
        ("", {"ACTIONS_CACHE_URL": "https://results-receiver.actions.githubusercontent.com/"}, "https://results-receiver.actions.githubusercontent.com", False),
        ("version=2", {"ACTIONS_RESULTS_URL": "http://new", "ACTIONS_CACHE_URL": "http://old"}, "http://new", False),
        ("version=1", {"ACTIONS_RESULTS_URL": "http://new", "ACTIONS_CACHE_URL": "http://old", "ACTIONS_CACHE_SERVICE_V2": "1"}, "http://old", True),
        ("url=http://own", {"ACTIONS_RESULTS_URL": "http://new", "ACTIONS_CACHE_SERVICE_V2": "1"}, "http://own", True),
        ("url_v2=http://own", {"ACTIONS_CACHE_URL": "http://old"}, "http://own", False),
    ],
)  # fmt: skip
def test_which_service_a_runner_means(options: str, environment: dict[str, str], address: str, first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on the machine of the runner and on a builder that knows nothing of its environment."""
    token = {"ACTIONS_RUNTIME_TOKEN": cache_servers.github_token()}
    entry = parse_entry("type=gha," + options if options else "type=gha")
    here = gha.settings(entry, environment | token)
    for name in ("ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL", "ACTIONS_CACHE_SERVICE_V2"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (environment | token).items():
        monkeypatch.setenv(name, value)
    there = gha.settings(caches.parse("type=gha," + options if options else "type=gha"), {})
    assert [(one.url, one.first) for one in (here, there)] == [(address, first)] * 2


def _settings(url: str, timeout: str = "1m") -> gha.Settings:
    return gha.settings(parse_entry(f"{cache_servers.github_entry(url)},timeout={timeout}"), {})


@pytest.mark.parametrize("first", [False, True])
def test_a_blob_that_somebody_has_begun_and_left(place: Place, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    """The index says nothing of it, and the build is told; all others are there. One that gets ready meanwhile is as good as ours."""
    monkeypatch.setattr(gha, "_PATIENCE", 0.0)
    left, ready, mine = DATA, b"ready", b"mine"
    for data in (ready, mine):
        place.content.put(data)
    said: list[str] = []
    with cache_servers.actions() as server:
        keys = {data: f"buildkit-blob-1-{digests.from_bytes(data)}" for data in (left, ready, mine)}
        server.open[keys[left]] = server.open[keys[ready]] = b""
        settings = gha.settings(parse_entry(cache_servers.github_entry(server.url, first=first)), {})
        store = gha.connect(settings, place)
        real = store.has_blob

        def has_blob(digest: str, place: Place) -> bool:
            found: bool = real(digest, place)
            if keys[ready].endswith(digest):
                server.entries[keys[ready]] = (0.0, ready)
            return found

        monkeypatch.setattr(store, "has_blob", has_blob)
        target = ObjectTarget(lambda place: store)
        target.save(_chains(left, ready, mine), Place(place.content, place.client, {}, warn=said.append))
        (index,) = (json.loads(data) for key, (_, data) in server.entries.items() if key.startswith("index-"))
    assert said == ["1 blobs are not in the cache: others have begun to send them and are not ready"]
    named = [index["layers"][one["layer"]]["blob"] for record in index["records"] for one in record.get("layers", ())]
    assert sorted(named) == sorted(digests.from_bytes(data) for data in (ready, mine))


@pytest.mark.parametrize("first", [False, True])
def test_a_service_where_every_number_is_taken_is_not_asked_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    monkeypatch.setattr(gha, "pause", lambda seconds, cancelled: None)
    answer = Answer(409, b"{}") if first else Answer(200, dump_json({"ok": False}))
    with Script(lambda seen: Answer(204) if seen.method == "GET" else answer) as server:
        settings = gha.settings(parse_entry(cache_servers.github_entry(server.url, first=first)), {})
        with pytest.raises(CacheFailed, match="no place for the index: 100 numbers after 0 are taken"):
            gha.connect(settings, place).put_config(b"{}", place)
        assert len(server.seen) < 110


def test_github_is_left_alone_for_as_long_as_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout` is about one call, however old the build is by then; a call that would wait longer ends with what the service says."""
    pauses: list[float] = []
    now = [1000.0]

    def pause(seconds: float, cancelled: object) -> None:
        pauses.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(gha, "pause", pause)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    answers: list[Answer] = []
    with Script(lambda seen: answers.pop(0) if answers else Answer(200, dump_json({"ok": False}))) as server:
        store: Any = gha.Actions(_settings(server.url))
        monkeypatch.setattr(store._transport, "limits", Limits(attempts=1))
        answers += [Answer(429), Answer(429, headers={"Retry-After": "30"}), Answer(429)]
        assert store._find("x", None) is None
        assert pauses == [1.0, 30.0, 4.0]
        now[0] += 3600
        assert store._find("x", None) is None
        answers.append(Answer(429, headers={"Retry-After": "61"}))
        with pytest.raises(CacheFailed, match="429"):
            store._find("x", None)


@pytest.mark.parametrize("answer", [b"", b"[]", b"null", b"{" * 100_000, b'{"ok": true}', b'{"ok": true, "signed_upload_url": "file:///etc/passwd"}'])
def test_answers_of_github_that_make_no_sense(place: Place, answer: bytes) -> None:
    with Script(lambda seen: Answer(200, answer)) as server:
        store = gha.Actions(_settings(server.url))
        with pytest.raises(Exception) as caught:
            store.put_blob(DIGEST, len(DATA), io.BytesIO(DATA), place)
            store.open_blob(DIGEST, 0, None)
    assert type(caught.value).__name__ in ("CacheFailed", "RegistryError")
    assert "passwd" not in str(caught.value) or "not an http" in str(caught.value)


def test_a_number_that_github_gives_twice(place: Place) -> None:
    """An index whose number is no number begins again at 1."""
    asked: list[str] = []

    def answer(seen: Seen) -> Answer:
        method = seen.path.rpartition("/")[2]
        asked.append(json.loads(seen.body)["key"] if method == "CreateCacheEntry" else "")
        if method == "GetCacheEntryDownloadURL":
            return Answer(200, dump_json({"ok": True, "matched_key": "index-tests-1-x#" + "9" * 40, "signed_download_url": "http://x"}))
        if method == "CreateCacheEntry":
            return Answer(200, dump_json({"ok": True, "signed_upload_url": f"http://{seen.headers['host']}/up?sig=1"}))
        return Answer(201 if seen.method == "PUT" else 200, dump_json({"ok": True}))

    with Script(answer) as server:
        gha.Actions(_settings(server.url)).put_config(b"{}", place)
    assert next(key for key in asked if key).endswith("#1")
