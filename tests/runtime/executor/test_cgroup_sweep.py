"""Control groups of a killed build are found by what it wrote down, and nothing else is touched."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockc.runtime.executor import cgroup


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directories in place of the kernel's hierarchies."""
    for name in ("cpu", "memory"):
        (tmp_path / "cgroup" / name / "parent/dockc/run-1").mkdir(parents=True)
        (tmp_path / "cgroup" / name / "cgroup.procs").touch()
        (tmp_path / "cgroup" / name / "parent/other").mkdir()
    monkeypatch.setattr(cgroup, "_TOP", tmp_path / "cgroup")
    return tmp_path / "cgroup"


def test_noted_groups_are_removed(top: Path, tmp_path: Path) -> None:
    run = tmp_path / "executor" / "run-1"
    run.mkdir(parents=True)
    cgroup.note(run, cgroup.path_of("parent", "run-1"))
    (top / "cpu/parent/dockc/run-1/inner").mkdir()
    assert cgroup.sweep(tmp_path / "executor")
    for name in ("cpu", "memory"):
        assert not (top / name / "parent/dockc/run-1").exists()
        assert (top / name / "parent/other").exists()
    assert cgroup.sweep(tmp_path / "executor"), "a second time there is nothing to do"


@pytest.mark.parametrize("path", ["/parent/other", "/parent/dockc/../other", "/", "", "parent/other"])
def test_only_groups_of_runs_are_removed(top: Path, tmp_path: Path, path: str) -> None:
    run = tmp_path / "executor" / "run-1"
    run.mkdir(parents=True)
    cgroup.note(run, path)
    assert cgroup.sweep(tmp_path / "executor")
    assert (top / "cpu/parent/other").exists()
    assert (top / "cpu/parent/dockc/run-1").exists()


def test_a_group_that_is_in_use_is_said(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_PAUSE", 0)
    run = tmp_path / "executor" / "run-1"
    run.mkdir(parents=True)
    cgroup.note(run, cgroup.path_of("parent", "run-1"))
    (top / "cpu/parent/dockc/run-1/file").touch()
    assert not cgroup.sweep(tmp_path / "executor")
    assert not (top / "memory/parent/dockc/run-1").exists()


def test_many_begin_and_end_at_once(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that has ended takes the folder away that the others are about to use."""
    monkeypatch.setattr(cgroup, "_base", lambda: "/")

    def run(number: int) -> int:
        record = tmp_path / f"record-{number}"
        record.mkdir()
        with cgroup.group("new", f"run-{number}", record) as made:
            return sum(Path(file).parent.is_dir() for file in made.files)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(400))) == [2] * 400
    assert not (top / "cpu/new/dockc").exists()
