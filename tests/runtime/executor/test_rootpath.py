"""Paths inside a root, by descriptor and by text: both agree, and neither ever leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockc.runtime.kernel.rootpath import open_in_root, root_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "a/file").write_text("x")
    (root / "abs").symlink_to("/a/b")
    (root / "up").symlink_to("../../../../a")
    (root / "a/rel").symlink_to("../a/./b")
    (root / "dangling").symlink_to("/missing/deep")
    (root / "loop1").symlink_to("loop2")
    (root / "loop2").symlink_to("loop1")
    (root / "outside").symlink_to(str(tmp_path))
    return root


@pytest.fixture
def fd(root: Path) -> Iterator[int]:
    opened = os.open(root, os.O_PATH | os.O_DIRECTORY)
    yield opened
    os.close(opened)


def _where(fd: int, path: str, make: str = "") -> str:
    found = open_in_root(fd, path, make=make)
    try:
        return str(Path(f"/proc/self/fd/{found}").readlink())
    finally:
        os.close(found)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ""),
        ("", ""),
        ("a/b", "/a/b"),
        ("//a/./b//", "/a/b"),
        ("abs", "/a/b"),
        ("up/b", "/a/b"),
        ("a/rel", "/a/b"),
        ("../../a/file", "/a/file"),
        ("abs/../file", "/a/file"),
    ],
)
def test_existing(root: Path, fd: int, path: str, expected: str) -> None:
    assert _where(fd, path) == f"{root}{expected}"
    assert root_path(str(root), path) == f"{root}{expected}"


def test_missing(root: Path, fd: int) -> None:
    with pytest.raises(FileNotFoundError):
        open_in_root(fd, "a/none/x")
    assert root_path(str(root), "a/none/../x") == f"{root}/a/x"
    assert root_path(str(root), "dangling/x") == f"{root}/missing/deep/x"


def test_a_file_is_no_directory(fd: int) -> None:
    with pytest.raises(NotADirectoryError):
        open_in_root(fd, "a/file/x", make="dir")


def test_loops(root: Path, fd: int) -> None:
    with pytest.raises(OSError, match="Too many levels"):
        open_in_root(fd, "loop1")
    with pytest.raises(OSError, match="Too many levels"):
        root_path(str(root), "loop1/x")


def test_making(root: Path, fd: int) -> None:
    assert _where(fd, "new/deep/dir", "dir") == f"{root}/new/deep/dir"
    assert _where(fd, "new/deep/file", "file") == f"{root}/new/deep/file"
    assert (root / "new/deep/file").is_file()
    assert _where(fd, "dangling/made", "dir") == f"{root}/missing/deep/made"
    assert _where(fd, "outside/made", "file").startswith(f"{root}/")
    assert not (root.parent / "made").exists()


def test_no_descriptor_is_lost(root: Path, fd: int) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("a/b", "up/b", "abs/../file"):
        os.close(open_in_root(fd, path))
    for path in ("loop1", "a/none", "a/file/x"):
        with pytest.raises(OSError):
            open_in_root(fd, path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


_names = st.sampled_from(["a", "b", "..", ".", "", "link", "x"])
_targets = st.lists(_names, min_size=1, max_size=5).map("/".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(links=st.dictionaries(st.sampled_from(["link", "a/link", "b"]), _targets, max_size=3), path=_targets)
def test_nothing_leads_outside(tmp_path_factory: pytest.TempPathFactory, links: dict[str, str], path: str) -> None:
    root = tmp_path_factory.mktemp("r") / "root"
    (root / "a/b").mkdir(parents=True)
    for name, target in links.items():
        if target:
            (root / name).symlink_to(target)
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        text = root_path(str(root), path)
        assert text == str(root) or text.startswith(f"{root}/")
        assert _where(fd, path, "dir").startswith(str(root))
    except OSError:
        return
    finally:
        os.close(fd)
