"""Caches that travel: written by one store, read by another, in every kind of place; and what becomes of broken ones."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockc.base.record import replace
from dockc.oci import digest as digests
from dockc.runtime.content.store import ContentStore
from dockc.runtime.registry.client import Client
from dockc.runtime.remotecache import azblob, gha, s3
from dockc.runtime.remotecache.base import CacheEntry, Place, parse_entry
from tests.e2e import cache_servers
from tests.e2e.conftest import Dockc, MakeContext
from tests.runtime.registry_servers import free_port, real_registry

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


def test_what_is_written_names_the_base_by_its_files_too(root: Dockc, files: Path, base: Path, tmp_path: Path) -> None:
    """The base image is under another manifest by the time the cache is read, as after a rebuild of its config."""
    _build(root, files, base, f"--cache-to=type=local,dest={tmp_path}/cache,mode=max")
    manifest = json.loads((base / "index.json").read_text())["manifests"][0]
    image = json.loads((base / "blobs" / manifest["digest"].replace(":", "/")).read_bytes())
    config = json.loads((base / "blobs" / image["config"]["digest"].replace(":", "/")).read_bytes())
    chain = ""
    for diff_id in config["rootfs"]["diff_ids"]:
        chain = f"sha256:{hashlib.sha256(f'{chain} {diff_id}'.encode()).hexdigest()}" if chain else diff_id
    root_key = f"sha256:{hashlib.sha256(f'buildkit.source.v0:{chain}'.encode()).hexdigest()}@0"
    index = json.loads((tmp_path / "cache" / "index.json").read_text())
    written = json.loads((tmp_path / "cache" / "blobs" / index["manifests"][0]["digest"].replace(":", "/")).read_bytes())
    cache = json.loads((tmp_path / "cache" / "blobs" / written["config"]["digest"].replace(":", "/")).read_bytes())
    digests = [record["digest"] for record in cache["records"]]
    assert f"sha256:{hashlib.sha256(root_key.encode()).hexdigest()}" in digests
    bottom = [record["digest"] for record in cache["records"] if not record.get("inputs")]
    assert len([one for one in bottom if one in _roots_of(cache)]) == 2, "the manifest and the chain, as BuildKit writes them"


def _roots_of(cache: dict[str, Any]) -> set[str]:
    """Keys that the first step of all, `RUN echo one`, is found by."""
    runs = [record for record in cache["records"] if len(record.get("inputs", [])) == 1 and len(record["inputs"][0]) > 1]
    assert runs
    return {cache["records"][one.get("link", 0)]["digest"] for one in runs[0]["inputs"][0]}


@pytest.mark.parametrize("order", [("1", "2"), ("2", "1")])
def test_of_two_results_of_one_step_the_newer_counts(root: Dockc, context: MakeContext, base: Path, tmp_path: Path, order: tuple[str, str]) -> None:
    """Two machines ran the same step, which gives something else each time; whoever reads both caches gets one machine's, whole."""
    files = context("FROM base\nRUN cat /proc/sys/kernel/random/uuid > /one\nRUN cat /one > /two\n")
    got = []
    for number in ("1", "2"):
        made = tmp_path / f"made{number}"
        _build(_other(root, int(number)), files, base, f"--cache-to=type=local,dest={tmp_path}/cache{number},mode=max", f"--output=type=local,dest={made}")
        got.append((made / "two").read_text())
    sources = [f"--cache-from=type=local,src={tmp_path}/cache{number}" for number in order]
    assert _ran(_build(_other(root, 3), files, base, *sources, f"--output=type=local,dest={tmp_path}/both")) == (0, 2)
    assert got[0] != got[1]
    assert ((tmp_path / "both" / "one").read_text(), (tmp_path / "both" / "two").read_text()) == (got[1], got[1])


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


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", cache_servers.KINDS)
def test_object_stores(root: Dockc, files: Path, base: Path, tmp_path: Path, kind: str) -> None:
    """Written twice, the second time changed; under several names and a prefix where the kind has such."""
    with cache_servers.store(kind, tmp_path) as entry:
        named = entry.startswith(("type=s3", "type=azblob"))
        to, source, never = (f"{entry},name={names},prefix=p/" if named else entry for names in ("one;two", "two", "never"))
        shown = _build(root, files, base, f"--cache-to={to},mode=max,ignore-error=false")
        (files / "b.txt").write_text("changed\n")
        shown += _build(root, files, base, f"--cache-to={to},mode=max,ignore-error=false")
        again = _build(_other(root), files, base, f"--cache-from={source}", f"--output=type=oci,dest={tmp_path}/image.tar")
        empty = _build(_other(root, 3), files, base, f"--cache-from={never if named else never.replace('scope=tests', 'scope=no')}")
    assert _ran(again)[0] == 0
    assert _ran(empty)[0] == STEPS
    assert not any(secret in shown + again + empty for secret in cache_servers.SECRETS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("limit", [5 << 30, 5 << 20])
def test_blobs_of_a_bucket_are_touched_when_they_are_old(
    root: Dockc, files: Path, base: Path, tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are too large for one copy are copied in parts."""
    data = b"x" * (6 << 20)
    digest = digests.from_bytes(data)
    monkeypatch.setattr(s3, "_COPY_LIMIT", limit)
    with cache_servers.moto(tmp_path) as endpoint:
        entry = parse_entry(cache_servers.s3_entry(endpoint))
        place = Place(ContentStore(tmp_path / "content"), lambda insecure=False: Client(), {})
        stores = [s3.Bucket(s3.settings(replace(entry, attrs={**entry.attrs, "touch_refresh": age}), {}), place) for age in ("24h", "-1s")]
        stores[0].put_blob(digest, len(data), io.BytesIO(data), place)

        def stamp() -> str:
            with stores[0].ask("HEAD", f"blobs/{digest}", None) as answer:
                return answer.header("x-amz-meta-updated-at")

        assert stores[0].has_blob(digest, place)
        assert not stamp()
        assert stores[1].has_blob(digest, place)
        assert stamp()
        with stores[0].open_blob(digest, 0, None) as answer:
            assert answer.read_all(len(data)) == data


def test_github_lists_what_is_there(root: Dockc, files: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `repository` and `ghtoken` one list answers for all blobs; without the right to it each is asked for."""
    with cache_servers.actions() as server:
        monkeypatch.setenv("GITHUB_API_URL", server.url)
        entry = cache_servers.github_entry(server.url)
        _build(root, files, base, f"--cache-to={entry},mode=max,ignore-error=false")
        counts = []
        for token in (cache_servers.GITHUB_TOKEN, "another"):
            server.asked.clear()
            _build(root, files, base, f"--cache-to={entry},mode=max,ignore-error=false,repository=o/r,ghtoken={token}")
            assert sum("/repos/o/r/actions/caches?" in one for one in server.asked) == 1
            counts.append(sum("GetCacheEntryDownloadURL" in one for one in server.asked))
        blobs = sum(key.startswith("buildkit-blob-") for key in server.entries)
        assert counts[0] + blobs == counts[1]


@pytest.mark.parametrize(
    ("attrs", "first", "url"),
    [
        ({"url": "https://x/"}, True, "https://x"),
        ({"url": "https://results-receiver.actions.githubusercontent.com/"}, False, "https://results-receiver.actions.githubusercontent.com"),
        ({"url": "https://x/", "url_v2": "https://y/"}, False, "https://y"),
        ({"url": "https://x/", "version": "2"}, False, "https://x"),
        ({"url": "https://x/", "url_v2": "https://y/", "version": "1"}, True, "https://x"),
    ],
)
def test_the_version_of_githubs_service(attrs: dict[str, str], first: bool, url: str) -> None:
    found = gha.settings(CacheEntry("gha", {**attrs, "token": cache_servers.github_token()}), {})
    assert (found.first, found.url) == (first, url)


@pytest.mark.parametrize(
    ("attrs", "blobs", "manifests"),
    [
        ({}, "blobs/", "manifests/"),
        ({"prefix": "a/b/"}, "a/b/blobs/", "a/b/manifests/"),
        ({"prefix": "a", "blobs_prefix": "/x", "manifests_prefix": "../m"}, "a/x/", "m/"),
        ({"blobs_prefix": "", "manifests_prefix": "m//n"}, "", "m/n/"),
    ],
)
def test_folders_of_a_container(attrs: dict[str, str], blobs: str, manifests: str) -> None:
    entry = CacheEntry("azblob", {"account_url": "https://a.blob.core.windows.net", "secret_access_key": "k", **attrs})
    found = azblob.settings(entry, {})
    assert (found.blobs, found.manifests) == (blobs, manifests)
