"""ADD of archives: what counts as one, where its entries go, whose they are."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dockc.errors import DockcError
from dockc.runtime.archive import tarencode, tarheader
from dockc.runtime.fsutil.copyentry import CopyOptions
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.fsutil.unpack import unpack
from dockc.runtime.fsutil.users import Owner
from dockc.runtime.snapshot.tarread import apply_layer

Member = tuple[str, bytes, str]
"""Name, tar type, content or link target."""


def archive(*members: Member, **fields: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mtime = 1_000_000_000
            info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o640
            for key, value in fields.items():
                setattr(info, key, value)
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content.encode()))
    return out.getvalue()


FILE, DIR, SYM, LINK, PIPE = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def add(source: Path, target: Path, data: bytes, dst: str = "/", owner: Owner | None = None) -> bool:
    (source / "a").write_bytes(data)
    if owner is None and os.geteuid() != 0:
        owner = Owner(os.geteuid(), os.getegid())
    with Root(source) as src, Root(target) as root:
        return unpack(src, "/a", root, dst, CopyOptions(owner=owner))


def zstd(data: bytes) -> bytes:
    if not shutil.which("zstd"):
        pytest.skip("no zstd program")
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd], ids=["tar", "gzip", "bzip2", "xz", "zstd"]
)
def test_every_compression(compress: Callable[[bytes], bytes], source: Path, target: Path) -> None:
    data = archive(("dir", DIR, ""), ("dir/file", FILE, "x" * 100_000), ("link", SYM, "dir/file"))
    assert add(source, target, compress(data), "/new/place")
    assert (target / "new/place/link").read_text() == "x" * 100_000
    status = (target / "new/place/dir").stat()
    assert (status.st_mtime, stat.S_IMODE(status.st_mode)) == (1_000_000_000, 0o755)
    assert stat.S_IMODE((target / "new/place/dir/file").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"plain text",
        b"\0" * 1024,
        b"\0" * 10240,
        gzip.compress(b"not a tar", mtime=0),  # the time of day would be part of the names
        gzip.compress(b"", mtime=0),
        bz2.compress(b"no"),
        lzma.compress(b"no"),
        b"\x1f\x8b\x08broken",
        b"BZh9broken",
        b"\xfd7zXZ\0broken",
        b"\x28\xb5\x2f\xfdbroken",
        archive(("f", FILE, "x"))[:300],
    ],
    ids=lambda data: ascii(data[:8]),
)
def test_what_is_no_archive(data: bytes, source: Path, target: Path) -> None:
    assert not add(source, target, data)
    assert list(target.iterdir()) == []


def test_only_regular_files_are_archives(source: Path, target: Path) -> None:
    (source / "dir").mkdir()
    (source / "tar").write_bytes(archive(("f", FILE, "x")))
    (source / "link").symlink_to("tar")
    os.mkfifo(source / "pipe")
    with Root(source) as src, Root(target) as root:
        options = CopyOptions(owner=Owner(os.geteuid(), os.getegid()))
        assert not unpack(src, "/dir", root, "/", options)
        assert not unpack(src, "/pipe", root, "/", options)
        assert not unpack(src, "/none", root, "/", options)
        assert unpack(src, "/link", root, "/", options)


def test_names_and_links_stay_in_the_destination(source: Path, target: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    data = archive(
        ("../../outside/up", FILE, "up"),
        ("/absolute", FILE, "absolute"),
        ("escape", SYM, str(outside)),
        ("escape2", SYM, "../../outside"),
        ("here", DIR, ""),
        ("in", SYM, "/here"),
        ("in/file", FILE, "in"),
    )
    assert add(source, target, data, "/place")
    assert list(outside.iterdir()) == []
    assert (target / "place/outside/up").read_text() == "up"
    assert (target / "place/absolute").read_text() == "absolute"
    assert str((target / "place/escape").readlink()) == str(outside)
    assert (target / "place/here/file").read_text() == "in"
    with pytest.raises(FileError, match=r"^mkdir /escape: file exists$"):
        add(source, target, archive(("escape", SYM, "/nowhere"), ("escape/file", FILE, "x")), "/other")
    with pytest.raises(FileError, match=r"^link /outside/up: no such file or directory$"):
        add(source, target, archive(("hard", LINK, "../../outside/up")), "/third")


def test_existing_entries(source: Path, target: Path) -> None:
    (target / "dir").mkdir(mode=0o700)
    (target / "dir/kept").write_text("kept")
    (target / "file").mkdir()
    (target / "file/gone").write_text("gone")
    (target / "link").symlink_to("dir/kept")
    data = archive(("dir", DIR, ""), ("dir/new", FILE, "new"), ("file", FILE, "file"), ("link", FILE, "link"))
    assert add(source, target, data)
    assert (target / "dir/kept").read_text() == "kept"
    assert (target / "dir/new").read_text() == "new"
    assert (target / "file").read_text() == "file"
    assert (target / "link").read_text() == "link"
    assert not (target / "link").is_symlink()
    assert stat.S_IMODE((target / "dir").stat().st_mode) == 0o755


def test_hard_links_and_pipes(source: Path, target: Path) -> None:
    assert add(source, target, archive(("a", FILE, "x"), ("b", LINK, "a"), ("p", PIPE, "")))
    assert (target / "a").stat().st_ino == (target / "b").stat().st_ino
    assert stat.S_ISFIFO((target / "p").stat().st_mode)


@pytest.mark.root
def test_owners(source: Path, target: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("making files of several owners needs root")
    data = archive(("d/f", FILE, "x"), uid=123, gid=456)
    add(source, target, data, "/own")
    add(source, target, data, "/given", Owner(7, 8))
    own, given = (target / "own/d/f").stat(), (target / "given/d/f").stat()
    assert (own.st_uid, own.st_gid) == (123, 456)
    assert (given.st_uid, given.st_gid) == (7, 8)
    assert (target / "given").stat().st_uid == 7
    assert (target / "own/d").stat().st_uid == 0


def test_attributes_and_sparse_files(source: Path, target: Path) -> None:
    if not shutil.which("tar"):
        pytest.skip("no tar program")
    with (source / "holes").open("wb") as file:
        file.truncate(8 << 20)
        file.seek(4 << 20)
        file.write(b"middle")
    subprocess.run(["tar", "-S", "-cf", "a.tar", "holes"], cwd=source, check=True)
    assert add(source, target, (source / "a.tar").read_bytes())
    assert (target / "holes").read_bytes() == (source / "holes").read_bytes()
    assert (target / "holes").stat().st_blocks * 512 < 1 << 20
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("noted")
        info.pax_headers = {"SCHILY.xattr.user.note": "value"}
        tar.addfile(info)
    assert add(source, target, out.getvalue())
    try:
        assert os.getxattr(target / "noted", "user.note") == b"value"
    except OSError:
        pytest.skip("this file system has no user attributes")


def test_an_archive_that_breaks_off(source: Path, target: Path) -> None:
    data = archive(("first", FILE, "x"), ("second", FILE, "y" * 5000))
    with pytest.raises(FileError, match=r"^failed to unpack /a: unexpected end of archive"):
        add(source, target, data[:3000])
    with pytest.raises(FileError, match=r"^failed to unpack /a: "):
        add(source, target, gzip.compress(archive(("noise", FILE, os.urandom(50_000).hex())))[:30_000])
    with pytest.raises(FileError, match=r"^unhandled tar header type 90$"):
        add(source, target, archive(("first", b"Z", "")))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_a_small_archive_that_is_damaged_is_no_plain_file(
    compress: Callable[[bytes], bytes], source: Path, target: Path
) -> None:
    """All of it fits what is decompressed at once; what is told by the first member comes before the damage."""
    data = bytearray(compress(archive(("a", FILE, "x"), ("b", FILE, os.urandom(600_000).hex()))))
    data[-6] ^= 0xFF
    (source / "x").write_bytes(data)
    with Root(source) as src, Root(target) as dst, pytest.raises(FileError, match="damaged"):
        unpack(src, "/x", dst, "/", CopyOptions())


def test_an_attribute_that_no_file_system_takes_is_an_error(source: Path, target: Path) -> None:
    (source / "x").write_bytes(archive(("a", FILE, "x"), pax_headers={"SCHILY.xattr.user.a": "v" * 70_000}))
    with Root(source) as src, Root(target) as dst, pytest.raises(FileError, match=r'lsetxattr /a: xattr "user\.a": '):
        unpack(src, "/x", dst, "/", CopyOptions())


NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", "", "link", "outside"]), min_size=1, max_size=4).map("/".join)
HOSTILE = st.lists(
    st.tuples(
        NAMES,
        st.sampled_from("0123456"),
        NAMES,
        st.integers(0, 0o7777),
        st.sampled_from([0, 1, -1, 1 << 33, 1 << 62]),
        st.dictionaries(st.sampled_from(["user.a", "a", "trusted.overlay.opaque"]), st.binary(max_size=3), max_size=1),
    ),
    max_size=7,
)


# Layers are unpacked in the builder's namespace, where no mode forbids anything.
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.mark.parametrize("way", ["add", pytest.param("layer", marks=AS_ROOT)])
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(HOSTILE)
@example([("a", "3", "a", 0, 1 << 62, {})])
@example([("link", "2", "../outside", 0, 0, {}), ("link/a", "0", "a", 0, 0, {}), ("b", "1", "link/kept", 0, 0, {})])
def test_no_archive_gets_out_or_breaks_anything(tmp_path_factory: pytest.TempPathFactory, way: str, members: list[tuple[str, str, str, int, int, dict[str, bytes]]]) -> None:
    data = b""
    for name, kind, link, mode, number, xattrs in members:
        member = tarheader.Member(name, kind, mode, number, number, 3 if kind == "0" else 0, number * 10**9, link, number, number, xattrs)
        data += tarencode.header(member) + (b"abc" + bytes(509) if kind == "0" else b"")
    base = tmp_path_factory.mktemp("hostile")
    for folder in ("source", "target", "outside"):
        (base / folder).mkdir()
    kept = base / "outside" / "kept"
    kept.write_text("kept")
    try:
        if way == "add":
            add(base / "source", base / "target", data + tarencode.END)
        else:
            apply_layer(io.BytesIO(data + tarencode.END), base / "target")
    except DockcError:
        pass
    finally:
        assert {path.name for path in base.iterdir()} == {"outside", "source", "target"}
        assert list((base / "outside").iterdir()) == [kept]
        assert (kept.read_text(), kept.stat().st_nlink, stat.S_IMODE(kept.stat().st_mode) & 0o600) == ("kept", 1, 0o600)
        shutil.rmtree(base, ignore_errors=True)
