"""`type=local` and `type=tar`: what arrives, and that nothing leaves the destination."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from dockc.errors import DockcError
from dockc.oci.platform import Platform
from dockc.runtime.exporter.export import Exporters, export
from dockc.runtime.exporter.options import parse_output
from dockc.runtime.exporter.output import current_umask, open_output
from dockc.runtime.exporter.source import ExportSource, PlatformResult
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.ref import ImmutableRef
from tests.runtime.exporter.conftest import Maker, source_of
from tests.runtime.registry_servers import AMD64
from tests.tools import deepen

ARM = Platform("linux", "arm64")


@pytest.fixture
def rich(refs: RefManager) -> ImmutableRef:
    """A file of every kind."""
    mutable = refs.new_mutable()
    with mutable.mount() as root:
        (root / "dir/sub").mkdir(parents=True)
        (root / "dir/file").write_bytes(b"data" * 1000)
        (root / "dir/file").chmod(0o4750)
        os.link(root / "dir/file", root / "zz-same")
        (root / "link").symlink_to("/etc/passwd")
        (root / "dangling").symlink_to("../../../outside")
        os.mkfifo(root / "pipe")
        (root / "dir/sub/\udcff").write_bytes(b"odd name")
        for path in (root / "dir/file", root / "dir/sub", root / "dir"):
            os.utime(path, (1000, 1000))
        (root / "dir").chmod(0o711)
    return mutable.commit()


def test_local(exporters: Exporters, rich: ImmutableRef, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(source_of(rich), parse_output(str(out)), exporters)
    assert (out / "dir/file").read_bytes() == b"data" * 1000
    assert stat.S_IMODE((out / "dir/file").stat().st_mode) == 0o4750
    assert stat.S_IMODE((out / "dir").stat().st_mode) == 0o711
    assert (out / "dir/file").stat().st_ino == (out / "zz-same").stat().st_ino
    assert (out / "link").readlink() == Path("/etc/passwd")
    assert stat.S_ISFIFO((out / "pipe").stat().st_mode)
    assert (out / "dir/sub/\udcff").read_bytes() == b"odd name"
    assert (out / "dir/file").stat().st_mtime == (out / "dir").stat().st_mtime == 1000
    export(source_of(rich), parse_output(f"type=local,dest={out},source-date-epoch=7"), exporters)
    assert {path.lstat().st_mtime for path in out.rglob("*")} == {7.0}
    assert not list(out.rglob(".dockc-*"))


def test_local_keeps_what_is_there(exporters: Exporters, make_ref: Maker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "mine/deep").mkdir(parents=True)
    (out / "mine/deep/x").write_text("x")
    (out / "a").mkdir()
    (out / "a/old").write_text("old")
    (out / "b").write_text("a file")
    source = source_of(make_ref({"a": b"now a file", "b/c": b"now a directory", "mine/new": b"n"}))
    export(source, parse_output(f"type=local,dest={out}"), exporters)
    assert (out / "a").read_text() == "now a file" and (out / "b/c").read_text() == "now a directory"
    assert (out / "mine/deep/x").exists()
    export(source, parse_output(f"type=local,dest={out},mode=delete"), exporters)
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*")) == ["a", "b", "b/c", "mine", "mine/new"]


def test_links_in_the_destination_lead_nowhere(exporters: Exporters, make_ref: Maker, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "passwd").write_text("untouched")
    out = tmp_path / "out"
    out.mkdir()
    (out / "etc").symlink_to(outside)
    (out / "file").symlink_to(outside / "passwd")
    source = source_of(make_ref({"etc/passwd": b"evil", "file": b"evil too"}))
    export(source, parse_output(str(out)), exporters)
    assert (outside / "passwd").read_text() == "untouched"
    assert list(outside.iterdir()) == [outside / "passwd"]
    assert (out / "etc/passwd").read_text() == "evil" and not (out / "etc").is_symlink()
    assert (out / "file").read_text() == "evil too" and not (out / "file").is_symlink()


def test_a_link_in_the_result_is_not_written_through(exporters: Exporters, refs: RefManager, tmp_path: Path) -> None:
    """First one result puts a link there, then another one has a directory of that name."""
    outside = tmp_path / "outside"
    outside.mkdir()
    mutable = refs.new_mutable()
    with mutable.mount() as root:
        (root / "a").symlink_to(outside)
    first = mutable.commit()
    mutable = refs.new_mutable()
    with mutable.mount() as root:
        (root / "a").mkdir()
        (root / "a/b").write_text("x")
    second = mutable.commit()
    out = tmp_path / "out"
    for ref in (first, second):
        export(source_of(ref), parse_output(str(out)), exporters)
    assert list(outside.iterdir()) == [] and (out / "a/b").read_text() == "x"
    export(source_of(first), parse_output(f"type=local,dest={out},mode=delete"), exporters)
    assert (out / "a").is_symlink() and list(outside.iterdir()) == []


def test_platforms_side_by_side(exporters: Exporters, make_ref: Maker, tmp_path: Path) -> None:
    results = (PlatformResult(AMD64, make_ref({"f": b"1"})), PlatformResult(ARM, make_ref({"f": b"2"})))
    source = ExportSource(results, multi=True)
    export(source, parse_output(str(tmp_path / "split")), exporters)
    assert (tmp_path / "split/linux_amd64/f").read_text() == "1"
    assert (tmp_path / "split/linux_arm64/f").read_text() == "2"
    with pytest.raises(DockcError) as caught:
        export(source, parse_output(f"type=local,dest={tmp_path}/flat,platform-split=false"), exporters)
    assert caught.value.message == (
        "cannot overwrite f from linux/amd64 with linux/arm64 when split option is disabled"
    )
    export(source, parse_output(f"type=tar,dest={tmp_path}/t.tar"), exporters)
    with tarfile.open(tmp_path / "t.tar") as archive:
        assert archive.getnames() == ["linux_amd64", "linux_amd64/f", "linux_arm64", "linux_arm64/f"]


def test_tar(exporters: Exporters, rich: ImmutableRef, tmp_path: Path) -> None:
    export(source_of(rich), parse_output(f"type=tar,dest={tmp_path}/t.tar"), exporters)
    with tarfile.open(tmp_path / "t.tar") as archive:
        members = {member.name: member for member in archive}
        assert list(members) == [
            *("dangling", "dir", "dir/file", "dir/sub", "dir/sub/\udcff", "link", "pipe", "zz-same"),
        ]
        assert members["dir/file"].mode == 0o4750 and members["dir/file"].mtime == 1000
        assert members["zz-same"].islnk() and members["zz-same"].linkname == "dir/file"
        assert members["link"].linkname == "/etc/passwd"
        assert members["pipe"].isfifo()
        assert (archive.extractfile("dir/file") or pytest.fail("no file")).read() == b"data" * 1000


def test_tar_to_standard_output(
    exporters: Exporters, make_ref: Maker, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    export(source_of(make_ref({"a": b"1"})), parse_output("-"), exporters)
    with tarfile.open(fileobj=io.BytesIO(capfdbinary.readouterr().out)) as archive:
        assert archive.getnames() == ["a"]


def test_empty_result(exporters: Exporters, tmp_path: Path) -> None:
    export(ExportSource((PlatformResult(AMD64, None),)), parse_output(str(tmp_path / "o")), exporters)
    assert list((tmp_path / "o").iterdir()) == []


def test_deep_tree(exporters: Exporters, refs: RefManager, tmp_path: Path) -> None:
    mutable = refs.new_mutable()
    with mutable.mount() as root:
        os.close(deepen(root, 300))
    ref = mutable.commit()
    export(source_of(ref), parse_output(str(tmp_path / "o")), exporters)
    assert (tmp_path / "o" / "/".join(["d"] * 300)).is_dir()


def test_a_file_that_is_being_written_has_no_name_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "new" / "out.tar"
    with open_output(str(target)) as file:
        file.write(b"one")
        assert not list(target.parent.iterdir())
    assert target.read_bytes() == b"one"
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~current_umask()
    with pytest.raises(KeyboardInterrupt), open_output(str(target)):
        raise KeyboardInterrupt
    assert target.read_bytes() == b"one"
    assert list(target.parent.iterdir()) == [target]
    # Where file systems know no files without a name, it has another one meanwhile.
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)
    with open_output(str(target)) as file:
        file.write(b"two")
        assert len(list(target.parent.iterdir())) == 2
    assert target.read_bytes() == b"two"
    assert list(target.parent.iterdir()) == [target]
