"""Laws of layers, for arbitrary trees:

tree -> tar -> tree gives the same tree, and the tar depends on the tree alone;
lower -> change -> layer on lower gives the changed tree, with either snapshotter and with the tar of the layer.
"""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockc.runtime.fsutil import marks
from dockc.runtime.snapshot.changes import Change, layer_changes, tree_changes
from dockc.runtime.snapshot.choose import snapshotter
from dockc.runtime.snapshot.removal import remove_tree
from dockc.runtime.snapshot.squash import SquashCache
from dockc.runtime.snapshot.tarread import apply_layer
from dockc.runtime.snapshot.tarwrite import write_layer
from tests.runtime.store_helpers import Entry, need_mounts, tree
from tests.tools import deepen

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and mounts need uid 0")

NAMES = st.sampled_from(["a", "b", "c", "ä ö", "n" * 120, "x\n", "-", "\udcff\udcfe", "dir.d"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
DATA = st.sampled_from([b"", b"x", b"y", b"text" * 300, bytes(5000)])
MODES = st.sampled_from([0o644, 0o755, 0o600, 0o4755, 0o2711, 0o1777, 0o400])
IDS = st.sampled_from([0, 1, 1000, 65534, 3_000_000, 4_000_000_000])
TIMES = st.sampled_from([0, 1, 1_600_000_000, 2_000_000_000, 8_589_934_592, -5])
ACTIONS = st.one_of(
    st.tuples(st.just("file"), PATHS, DATA, MODES),
    st.tuples(st.just("dir"), PATHS, MODES),
    st.tuples(st.just("link"), PATHS, PATHS),
    st.tuples(st.just("symlink"), PATHS, st.sampled_from(["a", "/b/c", "../..", "t" * 150, "ü"])),
    st.tuples(st.just("node"), PATHS, st.sampled_from([(stat.S_IFCHR, 1, 3), (stat.S_IFBLK, 7, 70), (stat.S_IFIFO, 0, 0)])),
    st.tuples(st.just("remove"), PATHS),
    st.tuples(st.just("owner"), PATHS, IDS, IDS),
    st.tuples(st.just("time"), PATHS, TIMES),
    st.tuples(st.just("mode"), PATHS, MODES),
    st.tuples(st.just("xattr"), PATHS, st.sampled_from([b"", b"v", b"\0\n=1"])),
    st.tuples(st.just("caps"), PATHS),
    st.tuples(st.just("append"), PATHS),
    st.tuples(st.just("rename"), PATHS, PATHS),
)  # fmt: skip
STEPS = st.lists(ACTIONS, max_size=25)
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def act(root: Path, action: tuple[object, ...]) -> None:
    """Do one random thing to a tree; what the file system refuses is not done."""
    kind, name, *rest = action
    path = root / str(name)
    try:
        if kind in ("file", "dir", "link", "symlink", "node"):
            path.parent.mkdir(parents=True, exist_ok=True)
        match kind, *rest:
            case "file", bytes(data), int(mode):
                if not path.is_symlink() and not path.is_fifo():  # opening a pipe would wait for a reader
                    path.write_bytes(data)
                    path.chmod(mode)
            case "dir", int(mode):
                path.mkdir()
                path.chmod(mode)
            case "link", str(target):
                os.link(root / target, path, follow_symlinks=False)
            case "symlink", str(target):
                path.symlink_to(target)
            case "node", tuple((node, major, minor)):
                os.mknod(path, node | 0o640, os.makedev(major, minor))
            case ("remove",):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            case "owner", int(uid), int(gid):
                os.lchown(path, uid, gid)
            case "time", int(when):
                os.utime(path, (when, when), follow_symlinks=False)
            case "mode", int(mode):
                if not path.is_symlink():
                    path.chmod(mode)
            case "xattr", bytes(value):
                os.setxattr(path, "user.law", value, follow_symlinks=False)
            case ("caps",):
                if path.is_file() and not path.is_symlink():
                    os.setxattr(path, "security.capability", CAPABILITY)
            case ("append",):
                if path.is_file() and not path.is_symlink():
                    with path.open("ab") as stream:
                        stream.write(b"more")
            case "rename", str(target):
                path.rename(root / target)
    except (OSError, shutil.Error):
        pass


def settle(root: Path) -> None:
    """Whole seconds everywhere, as layers keep them; sockets never."""
    for folder, names, files in os.walk(root, topdown=False):
        for path in [Path(folder, name) for name in [*names, *files]]:
            when = path.lstat().st_mtime_ns // 1_000_000_000
            os.utime(path, (when, when), follow_symlinks=False)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_mounts()
    return tmp_path_factory.mktemp("space")


@pytest.fixture
def fresh(space: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=space))
    yield path
    remove_tree(path)


def pack(changes: list[Change]) -> bytes:
    out = io.BytesIO()
    write_layer(changes, out.write)
    return out.getvalue()


def built(space: Path, steps: list[tuple[object, ...]], base: Path | None = None) -> Path:
    """A new tree made by steps, on a copy of another one."""
    place = Path(tempfile.mkdtemp(dir=space)) / "tree"
    if base is None:
        place.mkdir()
    else:
        subprocess.run(["cp", "-a", base, place], check=True)
    for step in steps:
        act(place, step)
    settle(place)
    return place


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_tree_to_tar_to_tree(space: Path, steps: list[tuple[object, ...]]) -> None:
    source = built(space, steps)
    data = pack(tree_changes(None, source))
    target = source.parent / "target"
    target.mkdir()
    apply_layer(io.BytesIO(data), target)
    try:
        expected, found = tree(source), tree(target)
        expected.pop("."), found.pop(".")
        assert found == {path: as_layers_keep(entry) for path, entry in expected.items()}
        assert pack(tree_changes(None, target)) == data, "the tar is a function of the tree"
        assert pack(layer_changes(target, None)) == data
    finally:
        remove_tree(source.parent)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=STEPS, after=STEPS)
