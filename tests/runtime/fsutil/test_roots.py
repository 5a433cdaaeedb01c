"""Nothing leaves its root: hostile links, `..`, races, depth."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from dockc.errors import UnsafePath
from dockc.llb.pb import ops_pb2
from dockc.runtime.cancel import Cancelled
from dockc.runtime.fsutil import actions, meta
from dockc.runtime.fsutil.copy import copy
from dockc.runtime.fsutil.copyentry import CopyOptions
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.fsutil.inroot import Root, remove_tree
from tests.tools import deepen


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_text("secret")
    return place


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    place = tmp_path / "inside"
    place.mkdir()
    return place


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    (place / "dir").mkdir(parents=True)
    (place / "dir/file").write_text("data")
    (place / "file").write_text("data")
    return place


def untouched(outside: Path) -> bool:
    return [p.name for p in outside.iterdir()] == ["secret"] and (outside / "secret").read_text() == "secret"


@pytest.mark.parametrize("target", ["../outside", "../../../../../../../..", "{absolute}", "/../outside"])
@pytest.mark.parametrize("dst", ["/link/", "/link/new/", "/link/file", "/link"])
def test_links_in_the_destination_lead_nowhere_else(
    target: str, dst: str, outside: Path, inside: Path, source: Path
) -> None:
    (inside / "link").symlink_to(target.format(absolute=outside))
    before = {p for p in inside.parent.rglob("*") if inside not in p.parents}
    with Root(source) as src, Root(inside) as root:
        copy(src, "/file", root, dst, CopyOptions())
    assert untouched(outside)
    assert {p for p in inside.parent.rglob("*") if inside not in p.parents} == before
    assert any(p.read_text() == "data" for p in inside.rglob("*") if p.is_file() and not p.is_symlink())


def test_links_in_the_source_lead_nowhere_else(outside: Path, inside: Path, source: Path) -> None:
    (source / "up").symlink_to("../outside")
    (source / "absolute").symlink_to(outside)
    with Root(source) as src, Root(inside) as root:
        for path in ("/up/secret", "/absolute/secret"):
            for follow in (True, False):
                with pytest.raises(FileError, match=r"no such file or directory$"):
                    copy(src, path, root, "/x", CopyOptions(follow_links=follow))
        copy(src, "/up", root, "/kept", CopyOptions())
    assert (inside / "kept").is_symlink()
    assert str((inside / "kept").readlink()) == "../outside"


def test_dots_stop_at_the_root(outside: Path, inside: Path, source: Path) -> None:
    with Root(source) as src, Root(inside) as root:
        copy(src, "/../../dir/../file", root, "/../../outside/file", CopyOptions())
    assert (inside / "outside/file").read_text() == "data"
    assert untouched(outside)


def test_a_directory_does_not_merge_into_a_link(outside: Path, inside: Path, source: Path) -> None:
    (inside / "dir").symlink_to(outside)
    with Root(source) as src, Root(inside) as root:
        with pytest.raises(FileError, match=r"^cannot copy to non-directory: /dir$"):
            copy(src, "/", root, "/", CopyOptions(dir_contents=True))
        assert untouched(outside)
        copy(src, "/", root, "/", CopyOptions(dir_contents=True, replace=True))
    assert (inside / "dir/file").read_text() == "data"
    assert not (inside / "dir").is_symlink()
    assert untouched(outside)


def test_a_file_replaces_a_link_and_not_its_target(outside: Path, inside: Path, source: Path) -> None:
    (inside / "file").symlink_to(outside / "secret")
    with Root(source) as src, Root(inside) as root:
        copy(src, "/", root, "/", CopyOptions(dir_contents=True))
    assert not (inside / "file").is_symlink()
    assert untouched(outside)


def test_files_and_directories_do_not_replace_each_other(inside: Path, source: Path) -> None:
    (inside / "file").mkdir()
    refused = pytest.raises(FileError, match=r"^cannot replace to directory /file with file$")
    with Root(source) as src, Root(inside) as root, refused:
        copy(src, "/", root, "/", CopyOptions(dir_contents=True))
    (inside / "dir/file").unlink()
    (inside / "dir").rmdir()
    (inside / "dir").write_text("file")
    refused = pytest.raises(FileError, match=r"^cannot copy to non-directory: /dir$")
    with Root(source) as src, Root(inside) as root, refused:
        copy(src, "/", root, "/", CopyOptions(dir_contents=True))


def test_other_actions_stay_inside(outside: Path, inside: Path) -> None:
    (inside / "link").symlink_to(outside)
    (inside / "rel").symlink_to("../outside/secret")
    with Root(inside) as root:
        with pytest.raises(FileError, match=r"^open /outside/secret: no such file or directory$"):
            actions.mkfile(root, ops_pb2.FileActionMkFile(path="/rel", mode=0o644, timestamp=-1), None)
        actions.mkdir(root, ops_pb2.FileActionMkDir(path="/link/a/b", makeParents=True, mode=0o755, timestamp=-1), None)
        actions.symlink(root, ops_pb2.FileActionSymlink(oldpath="x", newpath="/link/l", timestamp=-1), None)
        with pytest.raises(FileError, match=r"^stat .*/secret: no such file or directory$"):
            actions.rm(root, ops_pb2.FileActionRm(path="/link/secret"))
        actions.rm(root, ops_pb2.FileActionRm(path="/link/secret", allowNotFound=True))
        actions.rm(root, ops_pb2.FileActionRm(path="/l*", allowWildcard=True, allowNotFound=True))
        with pytest.raises(FileError, match=r"^rmPath: invalid empty path$"):
            actions.rm(root, ops_pb2.FileActionRm(path="/.."))
    assert untouched(outside)
    assert not (inside / "link").is_symlink()


def test_a_link_that_appears_in_between_is_refused(outside: Path, inside: Path) -> None:
    (inside / "a/b").mkdir(parents=True)
    with Root(inside) as root:
        path = root.resolve("/a/b")
        (inside / "a/b").rmdir()
        (inside / "a").rmdir()
        (inside / "a").symlink_to(outside)
        with pytest.raises(UnsafePath, match=r"^/a: became a symbolic link$"):
            root.open_dir(path)


def test_link_loops_end(inside: Path) -> None:
    (inside / "a").symlink_to("b")
    (inside / "b").symlink_to("a")
    (inside / "self").symlink_to("self/x")
    with Root(inside) as root:
        for path in ("/a", "/self", "/a/x"):
            with pytest.raises(FileError, match=r"^too many links$"):
                root.resolve(path)


def test_any_depth_with_few_descriptors(inside: Path, source: Path) -> None:
    innermost = deepen(source / "dir", 2500)  # deeper than any path can name, and than descriptors last
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=innermost))
    os.close(innermost)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with Root(source) as src, Root(inside) as root:
        copy(src, "/dir", root, "/copy", CopyOptions())
        remove_tree(root.fd, "copy", "/copy")
        remove_tree(src.fd, "dir", "/dir")
    assert list(inside.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_directory_is_not_copied_into_itself(inside: Path) -> None:
    (inside / "dir").mkdir()
    (inside / "dir/file").write_text("x")
    with Root(inside) as root:
        with pytest.raises(FileError, match=r"^cannot copy /dir into itself$"):
            copy(root, "/dir", root, "/dir/copy/", CopyOptions())
        copy(root, "/dir", root, "/other", CopyOptions())
    assert (inside / "other/file").read_text() == "x"


def test_cancelled(inside: Path, source: Path) -> None:
    event = threading.Event()
    event.set()
    with Root(source) as src, Root(inside) as root, pytest.raises(Cancelled):
        copy(src, "/dir", root, "/x", CopyOptions(cancelled=event))


def test_holes_stay_holes(inside: Path, source: Path) -> None:
    with (source / "sparse").open("wb") as file:
        file.seek(50 << 20)
        file.write(b"end")
        file.truncate(100 << 20)
    with Root(source) as src, Root(inside) as root:
        copy(src, "/sparse", root, "/sparse", CopyOptions())
    status = (inside / "sparse").stat()
    assert status.st_size == 100 << 20
    with (inside / "sparse").open("rb") as file:
        file.seek(50 << 20)
        assert file.read(3) == b"end"
    if (source / "sparse").stat().st_blocks * 512 < 1 << 20:
        assert status.st_blocks * 512 < 1 << 20


@pytest.mark.root
def test_a_full_disk_is_told_with_a_hint(source: Path, tmp_path: Path) -> None:
    import ctypes

    from tests.runtime.store_helpers import need_mounts

    need_mounts()
    small = tmp_path / "small"
    small.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"none", os.fsencode(small), b"tmpfs", 0, b"size=64k") == 0
    try:
        (source / "big").write_bytes(b"x" * (1 << 20))
        with Root(source) as src, Root(small) as root, pytest.raises(FileError) as raised:
            copy(src, "/big", root, "/big", CopyOptions())
        assert raised.value.message.startswith("failed to copy files: ")
        assert raised.value.message.endswith(": no space left on device")
        assert "dockc prune" in raised.value.hint
    finally:
        libc.umount2(os.fsencode(small), 2)


def test_attributes_of_the_store_are_not_copied(inside: Path, source: Path) -> None:
    try:
        os.setxattr(source / "file", "user.mine", b"1")
        os.setxattr(source / "file", "user.dockc.owner", b"12:34")
    except OSError:
        pytest.skip("this file system has no user attributes")
    fd = os.open(source, os.O_RDONLY)
    try:
        facts = meta.read_facts(fd, "file", os.stat("file", dir_fd=fd))
    finally:
        os.close(fd)
    assert dict(facts.xattrs) == {"user.mine": b"1"}
    status = (source / "file").lstat()
    assert (facts.owner.uid, facts.owner.gid) == (status.st_uid, status.st_gid), "anybody could have set it"
    fd = os.open(source, os.O_RDONLY)
    try:
        assert meta.write_xattrs(fd, "file", {"user.dockc.owner": b"1:1", "trusted.overlay.redirect": b"/"}) == [
            "user.dockc.owner", "trusted.overlay.redirect",
        ]  # fmt: skip
    finally:
        os.close(fd)
