"""Cache mounts as chunks: what comes back is what went, a small change sends little, and nobody's index is believed."""

from __future__ import annotations

import io
import json
import os
import random
import stat
import tarfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockc.errors import DockcError
from dockc.oci import digest as digests
from dockc.oci.descriptor import Descriptor
from dockc.runtime.archive import chunking
from dockc.runtime.archive.compress import Compression, compress_bytes
from dockc.runtime.cancel import Cancelled
from dockc.runtime.content.store import ContentStore
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.mounttree import read_tree, write_tree
from dockc.runtime.refs.types import Fill, Sharing
from dockc.runtime.remotecache import mounts
from dockc.runtime.remotecache.base import CacheFailed
from dockc.runtime.remotecache.mounts import Chunk, MountIndex, MountReader, MountWriter, Pack, StoredMount

KIND = random.Random(7)  # bytes of a test, no secrets


def _cut(data: bytes, step: int = 1 << 16) -> list[bytes]:
    found: list[bytes] = []
    chunker = chunking.Chunker(found.append)
    for at in range(0, len(data), step):
        chunker.write(data[at : at + step])
    chunker.close()
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 3_000_000), st.sampled_from([1000, 70_001, 1 << 20]), st.booleans())
def test_chunks_are_the_stream(seed: int, size: int, step: int, text: bool) -> None:
    data = random.Random(seed).randbytes(size)
    if text:
        data = data.hex().encode()
    found = _cut(data, step)
    assert b"".join(found) == data
    assert found == _cut(data, 12_345)
    assert all(chunking.LEAST <= len(one) <= chunking.LARGEST for one in found[:-1])


def test_an_insertion_changes_the_chunks_near_it() -> None:
    data = KIND.randbytes(8 << 20)
    before = set(_cut(data))
    after = _cut(data[: 3 << 20] + b"inserted" + data[3 << 20 :])
    assert sum(len(one) for one in after if one not in before) <= 2 * chunking.LARGEST
    assert len(before) > 20


class _Folder:
    """Packs in another content store (`Provider`); counts what is fetched."""

    def __init__(self, content: ContentStore) -> None:
        self.content = content
        self.fetched: list[str] = []

    def fetch(self, descriptor: Descriptor, content: ContentStore, **_: object) -> None:
        self.fetched.append(descriptor.digest)
        content.put(self.content.read(descriptor.digest, 1 << 30), descriptor.digest)


def _tree(root: Path, files: int = 40, size: int = 500_000) -> None:
    (root / "many").mkdir(parents=True)
    for number in range(files):
        (root / "many" / f"{number}.bin").write_bytes(KIND.randbytes(size))


def _added(content: ContentStore, folder: Path, known: MountIndex | None = None, name: str = "m") -> tuple[MountIndex, int]:
    writer = MountWriter(content, known)
    writer.add(name, False, lambda out: write_tree(folder, out))
    index = writer.close()
    return index, sum(content.size(digest) for digest in writer.made) + len(mounts.dump(index))


def test_the_second_export_sends_what_changed(tmp_path: Path) -> None:
    """20 MB with a small change: under 5 %; that is what is sent, and nothing of it is sent twice."""
    tree, content = tmp_path / "tree", ContentStore(tmp_path / "content")
    _tree(tree)
    first, sent = _added(content, tree)
    assert sent > 19_000_000
    (tree / "many" / "17.bin").write_bytes(b"changed\n" + (tree / "many" / "17.bin").read_bytes())
    (tree / "many" / "new").write_text("new\n")
    (tree / "many" / "3.bin").unlink()
    second, sent_again = _added(content, tree, mounts.parse(mounts.dump(first)))
    assert sent_again < sent / 20
    third, sent_never = _added(content, tree, second)
    assert third.mounts == second.mounts
    assert sent_never == len(mounts.dump(third))
    back = tmp_path / "back"
    back.mkdir()
    provider = _Folder(content)
    read_tree(MountReader(second, second.mounts[0], provider, ContentStore(tmp_path / "here")), back)
    assert {path.name: path.read_bytes() for path in (tree / "many").iterdir()} == {
        path.name: path.read_bytes() for path in (back / "many").iterdir()
    }
    assert len(provider.fetched) == len(set(provider.fetched)) == len(second.packs)
    assert not [path for path in (tmp_path / "here/blobs/sha256").iterdir() if path.is_file()], "packs do not stay"