def test_applying_a_difference_gives_the_new_tree(
    space: Path, before: list[tuple[object, ...]], after: list[tuple[object, ...]]
) -> None:
    old = built(space, before)
    new = built(space, after, old)
    work = old.parent
    try:
        data = pack(tree_changes(old, new))
        layer = work / "layer"
        layer.mkdir()
        apply_layer(io.BytesIO(data), layer, lowers=(old,))
        expected = {path: as_layers_keep(entry) for path, entry in tree(new).items()}
        expected.pop(".")
        for name in ("overlay", "native"):
            staging = work / f"staging-{name}"
            staging.mkdir()
            tool = snapshotter(name, staging, SquashCache(work / "squashed", "trusted.overlay.opaque"), user=False)
            with tool.view([old, layer]) as view:
                found = tree(view)
            found.pop(".")
            assert {path: as_layers_keep(entry) for path, entry in found.items()} == expected, name
    finally:
        remove_tree(old.parent)
        remove_tree(new.parent)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=STEPS, after=STEPS)
def test_both_snapshotters_make_layers_that_give_what_was_written(
    space: Path, before: list[tuple[object, ...]], after: list[tuple[object, ...]]
) -> None:
    base = built(space, before)
    work = base.parent
    cache = SquashCache(work / "squashed", "trusted.overlay.opaque")
    try:
        for name in ("overlay", "native"):
            place = work / name
            (place / "fs").mkdir(parents=True)
            (place / "work").mkdir()
            (place / "staging").mkdir()
            tool = snapshotter(name, place / "staging", cache, user=False)
            with tool.writable([base], place / "fs", place / "work") as root:
                for step in after:
                    act(root, step)
                settle(root)
                expected = tree(root)
            with tool.view([base, place / "fs"]) as view:
                # Overlayfs without an index breaks hard links of lower files when one name is written.
                assert without_links(tree(view)) == without_links(expected), name
            with tool.view([base]) as lower:
                data = pack(layer_changes(place / "fs", lower))
            layer = place / "layer"
            layer.mkdir()
            apply_layer(io.BytesIO(data), layer, lowers=(base,))
            with tool.view([base, layer]) as view:
                found = tree(view)
            assert told_by_a_layer(found) == told_by_a_layer(expected), name
    finally:
        remove_tree(base.parent)


def as_layers_keep(entry: Entry) -> Entry:
    """Of extended attributes, layers keep file capabilities alone."""
    return dataclasses.replace(entry, xattrs=tuple(one for one in entry.xattrs if one[0] == "security.capability"))


def told_by_a_layer(entries: dict[str, Entry]) -> dict[str, Entry]:
    """A tree as layers tell it: a directory's time is no change of its own."""
    kept = {path: as_layers_keep(entry) for path, entry in without_links(entries).items()}
    return {path: dataclasses.replace(entry, mtime=0) if entry.kind == "d" else entry for path, entry in kept.items()}


def without_links(entries: dict[str, Entry]) -> dict[str, Entry]:
    return {k: dataclasses.replace(v, same_as="") for k, v in entries.items() if k != "."}


