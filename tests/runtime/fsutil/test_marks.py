"""Marks are believed where no step can have made them: sealed with the store's key, on files of root's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.runtime.fsutil import marks
from tests.tools import deepen


@pytest.fixture
def in_user_namespace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a user namespace: no attributes but those that every owner of a file may set."""
    monkeypatch.setattr(marks, "_trust", marks._Trust())
    monkeypatch.setattr(marks._trust, "_prefix", "user.")
    yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch(0)
    try:
        os.setxattr(path, "user.try", b"")
    except OSError:
        pytest.skip("this file system has no user attributes")
    return path


def _device(path: Path) -> tuple[int, int] | None:
    return marks.node_of(str(path), path.lstat())


@pytest.mark.usefixtures("in_user_namespace")
def test_a_seal_is_for_one_word_of_one_kind(file: Path, tmp_path: Path) -> None:
    marks._mark(str(file), marks.NODE, b"c:1:3")
    assert _device(file) is not None
    sealed = os.getxattr(file, "user.dockc.node")
    os.setxattr(file, "user.dockc.node", sealed.replace(b"c:1:3", b"b:1:3"))
    assert _device(file) is None
    other = tmp_path / "other"
    other.touch(0)
    os.setxattr(other, "user.dockc.whiteout", sealed)
    assert not marks.is_whiteout(str(other), other.lstat())
    for value in (b"", b";", b"c:1:3", b"c:1:3;", b"c:1:3;" + b"0" * 32):
        os.setxattr(file, "user.dockc.node", value)
        assert _device(file) is None


@pytest.mark.usefixtures("in_user_namespace")
def test_files_of_others_say_nothing(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    marks._mark(str(file), marks.OWNER, b"70000:70000")
    assert marks.owner_of(str(file), file.lstat()) == (70000, 70000)
    os.chown(file, 1000, 1000)
    assert marks.owner_of(str(file), file.lstat()) == (1000, 1000)


@pytest.mark.usefixtures("in_user_namespace")
def test_each_open_store_proves_its_marks(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = [tmp_path / name for name in ("one", "two")]
    for store in stores:
        store.mkdir()
        marks._trust.stores.append(store)
    marks._mark(str(file), marks.NODE, b"c:1:3")
    for store in stores:
        assert (store / "marks.key").stat().st_mode & 0o777 == 0o600
        monkeypatch.setattr(marks, "_trust", marks._Trust())  # another process
        monkeypatch.setattr(marks._trust, "_prefix", "user.")
        assert _device(file) is None
        marks._trust.stores.append(store)
        assert _device(file) is not None
        marks.closed(store)
        assert _device(file) is None


@pytest.mark.usefixtures("in_user_namespace")
def test_a_copy_of_a_file_that_stands_for_a_device_does_so_too(file: Path, tmp_path: Path) -> None:
    from dockc.runtime.snapshot.files import copy_file

    marks._mark(str(file), marks.NODE, b"b:7:0")
    copy_file(str(file), file.lstat(), str(tmp_path / "copy"))
    assert _device(tmp_path / "copy") == _device(file) is not None
    os.setxattr(file, "user.dockc.node", b"b:8:0")
    copy_file(str(file), file.lstat(), str(tmp_path / "forged"))
    assert os.listxattr(tmp_path / "forged") == ["user.try"]


def test_where_trusted_attributes_can_be_had_others_are_not_looked_at(file: Path) -> None:
    if os.geteuid() != 0 or marks._Trust().prefix != "trusted.":
        pytest.skip("needs CAP_SYS_ADMIN in the first user namespace")
    marks._mark(str(file), marks.NODE, b"c:1:3")
    assert os.getxattr(file, "trusted.dockc.node") == b"c:1:3"
    assert _device(file) is not None
    os.removexattr(file, "trusted.dockc.node")
    os.setxattr(file, "user.dockc.node", b"c:1:3")
    assert _device(file) is None


def test_what_a_step_made_on_a_file_system_of_its_own_means_nothing_to_a_layer(tmp_path: Path, file: Path) -> None:
    from dockc.runtime.snapshot.files import drop_marks

    tree = tmp_path / "tree"
    (tree / "d/e").mkdir(parents=True)
    file.rename(tree / "d/file")
    for path in (tree, tree / "d", tree / "d/e", tree / "d/file"):
        os.setxattr(path, "user.overlay.opaque", b"y")
        os.setxattr(path, "user.mine", b"1")
    try:
        os.mknod(tree / "d/gone", 0o020000, 0)
        (tree / "link").symlink_to("/nowhere")
    except PermissionError:
        pytest.skip("no node 0/0 here")
    drop_marks(tree)
    assert sorted(path.name for path in tree.rglob("*")) == ["d", "e", "file", "link"]
    for path in (tree, tree / "d", tree / "d/e", tree / "d/file"):
        assert "user.overlay.opaque" not in os.listxattr(path)
        assert "user.mine" in os.listxattr(path)


def test_a_tree_may_be_deeper_than_paths_are_long(tmp_path: Path) -> None:
    from dockc.runtime.snapshot.files import drop_marks
    from dockc.runtime.snapshot.removal import remove_tree

    top = tmp_path / "tree"
    top.mkdir()
    here = deepen(top, 3000)
    try:
        os.setxattr(here, "user.overlay.opaque", b"y")
        drop_marks(top)
        assert os.listxattr(here) == []
    finally:
        os.close(here)
        remove_tree(top)