def test_packs_of_little_worth_are_not_used_any_more(tmp_path: Path) -> None:
    tree, content = tmp_path / "tree", ContentStore(tmp_path / "content")
    _tree(tree, files=8, size=400_000)
    first, _ = _added(content, tree)
    for number in range(7):
        (tree / "many" / f"{number}.bin").unlink()
    second, _ = _added(content, tree, first)
    assert {pack.digest for pack in second.packs} & {pack.digest for pack in first.packs}, "what is there was not sent again"
    third, _ = _added(content, tree, second)
    assert not {pack.digest for pack in third.packs} & {pack.digest for pack in first.packs}


def test_everything_that_a_file_is_comes_back(tmp_path: Path) -> None:
    tree, back = tmp_path / "tree", tmp_path / "back"
    (tree / "d").mkdir(parents=True)
    back.mkdir()
    (tree / "d/f").write_bytes(b"x" * 3000)
    (tree / "d/f").chmod(0o4751)
    os.utime(tree / "d/f", ns=(1, 1_600_000_000_123_456_789))
    os.link(tree / "d/f", tree / "hard")
    (tree / "link").symlink_to("/etc/passwd")
    (tree / ".wh.f").write_text("a name like any other\n")
    os.mkfifo(tree / "pipe")
    (tree / ("ü" * 100)).write_text("")
    os.utime(tree / "d", ns=(1, 1_500_000_000_000_000_001))
    stream = io.BytesIO()
    assert write_tree(tree, stream.write) == 7
    again = io.BytesIO()
    write_tree(tree, again.write)
    assert stream.getvalue() == again.getvalue()
    stream.seek(0)
    read_tree(stream, back)
    status = (back / "d/f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_nlink) == (0o4751, 1_600_000_000_123_456_789, 2)
    assert (back / "d").stat().st_mtime_ns == 1_500_000_000_000_000_001
    assert (back / "link").readlink() == Path("/etc/passwd")
    assert (back / ".wh.f").read_text() == "a name like any other\n"
    assert stat.S_ISFIFO((back / "pipe").stat().st_mode)
    assert (back / ("ü" * 100)).exists()


# --- those who lie ------------------------------------------------------------------------------------


def _tar(*members: tuple[str, bytes, str]) -> io.BytesIO:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, 0o755
            if kind == tarfile.REGTYPE:
                info.size = 4
            archive.addfile(info, io.BytesIO(b"evil"))
    data.seek(0)
    return data


@pytest.mark.parametrize(
    "members",
    [
        [("../out", tarfile.REGTYPE, "")],
        [("/out", tarfile.REGTYPE, "")],
        [("a", tarfile.SYMTYPE, ".."), ("a/out", tarfile.REGTYPE, "")],
        [("a", tarfile.SYMTYPE, "/"), ("a/out", tarfile.REGTYPE, "")],
        [("h", tarfile.LNKTYPE, "../secret"), ("h", tarfile.REGTYPE, "")],
        [("h", tarfile.LNKTYPE, "/secret")],
        [("dev", tarfile.CHRTYPE, "")],
        [("dev", tarfile.BLKTYPE, "")],
    ],
)
def test_nothing_is_written_outside(tmp_path: Path, members: list[tuple[str, bytes, str]]) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_text("secret")
    try:
        read_tree(_tar(*members), inside)
    except DockcError:
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "secret"]
    assert (tmp_path / "secret").read_text() == "secret"
    assert (tmp_path / "secret").stat().st_nlink == 1
    assert not any(stat.S_ISCHR(path.lstat().st_mode) or stat.S_ISBLK(path.lstat().st_mode) for path in inside.rglob("*"))
    assert not Path("/out").exists()


def _zstd(data: bytes) -> bytes:
    return compress_bytes(data, Compression("zstd"))


