"""Mount points that had to be made, and what of them stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockc.runtime.executor.stubs import MountStubs

STAMP = 1_000_000_000 * 10**9


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("etc", "usr"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, ns=(STAMP, STAMP))
    return tmp_path


def _names(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*")}


def test_made_and_removed(root: Path) -> None:
    stubs = MountStubs(root, [("/usr/a/b", True), ("/etc/f", False)], recursive=True)
    stubs.make()
    assert _names(root) == {"etc", "etc/f", "etc/hosts", "etc/resolv.conf", "usr", "usr/a", "usr/a/b"}
    assert (root / "etc/f").is_file()
    stubs.clean()
    assert _names(root) == {"etc", "usr"}


def test_removal_keeps_the_times_that_making_left(root: Path) -> None:
    (root / "etc/hosts").write_text("")
    (root / "etc/resolv.conf").write_text("")
    os.utime(root / "etc", ns=(STAMP, STAMP))
    stubs = MountStubs(root, [("/usr/a", True)], recursive=True)
    stubs.make()
    assert (root / "usr").stat().st_mtime_ns != STAMP, "as with BuildKit: what was mounted on was made now"
    os.utime(root / "usr", ns=(STAMP + 1, STAMP + 1))
    stubs.clean()
    assert (root / "usr").stat().st_mtime_ns == STAMP + 1
    assert (root / "etc").stat().st_mtime_ns == STAMP, "nothing was missing there"


def test_parents_stay_without_recursion(root: Path) -> None:
    stubs = MountStubs(root, [("/usr/a/b", True)], recursive=False)
    stubs.make()
    stubs.clean()
    assert _names(root) == {"etc", "usr", "usr/a"}


def test_what_was_there_or_was_filled_stays(root: Path) -> None:
    (root / "etc/hosts").write_text("")
    stubs = MountStubs(root, [("/usr/a/b", True)], recursive=True)
    stubs.make()
    (root / "usr/a/b/made").write_text("x")
    (root / "etc/resolv.conf").write_text("x")
    stubs.clean()
    assert _names(root) == {"etc", "etc/hosts", "etc/resolv.conf", "usr", "usr/a", "usr/a/b", "usr/a/b/made"}


def test_times_that_the_step_changed_stay_changed(root: Path) -> None:
    (root / "etc/hosts").write_text("")
    (root / "etc/resolv.conf").write_text("")
    os.utime(root / "etc", ns=(STAMP, STAMP))
    stubs = MountStubs(root, [], recursive=True)
    stubs.make()
    (root / "etc/new").write_text("x")
    stubs.clean()
    assert (root / "etc").stat().st_mtime_ns != STAMP


def test_a_link_in_the_way_is_not_followed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "b").mkdir()
    stubs = MountStubs(root, [("/usr/a/b", True)], recursive=True)
    (root / "usr/a").symlink_to(outside)
    stubs.clean()
    assert (outside / "b").is_dir()


def test_points_in_other_mounts_are_not_made_in_the_root(root: Path) -> None:
    stubs = MountStubs(root, [("/usr/a", True), ("/usr/a/in", True)], recursive=True)
    stubs.make()
    assert "usr/a/in" not in _names(root)
