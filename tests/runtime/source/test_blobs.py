"""Single blobs as sources, and git bundles that lie in them."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path

import pytest

from dockc.errors import DigestMismatch, DockcError, SolveError
from dockc.oci.platform import Platform
from dockc.runtime.content.store import ContentStore
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.registry.client import Client
from dockc.runtime.source import gitbundle
from dockc.runtime.source.base import OCI_STORES
from dockc.runtime.source.blob import Blobs, BlobSource, parse_locator
from dockc.runtime.source.git import GitSource, find_commit
from dockc.runtime.source.gitid import parse_options
from dockc.runtime.source.memory import Memory
from dockc.runtime.source.table import SOURCES
from tests.runtime.registry_servers import Answer, Script, Seen
from tests.runtime.source.conftest import Context, files_of
from tests.runtime.source.test_git import Repository, daemon  # noqa: F401  a fixture

DATA = b"any bytes at all"
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
AMD64 = Platform("linux", "amd64")


class Worker:
    """What sources keep their content in."""

    def __init__(self, refs: RefManager) -> None:
        self.refs, self.content = refs, ContentStore(refs.root)


def layout(folder: Path, *blobs: bytes) -> list[str]:
    """An OCI layout of nothing but blobs; their digests."""
    names = [hashlib.sha256(blob).hexdigest() for blob in blobs]
    (folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    for name, blob in zip(names, blobs, strict=True):
        (folder / "blobs/sha256" / name).write_bytes(blob)
    return [f"sha256:{name}" for name in names]


def blob(refs: RefManager, identifier: str, **attributes: str) -> BlobSource:
    scheme = identifier.partition("://")[0]
    made = SOURCES.find(scheme)(identifier, {key.replace("_", "."): value for key, value in attributes.items()}, AMD64, Worker(refs))
    assert isinstance(made, BlobSource)
    return made


def test_a_blob_of_a_registry_is_one_file_fetched_once(refs: RefManager, ctx: Context) -> None:
    def answer(seen: Seen) -> Answer:
        return Answer(200, DATA) if seen.path == f"/v2/a/b/blobs/{DIGEST}" else Answer(404)

    with Script(answer) as server:
        place = f"docker-image+blob://{server.address}/a/b@{DIGEST}"
        source = blob(refs, place, http_filename="../layer.tar.gz", http_perm="0640", http_uid=str(os.getuid()), http_gid=str(os.getgid()))
        assert source.key(ctx).pin == DIGEST
        assert server.seen == []
        with source.snapshot(ctx) as ref:
            assert files_of(refs, ref) == {"layer.tar.gz": DATA}
            with ref.mount() as root:
                found = (root / "layer.tar.gz").stat()
                assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (0o640, 0)
        asked = len(server.seen)
        with blob(refs, place, http_filename="layer.tar.gz", http_perm="416", http_uid=str(os.getuid()), http_gid=str(os.getgid())).snapshot(ctx):
            assert len(server.seen) == asked
        plain = blob(refs, place)
        assert plain.key(ctx).key != source.key(ctx).key
        with plain.snapshot(ctx) as ref:
            assert files_of(refs, ref) == {DIGEST.partition(":")[2]: DATA}


def test_a_blob_of_a_layout(refs: RefManager, ctx: Context, tmp_path: Path) -> None:
    layout(tmp_path / "layout", DATA)
    ctx.values[OCI_STORES] = {"mine": tmp_path / "layout"}
    with blob(refs, f"oci-layout+blob://not/real@{DIGEST}", oci_store="mine").snapshot(ctx) as ref:
        assert list(files_of(refs, ref).values()) == [DATA]
    missing = "sha256:" + "0" * 64
    with pytest.raises(DockcError, match=f"blob {missing} is missing"):
        blob(refs, f"oci-layout+blob://not/real@{missing}", oci_store="mine").snapshot(ctx)
    with pytest.raises(SolveError, match="requires store id"):
        blob(refs, f"oci-layout+blob://not/real@{DIGEST}")


def test_other_bytes_than_the_digest_says_are_kept_by_nobody(refs: RefManager, ctx: Context, tmp_path: Path) -> None:
    layout(tmp_path / "layout", DATA)
    (tmp_path / "layout/blobs/sha256" / DIGEST.partition(":")[2]).write_bytes(DATA + b"!")
    ctx.values[OCI_STORES] = {"mine": tmp_path / "layout"}
    source = blob(refs, f"oci-layout+blob://a@{DIGEST}", oci_store="mine")
    for _ in range(2):
        with pytest.raises(DigestMismatch, match="expected checksum to match"):
            source.snapshot(ctx)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("docker-image://a@" + DIGEST, "no place of a blob"),
        ("docker-image+blob://a:tag", "no digest"),
        ("docker-image+blob://a@sha256:1", "digest"),
        ("docker-image+blob://A@" + DIGEST, "lowercase"),
        (f"docker-image+blob://a@{DIGEST}@{DIGEST}", "more than one digest"),
    ],
)
def test_places_that_are_none(text: str, message: str) -> None:
    with pytest.raises(SolveError, match=message):
        parse_locator(text)


# --- bundles --------------------------------------------------------------------------------------------


def git(refs: RefManager, remote: str, fragment: str = "", **attributes: str) -> GitSource:
    named = {f"git.{key}": value for key, value in attributes.items() if key != "store"}
    if "store" in attributes:
        named["oci.store"] = attributes["store"]
    identifier = f"git://{remote.partition('://')[2]}{fragment}"
    return GitSource(parse_options(identifier, {"git.fullurl": remote, **named}), refs, Memory(refs.root))


def exported(refs: RefManager, ctx: Context, source: GitSource) -> bytes:
    source.key(ctx)
    with source.snapshot(ctx) as ref:
        files = files_of(refs, ref)
    assert list(files) == [gitbundle.FILE]
    return files[gitbundle.FILE]


@pytest.mark.parametrize("hashing", [(), ("--object-format=sha256",)])
def test_a_bundle_that_was_written_is_read_where_the_remote_is_gone(
    refs: RefManager, ctx: Context, daemon: str, tmp_path: Path, hashing: tuple[str, ...]
) -> None:
    repo = Repository(tmp_path / "repos" / "app", *hashing)
    repo.commit(a="1")
    repo.git("tag", "-a", "v1", "-m", "release")
    tip = repo.commit(a="2", b="x")  # with a history, which a bundle is broken without
    packed = exported(refs, ctx, git(refs, f"{daemon}/app", "#main", checksum=tip, checkoutbundle="true"))
    (tmp_path / "b").write_bytes(packed)
    heads = subprocess.run(["git", "bundle", "list-heads", str(tmp_path / "b")], capture_output=True, text=True, check=True)
    assert heads.stdout == f"{tip} refs/heads/main\n"
    (digest,) = layout(tmp_path / "layout", packed)
    ctx.values[OCI_STORES] = {"mine": tmp_path / "layout"}
    place = {"bundle": f"oci-layout+blob://not/real@{digest}", "store": "mine", "checksum": tip}
    gone = "https://gone.invalid/app.git"
    for number, (fragment, more) in enumerate((("", {}), (f"#{tip}", {}), ("#main", {}), ("#main", {"keepgitdir": "true"}))):
        source = git(refs, f"{gone}{number}", fragment, **place, **more)
        assert source.key(ctx).pin == tip
        with source.snapshot(ctx) as ref:
            files = files_of(refs, ref)
            assert (files["a"], files["b"]) == (b"2", b"x")
            assert (".git/HEAD" in files) == bool(more)
            if more:
                assert not any("refs/dockc" in name for name in files)
                with ref.mount() as root:
                    said = subprocess.run(
                        ["git", "-c", f"safe.directory={root}", "-C", str(root), "rev-parse", "refs/heads/main", "HEAD"],
                        capture_output=True, text=True, check=True,
                    )  # fmt: skip
                assert said.stdout.split() == [tip, tip]
    found = find_commit(
        f"git://gone.invalid/app.git#{tip}",
        {"git.fullurl": gone, "git.bundle": place["bundle"], "git.checksum": tip, "oci.store": "mine"},
        Memory(refs.root),
        blobs=Blobs.of(ctx),
    )
    assert (found.commit, found.commit_object[:5]) == (tip, b"tree ")


def test_bundles_of_tags_and_of_commits_behind_a_shallow_copy(refs: RefManager, ctx: Context, daemon: str, tmp_path: Path) -> None:
    repo = Repository(tmp_path / "repos" / "app")
    first = repo.commit(a="1")
    repo.git("tag", "-a", "v1", "-m", "release")
    tag = repo.git("rev-parse", "v1")
    second = repo.commit(a="2")
    git(refs, f"{daemon}/app", "#main").snapshot(ctx).release()  # leaves a shallow repository in the store
    for fragment, heads in (
        ("#main", f"{second} refs/heads/main"),
        ("#refs/tags/v1", f"{tag} refs/tags/v1"),
        ("#v1", f"{first} refs/heads/v1"),
        (f"#{second}", f"{second} refs/heads/main"),
    ):
        (tmp_path / "b").write_bytes(exported(refs, ctx, git(refs, f"{daemon}/app", fragment, checkoutbundle="true")))
        told = subprocess.run(["git", "bundle", "list-heads", str(tmp_path / "b")], capture_output=True, text=True, check=True)
        assert told.stdout.strip() == heads
        # All that leads to it is in there.
        subprocess.run(["git", "clone", "-q", "--bare", str(tmp_path / "b"), str(tmp_path / f"copy{fragment.replace('/', '-')}")], check=True)


def test_bundles_that_are_none_or_hold_something_else(refs: RefManager, ctx: Context, client: Client, tmp_path: Path) -> None:
    repo = Repository(tmp_path / "repo")
    commit = repo.commit(a="1")
    repo.git("bundle", "create", str(tmp_path / "b"), "refs/heads/main")
    good = (tmp_path / "b").read_bytes()
    other, broken = (f"oci-layout+blob://mine@{digest}" for digest in layout(tmp_path / "layout", good, DATA))
    ctx.values[OCI_STORES] = {"mine": tmp_path / "layout"}
    with pytest.raises(SolveError, match="failed to inspect git bundle"):
        git(refs, "https://a.invalid/r", "#main", bundle=broken, checksum=commit).key(ctx)
    with pytest.raises(SolveError, match=f"commit {'1' * 40} not found in bundle"):
        git(refs, "https://a.invalid/r", "#main", bundle=other, checksum="1" * 40).key(ctx)
    with pytest.raises(SolveError, match="does not contain ref elsewhere"):
        git(refs, "https://a.invalid/r", "#elsewhere", bundle=other, checksum=commit).key(ctx)
    with pytest.raises(DockcError, match="no OCI layout store"):
        git(refs, "https://a.invalid/r", "#main", bundle=other, store="nobody's", checksum=commit).key(ctx)


@pytest.mark.parametrize(
    ("fragment", "attributes", "message"),
    [
        ("#main", {"bundle": f"oci-layout+blob://a@{DIGEST}"}, "requires git.checksum"),
        ("", {"bundle": f"oci-layout+blob://a@{DIGEST}", "checksum": "abc"}, "full commit SHA"),
        (f"#{'1' * 40}", {"bundle": f"oci-layout+blob://a@{DIGEST}", "checksum": "2" * 40}, "expected checksum to match"),
        ("", {"bundle": f"oci-layout+blob://a@sha512:{'0' * 128}", "checksum": "2" * 40}, "expected sha256"),
        ("", {"checkoutbundle": "true", "keepgitdir": "true"}, "incompatible with git.keepgitdir"),
        ("#main:sub", {"checkoutbundle": "true"}, "incompatible with git.subdir"),
    ],
)
def test_what_bundles_do_not_go_together_with(refs: RefManager, fragment: str, attributes: dict[str, str], message: str) -> None:
    with pytest.raises(SolveError, match=message):
        git(refs, "https://a.example/r", fragment, **attributes)
