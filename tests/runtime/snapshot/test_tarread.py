"""Layers are applied as the specification says, and no archive gets out of its root."""

from __future__ import annotations

import io
import os
import random
import stat
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from dockc.errors import StoreError, UnsafePath
from dockc.runtime.archive import tarheader
from dockc.runtime.archive.limits import Limits
from dockc.runtime.archive.tarheader import InvalidTar
from dockc.runtime.cancel import Cancelled
from dockc.runtime.fsutil import marks
from dockc.runtime.snapshot import rooted
from dockc.runtime.snapshot.removal import remove_tree
from dockc.runtime.snapshot.tarread import apply_layer
from tests.runtime.store_helpers import Row, folder, hardlink, make_tar, names_in, symlink, tree

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="whiteouts and owners need uid 0")


@pytest.fixture(params=["openat2", "walk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of finding directories inside the root."""
    monkeypatch.setattr(rooted, "_available", [request.param == "openat2"])
    return str(request.param)


def apply(target: Path, *rows: Row, lowers: tuple[Path, ...] = (), limits: Limits | None = None) -> Path:
    target.mkdir(exist_ok=True)
    apply_layer(io.BytesIO(make_tar(rows)), target, lowers=lowers, limits=limits)
    return target


def test_everything_a_member_says(tmp_path: Path) -> None:
    if not ROOT:
        pytest.skip("owners and devices need uid 0")
    done = apply(
        tmp_path / "layer",
        folder("d", 0o1777, uid=3, gid=4, mtime=1_000_000_001),
        Row("d/f", b"data", mode=0o4755, uid=1000, gid=1001, mtime=1_000_000_002),
        symlink("d/s", "/nowhere/../else"),
        hardlink("d/h", "d/f"),
        Row("d/null", kind=tarfile.CHRTYPE, device=(1, 3), mode=0o666),
        Row("d/disk", kind=tarfile.BLKTYPE, device=(7, 9), mode=0o660),
        Row("d/pipe", kind=tarfile.FIFOTYPE, mode=0o600),
        Row("x", b"1", pax={"mtime": "1234567890.125", "SCHILY.xattr.user.note": "hi"}),
    )
    found = tree(done)
    assert (found["d"].mode, found["d"].owner, found["d"].mtime) == (0o1777, (3, 4), 1_000_000_001)
    assert (found["d/f"].mode, found["d/f"].owner, found["d/f"].mtime) == (0o4755, (1000, 1001), 1_000_000_002)
    assert found["d/s"].content == "/nowhere/../else"
    assert found["d/h"].same_as == "d/f"
    assert (found["d/null"].kind, found["d/null"].content) == ("c", os.makedev(1, 3))
    assert (found["d/disk"].kind, found["d/disk"].content) == ("b", os.makedev(7, 9))
    assert found["d/pipe"].kind == "p"
    assert (done / "x").stat().st_mtime_ns == 1_234_567_890_125_000_000
    assert found["x"].xattrs == (("user.note", b"hi"),)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../evil", "the path '../evil' leads out of its root"),
        ("a/../../evil", "the path 'a/../../evil' leads out of its root"),
        ("/../evil", "the path '/../evil' leads out of its root"),
        ("a/" * 2050 + "f", "is longer than 4096 bytes"),
    ],
)
def test_a_name_that_leaves_the_root_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UnsafePath) as caught:
        apply(tmp_path / "layer", Row(name, b"x"))
    assert message in caught.value.message
    assert not (tmp_path / "evil").exists()


