"""Trees deeper than a process may have files open."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.errors import StoreError
from dockc.runtime.exporter import walk as walking
from dockc.runtime.exporter.localdir import LocalWriter
from dockc.runtime.exporter.walk import walk
from dockc.runtime.fsutil.levels import Levels
from dockc.runtime.session.sinks import Tree
from dockc.runtime.snapshot.removal import remove_tree
from tests.tools import deepen

DEPTH = 1500


def fill(folder: int) -> None:
    """What the innermost directory has; its descriptor is closed then."""
    descriptor = os.open("f", os.O_CREAT | os.O_WRONLY, 0o640, dir_fd=folder)
    os.write(descriptor, b"deep")
    os.close(descriptor)
    os.symlink("f", "link", dir_fd=folder)
    os.close(folder)


@pytest.fixture
def few_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many descriptors are open at each entry of a walk."""
    seen: list[int] = []
    names = walking._names

    def counted(folder: int) -> list[str]:
        seen.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208
        return names(folder)

    monkeypatch.setattr(walking, "_names", counted)
    yield seen


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory for what is too deep for pytest, which removes what tests leave recursively."""
    place = tmp_path / "place"
    place.mkdir()
    yield place
    remove_tree(place)


def test_a_deep_tree_is_walked_and_written(place: Path, few_open: list[int]) -> None:
    source, dest = place / "s", place / "t"
    source.mkdir()
    fill(deepen(source, DEPTH, mode=0o751))
    (source / "z").write_text("last")
    paths = [entry.path for entry in walk(source)]
    deepest = "/".join(["d"] * DEPTH)
    assert paths == [*("/".join(["d"] * n) for n in range(1, DEPTH + 1)), f"{deepest}/f", f"{deepest}/link", "z"]

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    LocalWriter(dest).write([Tree("linux/amd64", source)])
    assert (dest / deepest / "f").read_text() == "deep"
    assert (dest / "z").read_text() == "last"
    for n in (1, 700, DEPTH):
        assert stat.S_IMODE((dest / "/".join(["d"] * n)).stat().st_mode) == 0o751
    (source / "z").unlink()
    (dest / deepest / "more").touch()
    LocalWriter(dest, delete=True).write([Tree("linux/amd64", source)])
    assert sorted(os.listdir(dest / deepest)) == ["f", "link"]  # noqa: PTH208
    assert not (dest / "z").exists()
    assert max(few_open) < before + 250
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_directory_that_is_moved_meanwhile_is_not_left_for_another(place: Path) -> None:
    fill(deepen(place, 300, mode=0o751))
    with Levels[int]() as levels:
        here = place
        levels.enter(os.open(here, os.O_RDONLY), 0)
        for n in range(1, 201):
            here /= "d"
            levels.enter(os.open(here, os.O_RDONLY), n)
        (place / "else").mkdir()
        (place / "/".join(["d"] * 100)).rename(place / "else" / "d")
        left = 0
        with pytest.raises(StoreError, match="has been moved"):
            while levels:
                folder, left = levels.leave()
                os.close(folder)
        assert left == 101, "what was open was left as it is; from there on it is another way"