def test_a_link_to_an_unchanged_file_brings_its_first_name_along(fresh: Path) -> None:
    old, new = fresh / "old", fresh / "new"
    old.mkdir()
    (old / "a").write_text("data")
    subprocess.run(["cp", "-a", old, new], check=True)
    (new / "b").hardlink_to(new / "a")
    changes = tree_changes(old, new)
    assert [change.path for change in changes] == ["a", "b"]
    target = fresh / "target"
    target.mkdir()
    apply_layer(io.BytesIO(pack(changes)), target, lowers=(old,))
    assert tree(target)["b"].same_as == "a"


def test_a_changed_content_behind_equal_times_is_seen(fresh: Path) -> None:
    old, new = fresh / "old", fresh / "new"
    old.mkdir()
    (old / "f").write_text("one")
    subprocess.run(["cp", "-a", old, new], check=True)
    (new / "f").write_text("two")
    when = (old / "f").stat().st_mtime_ns
    os.utime(new / "f", ns=(when, when))
    assert [change.path for change in tree_changes(old, new)] == ["f"]


def test_sockets_are_left_out_and_whiteout_names_refused(fresh: Path) -> None:
    import socket

    from dockc.errors import StoreError

    root = fresh / "root"
    root.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "s"))
        assert len(pack(tree_changes(None, root))) == 1024
    (root / "s").unlink()
    (root / ".wh.x").touch()
    with pytest.raises(StoreError, match=r"names that begin with \.wh\. cannot be in an image layer"):
        pack(tree_changes(None, root))


def test_rewriting_timestamps(fresh: Path) -> None:
    import tarfile

    root = fresh / "root"
    root.mkdir()
    for name, when in (("old", 100), ("new", 2_000_000_000)):
        (root / name).touch()
        os.utime(root / name, (when, when))
    out = io.BytesIO()
    write_layer(tree_changes(None, root), out.write, rewrite_timestamp=1_000)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        assert {m.name: m.mtime for m in archive} == {"old": 100, "new": 1_000}


def test_gnu_tar_and_python_read_what_we_write(fresh: Path) -> None:
    import tarfile

    root = fresh / "root"
    deep = root / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    (deep / "f").write_text("x" * 1000)
    (root / "ünï").symlink_to("t" * 120)
    (root / "big").touch()
    os.chown(root / "big", 3_000_000, 4_000_000_000)
    settle(root)
    data = pack(tree_changes(None, root))
    (fresh / "a.tar").write_bytes(data)
    target = fresh / "target"
    target.mkdir()
    done = subprocess.run(["tar", "-C", target, "-xpf", fresh / "a.tar"], check=True, capture_output=True)
    assert done.stderr == b""
    expected, found = tree(root), tree(target)
    expected.pop("."), found.pop(".")
    assert found == expected
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getmember("big").gid == 4_000_000_000
        assert len(archive.getnames()) == 5


def test_a_tree_of_great_depth_is_removed(fresh: Path) -> None:
    top = fresh / "deep"
    top.mkdir()
    os.close(deepen(top, 3000, name="d" * 10))
    remove_tree(top)
    assert not top.exists()


def test_removal_does_not_reach_into_mounts_or_through_links(fresh: Path) -> None:
    from dockc.runtime.kernel import syscalls

    top, victim = fresh / "top", fresh / "victim"
    (top / "mnt").mkdir(parents=True)
    victim.mkdir()
    (victim / "kept").touch()
    (top / "link").symlink_to(victim)
    syscalls.mount("tmpfs", str(top / "mnt"), "tmpfs")
    (top / "mnt/kept").touch()
    try:
        with pytest.raises(OSError, match="mounted here"):
            remove_tree(top)
        assert (top / "mnt/kept").exists()
    finally:
        syscalls.umount(str(top / "mnt"))
    remove_tree(top)
    assert not top.exists()
    assert (victim / "kept").exists()


def test_attributes_with_the_names_of_marks_are_neither_content_nor_believed(fresh: Path) -> None:
    path = fresh / "f"
    path.touch(0)
    status = path.lstat()
    for name, value in ((marks.OWNER, b"42:43"), (marks.NODE, b"c:1:3"), (marks.WHITEOUT, b"y")):
        os.setxattr(path, f"user.{name}", value)
    os.setxattr(path, "user.mine", b"1")
    assert marks.content_attributes(str(path)) == {"user.mine": b"1"}
    assert marks.owner_of(str(path), status) == (status.st_uid, status.st_gid)
    assert marks.node_of(str(path), status) is None
    assert not marks.is_whiteout(str(path), status)