def test_absolute_names_and_links_stay_inside(tmp_path: Path, way: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    done = apply(
        tmp_path / "layer",
        folder("etc"),
        Row("/etc/passwd", b"inside"),
        symlink("out", "../../../../../.." + str(outside)),
        symlink("abs", "/etc"),
        symlink("up", ".."),
        Row("abs/new", b"1"),
        Row("up/up/up/top", b"2"),
        Row("./etc/./x/../y", b"3"),
    )
    assert (done / "etc/passwd").read_bytes() == b"inside"
    assert (done / "etc/new").read_bytes() == b"1"
    assert (done / "top").read_bytes() == b"2"
    assert (done / "etc/y").read_bytes() == b"3"
    done = apply(tmp_path / "second", symlink("out", str(outside)), Row("out/f", b"x"))
    assert (done / str(outside).lstrip("/") / "f").read_bytes() == b"x"
    assert list(outside.iterdir()) == []


def test_a_link_to_nowhere_gets_the_directory_it_names(tmp_path: Path, way: str) -> None:
    done = apply(
        tmp_path / "layer",
        folder("var"),
        symlink("var/run", "/run"),
        Row("var/run/pid/file", b"1"),
        symlink("var/lock", "../run/lock"),
        symlink("again", "var/lock/deeper"),
        Row("again/file", b"2"),
        symlink("far", "../../../../up"),
        Row("far/file", b"3"),
    )
    assert (done / "run/pid/file").read_bytes() == b"1"
    assert (done / "run/lock/deeper/file").read_bytes() == b"2"
    assert (done / "up/file").read_bytes() == b"3"
    assert (done / "var/run").readlink() == Path("/run")
    with pytest.raises(InvalidTar, match="f: not a directory"):
        apply(tmp_path / "second", Row("f", b""), symlink("l", "f"), Row("l/x/y", b""))


def test_a_file_through_a_final_link_replaces_the_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    done = apply(tmp_path / "layer", symlink("f", str(victim)), Row("f", b"new"))
    assert victim.read_text() == "mine"
    assert not (done / "f").is_symlink()


def test_hard_links_stay_inside(tmp_path: Path, way: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    for target in ("../secret", "/../secret"):
        with pytest.raises(UnsafePath):
            apply(tmp_path / "a", hardlink("got", target))
    with pytest.raises(InvalidTar, match=r"a hard link to .*secret, which does not exist"):
        apply(tmp_path / "b", symlink("dir", str(tmp_path)), hardlink("got", "dir/secret"))
    with pytest.raises(InvalidTar, match="which does not exist"):
        apply(tmp_path / "c", hardlink("got", str(secret)))
    done = apply(tmp_path / "d", symlink("s", str(secret)), hardlink("got", "s"))
    assert (done / "got").is_symlink()  # the link itself has two names now, its target has not


def test_a_loop_of_links_ends(tmp_path: Path, way: str) -> None:
    with pytest.raises(UnsafePath, match="too many levels of symbolic links"):
        apply(tmp_path / "layer", symlink("a", "b"), symlink("b", "a"), Row("a/f", b""))


@needs_root
def test_whiteouts(tmp_path: Path) -> None:
    below = apply(
        tmp_path / "below", folder("d"), Row("d/gone"), folder("o"), Row("o/hidden"), folder("both"), Row("file"), folder("dir")
    )
    done = apply(
        tmp_path / "layer",
        folder("d"),
        Row("d/.wh.gone"),
        folder("o"),
        Row("o/.wh..wh..opq"),
        Row("o/kept", b""),
        Row(".wh.both"),
        folder("both"),
        Row("file"),
        Row(".wh.file"),
        folder("dir"),
        Row("dir/x"),
        Row(".wh.dir"),
        Row(".wh..wh.plnk/ignored"),
        lowers=(below,),
    )
    assert marks.is_whiteout(str(done / "d/gone"), (done / "d/gone").lstat())
    assert marks.is_opaque(str(done / "o"))
    assert (done / "o/kept").exists()
    assert marks.is_opaque(str(done / "both")), "hidden and made again"
    assert (done / "file").is_file(), "a whiteout speaks of lower layers only"
    assert marks.is_opaque(str(done / "dir"))
    assert (done / "dir/x").exists()
    assert sorted(names_in(done)) == ["both", "d", "dir", "file", "o"]


def test_a_whiteout_below_a_file_hides_nothing_more(tmp_path: Path) -> None:
    done = apply(tmp_path / "layer", Row("f", b"x"), Row("f/.wh.e"), Row("f/.wh..wh..opq"), Row("g", b"y"))
    assert names_in(done) == {"f", "g"}


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh.."])
def test_whiteouts_of_no_name_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafePath, match="invalid whiteout"):
        apply(tmp_path / "layer", folder("d"), Row(name))


@needs_root
def test_marks_of_the_store_cannot_be_smuggled_in(tmp_path: Path) -> None:
    attributes = {
        f"SCHILY.xattr.{name}": "y"
        for name in ("trusted.overlay.opaque", "user.overlay.opaque", "trusted.overlay.redirect", "user.dockc.owner")
    }
    done = apply(tmp_path / "layer", Row("d", kind=tarfile.DIRTYPE, pax=attributes), Row("f", pax=attributes))
    assert not os.listxattr(done / "d")
    assert not os.listxattr(done / "f")


@needs_root
def test_missing_parents_look_like_those_below(tmp_path: Path) -> None:
    below = apply(tmp_path / "below", folder("a", 0o700, uid=5, gid=6, mtime=1_111_111_111), folder("a/b", 0o711))
    done = apply(tmp_path / "layer", Row("a/b/c/f", b"x"), lowers=(below,))
    found = tree(done)
    assert (found["a"].mode, found["a"].owner, found["a"].mtime) == (0o700, (5, 6), 1_111_111_111)
    assert found["a/b"].mode == 0o711
    assert (found["a/b/c"].mode, found["a/b/c"].owner) == (0o755, (0, 0))


@needs_root
def test_a_hard_link_to_a_file_below_brings_it_up(tmp_path: Path) -> None:
    below = apply(tmp_path / "below", folder("d"), Row("d/f", b"data", mode=0o640, uid=7))
    hidden = apply(tmp_path / "hidden", folder("d"), Row("d/.wh.g"))
    done = apply(tmp_path / "layer", hardlink("link", "d/f"), lowers=(below, hidden))
    found = tree(done)
    assert found["d/f"].same_as == found["link"].same_as == "d/f"
    assert (found["link"].content, found["link"].mode, found["link"].owner) == (b"data", 0o640, (7, 0))
    with pytest.raises(InvalidTar, match="which does not exist"):
        apply(tmp_path / "none", hardlink("link", "d/g"), lowers=(below, hidden))


def test_later_members_replace_earlier_ones(tmp_path: Path) -> None:
    done = apply(
        tmp_path / "layer",
        folder("a"),
        Row("a/x", b"1"),
        Row("a", b"file now"),
        Row("b", b"file"),
        folder("b"),
        Row("b/y", b"2"),
        Row("b/y", b"3"),
        folder("b", 0o700),
    )
    assert (done / "a").read_bytes() == b"file now"
    assert (done / "b/y").read_bytes() == b"3"
    assert stat.S_IMODE((done / "b").stat().st_mode) == 0o700


def test_a_directory_replaced_under_its_children(tmp_path: Path, way: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    done = apply(
        tmp_path / "layer",
        folder("a"),
        Row("a/1"),
        symlink("a", str(outside)),
        symlink("a", "b"),
        folder("b"),
        Row("a/2"),
    )
    assert list(outside.iterdir()) == []
    assert (done / "b/2").exists()


def test_bounds(tmp_path: Path) -> None:
    with pytest.raises(InvalidTar, match="more than 10 bytes"):
        apply(tmp_path / "a", Row("f", b"12345678901"), limits=Limits(total=10))
    with pytest.raises(InvalidTar, match="more than 2 files"):
        apply(tmp_path / "b", Row("1"), Row("2"), Row("3"), limits=Limits(entries=2))
    with pytest.raises(InvalidTar, match=r"an extended header of .* bytes is larger than 1000"):
        apply(tmp_path / "c", Row("f", pax={"comment": "x" * 2000}), limits=Limits(header=1000))


def sparse_tar(rows: list[tuple[int, int]], real: int) -> bytes:
    """A GNU 1.0 sparse member with this map."""
    text = "\n".join([str(len(rows)), *(f"{a}\n{b}" for a, b in rows)]) + "\n"
    data = text.encode().ljust(-(-len(text) // 512) * 512, b"\0") + b"x" * sum(max(b, 0) for _, b in rows)
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": str(real)}
    return make_tar([Row("GNUSparseFile.0/f", data, pax=pax)])


def test_hostile_sparse_maps(tmp_path: Path) -> None:
    for rows, real in (([(0, 4), (2, 4)], 10), ([(8, 4)], 10), ([(0, 4)], -1), ([(1 << 62, 4)], 10)):
        with pytest.raises(InvalidTar):
            apply_layer(io.BytesIO(sparse_tar(rows, real)), tmp_path)
    with pytest.raises(InvalidTar, match="a layer of more than"):
        apply_layer(io.BytesIO(sparse_tar([(0, 4)], 1 << 60)), tmp_path)


def test_sparse_files_of_gnu_tar(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "holes").open("wb") as stream:
        for offset in range(0, 64 << 20, 2 << 20):
            stream.seek(offset)
            stream.write(b"piece" + str(offset).encode())
        stream.truncate(80 << 20)
    for form in (
        "--format=gnu",
        "--format=pax --sparse-version=0.0",
        "--format=pax --sparse-version=0.1",
        "--format=pax",
    ):
        archive = tmp_path / "a.tar"
        subprocess.run(["tar", "-S", *form.split(), "-C", source, "-cf", archive, "."], check=True)
        target = tmp_path / form.replace(" ", "")
        target.mkdir()
        with archive.open("rb") as stream:
            apply_layer(stream, target)
        assert (target / "holes").read_bytes() == (source / "holes").read_bytes(), form
        assert (target / "holes").stat().st_blocks * 512 < 8 << 20, form


@pytest.mark.parametrize("form", ["v7", "ustar", "oldgnu", "gnu", "posix"])
def test_formats_of_gnu_tar(tmp_path: Path, form: str) -> None:
    source = tmp_path / "source"
    (source / "dir").mkdir(parents=True)
    name = "n" * (90 if form == "v7" else 99)
    (source / "dir" / "f").write_text("f")
    (source / name).write_text("long")
    if form in ("oldgnu", "gnu", "posix"):
        deep = source / ("d" * 120) / ("e" * 120)
        deep.mkdir(parents=True)
        (deep / ("f" * 200)).symlink_to("t" * 180)
    (source / "täst").write_text("name")
    subprocess.run(["tar", f"--format={form}", "-C", source, "-cf", tmp_path / "a.tar", "."], check=True)
    target = tmp_path / "target"
    target.mkdir()
    with (tmp_path / "a.tar").open("rb") as stream:
        apply_layer(stream, target)
    assert tree(target) == tree(source)


def test_every_cut_and_flip_is_an_error_or_harmless(tmp_path: Path) -> None:
    data = make_tar([folder("d"), Row("d/f", b"x" * 700), symlink("l", "d"), hardlink("h", "d/f")])
    rng = random.Random(7)
    for number in range(300):
        broken = bytearray(data)
        if number % 2:
            broken = broken[: rng.randrange(len(data))]
        else:
            for _ in range(rng.randrange(1, 5)):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
        target = tmp_path / str(number)
        target.mkdir()
        try:
            apply_layer(io.BytesIO(bytes(broken)), target, limits=Limits(total=1 << 20))
        except (StoreError, UnsafePath, OSError):
            pass
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(str(n) for n in range(300))


def test_not_a_tar(tmp_path: Path) -> None:
    with pytest.raises(InvalidTar, match="invalid tar header"):
        apply_layer(io.BytesIO(b"<html>" + b"x" * 1000), tmp_path)
    assert apply_layer(io.BytesIO(b""), tmp_path).entries == 0


def test_cancelling(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    data = make_tar([Row(f"f{n}") for n in range(1000)])
    with pytest.raises(Cancelled):
        apply_layer(io.BytesIO(data), tmp_path, cancelled=stop)
    assert len(names_in(tmp_path)) < 1000


def test_very_deep_parents_in_one_member(tmp_path: Path) -> None:
    apply(tmp_path / "layer", Row("/".join("d" * 1990) + "/f", b"x"))
    assert (tmp_path / "layer" / "d" / "d").is_dir()
    remove_tree(tmp_path / "layer")  # deeper than what removes temporary directories can walk


def test_headers_of_headers_do_not_add_up_without_end(tmp_path: Path) -> None:
    def extension(kind: bytes, number: int) -> bytes:
        record = f"k{number}={'v' * 600}\n"
        data = f"{len(record) + 4} {record}".encode()
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, len(data)
        return info.tobuf(tarfile.USTAR_FORMAT) + data.ljust(1024, b"\0")

    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE):
        data = b"".join(extension(kind, number) for number in range(100)) + make_tar([Row("f")])
        with pytest.raises(InvalidTar, match="an extended header of 609 bytes is larger than 50000"):
            apply_layer(io.BytesIO(data), tmp_path, limits=Limits(header=50_000))
    many = b"".join(
        extension(tarfile.XHDTYPE, number) + make_tar([Row(f"f{number}")])[:512] for number in range(100)
    )
    assert apply_layer(io.BytesIO(many), tmp_path, limits=Limits(header=50_000)).entries == 100


@needs_root
def test_a_parent_that_was_only_implied_keeps_its_new_children(tmp_path: Path) -> None:
    below = apply(tmp_path / "below", folder("a"), Row("a/old"))
    done = apply(tmp_path / "layer", Row("a/new"), Row(".wh.a"), lowers=(below,))
    assert names_in(done / "a") == {"new"}
    assert marks.is_opaque(str(done / "a"))
    with pytest.raises(InvalidTar, match="which does not exist"):
        apply(tmp_path / "link", folder("a"), Row(".wh.a"), hardlink("got", "a/old"), lowers=(below,))


@needs_root
def test_a_whiteout_of_nothing_is_left_out(tmp_path: Path) -> None:
    """In a directory that one layer has alone, the kernel would list the whiteout as a file that is not there."""
    below = apply(tmp_path / "below", folder("old"), Row("old/gone"), folder("hidden"), Row("hidden/f"), Row("was-file"))
    done = apply(
        tmp_path / "layer",
        folder("new"),
        Row("new/.wh.foo"),
        Row("new/real", b"1"),
        Row("old/.wh.gone"),
        Row("old/.wh.never"),
        folder("hidden"),
        Row("hidden/.wh.f"),
        Row("hidden/.wh..wh..opq"),
        Row(".wh.nobody"),
        folder("was-file"),
        Row("was-file/.wh.x"),
        Row("device", kind=tarfile.CHRTYPE, device=(0, 0)),
        lowers=(below,),
    )
    found = {str(path.relative_to(done)) for path in done.rglob("*")}
    assert found == {"new", "new/real", "old", "old/gone", "hidden", "was-file"}
    assert marks.is_whiteout(str(done / "old/gone"), (done / "old/gone").lstat())


@needs_root
def test_whiteouts_through_a_link_are_judged_where_they_are(tmp_path: Path) -> None:
    below = apply(tmp_path / "below", folder("a"), Row("a/f"), Row("a/g"))
    done = apply(tmp_path / "layer", folder("a"), symlink("l", "a"), Row("l/.wh.f"), Row("l/.wh.h"), lowers=(below,))
    assert names_in(done / "a") == {"f"}


@pytest.mark.parametrize("where", ["layer", "below"])
def test_a_hard_link_to_a_directory_is_the_layers_fault(tmp_path: Path, where: str) -> None:
    below = apply(tmp_path / "below", folder("d"))
    rows = (folder("d"), hardlink("h", "d")) if where == "layer" else (hardlink("h", "d"),)
    with pytest.raises(InvalidTar, match="h: a hard link to d, which is a directory"):
        apply(tmp_path / "layer", *rows, lowers=(below,))


def test_global_records_are_passed_over_as_go_does() -> None:
    """GNU tar applies them to every member; BuildKit and containerd do not, and an image is what they make of it."""
    out = io.BytesIO()
    shared = {"mtime": "12", "path": "same", "SCHILY.xattr.user.note": "all", "linkpath": "there", "uid": "7"}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers=shared) as archive:
        for number in range(3):
            info = tarfile.TarInfo(f"f{number}")
            info.pax_headers = {"path": "own", "SCHILY.xattr.user.own": "1"} if number == 2 else {}
            archive.addfile(info)
    found = list(tarheader.TarReader(io.BytesIO(out.getvalue())))
    assert [member.name for member in found] == ["f0", "f1", "own"]
    assert {(member.mtime, member.uid) for member in found} == {(0, 0)}
    assert [member.xattrs for member in found] == [{}, {}, {"user.own": b"1"}]


def _with_records(*headers: dict[str, str], kind: bytes = b"0", name: str = "q") -> bytes:
    """An archive of one member with several extended headers before it."""
    parts = []
    for records in headers:
        text = b""
        for key, value in records.items():
            body = f" {key}={value}\n".encode()
            length = len(body) + len(str(len(body)))
            length += len(str(length)) > len(str(len(body)))
            text += str(length).encode() + body
        info = tarfile.TarInfo("pax")
        info.type, info.size = b"x", len(text)
        parts.append(info.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % 512))
    member = tarfile.TarInfo(name)
    member.type = kind
    return b"".join(parts) + member.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)


def _only(data: bytes) -> tarheader.Member:
    (member,) = tarheader.TarReader(io.BytesIO(data))
    return member


def test_the_last_of_two_extended_headers_counts() -> None:
    member = _only(_with_records({"path": "first"}, {"mtime": "7"}))
    assert (member.name, member.mtime) == ("q", 7 * 10**9)


@pytest.mark.parametrize(
    ("text", "owner"), [("-1", 0), ("4294967296", 0), ("4294967297", 1), ("4294967295", 0), ("-2", 0xFFFFFFFE), ("+5", 5)]
)
def test_owners_are_what_the_kernel_makes_of_them(text: str, owner: int) -> None:
    member = _only(_with_records({"uid": text, "gid": text}))
    assert (member.uid, member.gid) == (owner, owner)


@pytest.mark.parametrize(
    "records",
    [
        {"path": "a\0b"}, {"linkpath": "a\0b"}, {"uname": "a\0b"}, {"ke\0y": "v"}, {"size": "9223372036854775808"},
        {"size": "-3"}, {"uid": "--1"}, {"uid": "x"},
    ],
)  # fmt: skip
def test_records_that_no_reader_takes(records: dict[str, str]) -> None:
    with pytest.raises(InvalidTar, match="invalid"):
        _only(_with_records(records))


@pytest.mark.parametrize(("kind", "found"), [(b"\0", tarheader.DIRECTORY), (b"0", tarheader.REGULAR)])
def test_only_the_oldest_format_has_directories_by_their_slash(kind: bytes, found: str) -> None:
    assert _only(_with_records(kind=kind, name="a/")).kind == found


def _header(magic: bytes, at: int, field: bytes) -> bytes:
    """An archive of an empty file `a` with a field of its header replaced."""
    header = bytearray(tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT))
    header[257:265] = magic
    header[at : at + len(field)] = field
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    return bytes(header) + bytes(1024)


