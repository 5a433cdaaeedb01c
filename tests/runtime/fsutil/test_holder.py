"""Directories by their paths, from neighbour to neighbour: whatever the order, and in time that grows with the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockc.errors import UnsafePath
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.fsutil.holder import Holder, Near
from dockc.runtime.fsutil.inroot import Root, entries
from dockc.runtime.snapshot.removal import remove_tree
from tests.tools import deepen

DEPTH = 1200


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "place"
    place.mkdir()
    os.close(deepen(place, DEPTH))
    yield place
    remove_tree(place)


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many components each opening has walked."""
    seen: list[int] = []
    real = Root.open_dir

    def counted(self: Root, path: str, *, read: bool = False) -> int:
        seen.append(path.count("/") + 1)
        return real(self, path, read=read)

    monkeypatch.setattr(Root, "open_dir", counted)
    return seen


def test_a_way_down_and_up_again_is_walked_once(deep: Path, walked: list[int]) -> None:
    paths = ["/".join(["d"] * depth) for depth in range(DEPTH + 1)]
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with Root(deep) as root, Holder(root, read=True) as holder:
        for path in [*paths, *reversed(paths)]:
            assert entries(holder.folder(path)) == (["d"] if path != paths[-1] else [])
            assert len(os.listdir("/proc/self/fd")) <= before + 70  # noqa: PTH208
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    # Each level once on the way down; up again, one long way for each 64 levels and those one by one.
    assert sum(walked) < DEPTH * (3 + DEPTH / 100)


TREE = ["", "a", "a/b", "a/b/c", "a-b", "a.b", "ab", "ab/a", *["x/" * depth + "x" for depth in range(0, 90, 7)]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(TREE), max_size=30))
def test_any_order_finds_what_is_there(tmp_path: Path, order: list[str]) -> None:
    for path in TREE:
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
    with Root(tmp_path) as root, Holder(root) as holder:
        for path in order:
            found = os.fstat(holder.folder(path))
            assert os.path.samestat(found, (tmp_path / path).stat())
            folder, name = holder.at(path)
            assert os.path.samestat(os.stat(name, dir_fd=folder), found)


def test_links_and_what_is_missing_are_refused_and_the_next_one_is_found(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "file").write_text("")
    with Root(tmp_path) as root, Holder(root) as holder:
        for path, error in (("link", UnsafePath), ("link/b", UnsafePath), ("none/b", FileError), ("file", FileError), ("a/../a", UnsafePath)):
            assert holder.folder("a") >= 0
            with pytest.raises(error):
                holder.folder(path)
        assert os.path.samestat(os.fstat(holder.folder("a/b")), (tmp_path / "a" / "b").stat())


def test_what_is_deep_has_a_short_path(deep: Path) -> None:
    for depth in (1, 40, DEPTH):
        folder = os.open(deep, os.O_RDONLY)
        for _ in range(depth):
            inner = os.open("d", os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = inner
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        found = os.fstat(folder)
        os.close(folder)
        with Near(str(deep)) as near:
            path = "d/" * depth + "f"
            assert os.path.samestat(Path(near.of("d/" * (depth - 1) + "d")).stat(), found)
            assert Path(near.of(path)).is_file()
            assert len(near.of(path)) < len(str(deep)) + 40
            assert near.of(path[:-1] + "none/none") == f"{deep}/{path[:-1]}none/none"  # so that the system says what is wrong
    assert Near(str(deep)).of("") == str(deep)