SHA = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"version": 2, "packs": [], "chunks": [], "mounts": []},
        {"version": 1, "packs": [], "chunks": [[SHA, 0, 0, 1, 1]], "mounts": []},
        {"version": 1, "packs": [{"digest": SHA, "size": 5}], "chunks": [[SHA, 0, 3, 3, 1]], "mounts": []},
        {"version": 1, "packs": [{"digest": SHA, "size": 5}], "chunks": [[SHA, 0, -1, 3, 1]], "mounts": []},
        {"version": 1, "packs": [{"digest": SHA, "size": 5}], "chunks": [[SHA, 0, 0, 3, 1 << 30]], "mounts": []},
        {"version": 1, "packs": [{"digest": "sha256:../../x", "size": 5}], "chunks": [], "mounts": []},
        {"version": 1, "packs": [], "chunks": [], "mounts": [{"id": "x", "based": False, "size": 0, "chunks": [0]}]},
        {"version": 1, "packs": [], "chunks": [], "mounts": [{"id": "x", "based": False, "size": 9, "chunks": []}]},
        {"version": 1, "packs": [], "chunks": [], "mounts": [{"id": "", "based": False, "size": 0, "chunks": []}]},
        {"version": 1, "packs": [], "chunks": [], "mounts": [7]},
    ],
)
def test_an_index_that_makes_no_sense(document: object) -> None:
    with pytest.raises(CacheFailed):
        mounts.parse(_zstd(json.dumps(document).encode()))


def test_a_chunk_that_is_another(tmp_path: Path) -> None:
    content = ContentStore(tmp_path / "content")
    frame = _zstd(b"evil" * 10)
    pack = content.put(frame)
    for digest, size in ((SHA, 40), (digests.from_bytes(b"evil" * 10), 39)):
        index = MountIndex((Pack(pack, len(frame)),), (Chunk(digest, 0, 0, len(frame), size),), ())
        reader = MountReader(index, StoredMount("m", False, size, (0,)), _Folder(content), ContentStore(tmp_path / "here"))
        with pytest.raises(CacheFailed, match="not what its index says"):
            reader.read()


# --- in a store ---------------------------------------------------------------------------------------


def test_a_mount_is_filled_when_it_is_made(tmp_path: Path) -> None:
    with RefManager(tmp_path / "store", snapshotter_name="native") as refs:
        asked: list[tuple[str, bool]] = []

        def fill(folder: Path, cancelled: threading.Event | None) -> None:
            (folder / "half").write_text("x")
            if len(asked) > 1:
                raise CacheFailed("cut off")

        def offered(name: str, based: bool) -> Fill | None:
            asked.append((name, based))
            return fill if name != "none" else None

        refs.offer_mounts(offered)
        for key, names in (("/one", ["half"]), ("/broken", []), ("/none", [])):
            with refs.cache_dir(key) as folder:
                assert sorted(path.name for path in folder.iterdir()) == names, key
        with refs.cache_dir("/one"):
            pass
        assert asked == [("one", False), ("broken", False), ("none", False)]
        assert {one.id for one in refs.cache_mounts()} == {"one", "broken", "none"}


@pytest.mark.parametrize("sharing", [Sharing.SHARED, Sharing.LOCKED, Sharing.PRIVATE])
def test_a_mount_in_use(tmp_path: Path, sharing: Sharing) -> None:
    with RefManager(tmp_path / "store", snapshotter_name="native") as refs:
        enough = threading.Event()
        enough.set()
        with refs.cache_dir("/m", sharing):
            (mount,) = refs.cache_mounts()
            assert mount.busy
            assert refs.remove_mount(mount) == -1
            if sharing is Sharing.SHARED:
                with refs.enter_mount(mount, enough) as folder:
                    assert folder is not None
            else:
                with pytest.raises(Cancelled), refs.enter_mount(mount, enough):
                    pass
        assert refs.remove_mount(mount) >= 0
        with refs.enter_mount(mount) as folder:
            assert folder is None
        assert refs.cache_mounts() == []