@pytest.mark.parametrize(
    ("field", "name"), [(b"some/folder", "some/folder/a"), (b"00000000017\0" * 2, "a"), (b"f\xc3\xbcr", "a"), (b"", "a")]
)
def test_the_prefix_that_old_writers_put_where_gnu_has_times(field: bytes, name: str) -> None:
    assert _only(_header(b"ustar  \0", 345, field)).name == name


@pytest.mark.parametrize("size", [b"\x80" + b"\x7f" * 11, b"\xc0" + b"\0" * 11, b"\xff" * 12])
def test_binary_numbers_have_64_bits(size: bytes) -> None:
    with pytest.raises(InvalidTar):
        _only(_header(b"ustar\x0000", 124, size))


def test_endless_headers_listen(tmp_path: Path) -> None:
    """A few bytes may unpack to a member of a terabyte, or to a sparse map without end."""

    class Endless:
        def __init__(self, first: bytes, block: bytes) -> None:
            self.first, self.block, self.asked = first, block, 0

        def read(self, size: int = -1) -> bytes:
            self.asked += 1
            if self.asked == 50:
                stop.set()
            if self.first:
                data, self.first = self.first[:size], self.first[size:]
                return data
            return (self.block * (size // 512 + 1))[:size]

    unknown = tarfile.TarInfo("x")
    unknown.type, unknown.size = b"V", 1 << 40
    sparse = bytearray(tarfile.TarInfo("s").tobuf(tarfile.GNU_FORMAT))
    sparse[156:157], sparse[482] = b"S", 1
    sparse[148:156] = b"%06o\0 " % (sum(sparse) - sum(sparse[148:156]) + 8 * 32)
    more = bytearray(512)
    more[504] = 1
    for first, block in ((unknown.tobuf(tarfile.GNU_FORMAT), bytes(512)), (bytes(sparse), bytes(more))):
        stop = threading.Event()
        endless = Endless(first, block)
        with pytest.raises(Cancelled):
            apply_layer(endless, tmp_path, cancelled=stop)
        assert endless.asked <= 51
