"""What a copy of many files asks of the system: nothing is walked to twice."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dockc.runtime.fsutil import data
from dockc.runtime.fsutil.copy import copy
from dockc.runtime.fsutil.copyentry import CopyOptions
from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.fsutil.users import Owner
from dockc.runtime.fsutil.walk import Filter, walk
from dockc.runtime.source import localsync
from tests.tools import need_root

FILES = 40
CALLS = (
    "open", "close", "stat", "lstat", "fstat", "read", "pread", "write", "pwrite", "lseek", "sendfile", "copy_file_range", "listxattr",
    "getxattr", "setxattr", "removexattr", "fchown", "chown", "fchmod", "chmod", "utime", "ftruncate", "readlink",
)  # fmt: skip
LEAST = {"stat": 1, "open": 2, "read": 1, "write": 1, "listxattr": 1, "fchmod": 1, "utime": 1, "close": 2}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source" / "inner"
    root.mkdir(parents=True)
    for number in range(FILES):
        (root / f"f{number}").write_text(f"content {number}")
        (root / f"f{number}").chmod(0o4750)
        os.utime(root / f"f{number}", ns=(7, 10**18 + number))
    return root.parent


def counting(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often calls are given a path of a file instead of an open file."""
    counts: Counter[str] = Counter()

    def spy(name: str) -> None:
        real = getattr(os, name)

        def call(where: Any, *rest: Any, **more: Any) -> Any:
            if not isinstance(where, int):
                counts[name] += 1
            return real(where, *rest, **more)

        monkeypatch.setattr(os, name, call)

    for name in ("open", "chmod", "chown", "utime", "listxattr", "getxattr", "removexattr", "stat"):
        spy(name)
    return counts


def counting_all(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the system is asked, by call."""
    counts: Counter[str] = Counter()

    def spy(name: str) -> None:
        real = getattr(os, name)

        def call(*rest: Any, **more: Any) -> Any:
            counts[name] += 1
            return real(*rest, **more)

        monkeypatch.setattr(os, name, call)

    for name in CALLS:
        spy(name)
    return counts


def is_whole(target: Path, owner: int = 0) -> None:
    for number in range(FILES):
        status = (target / "inner" / f"f{number}").stat()
        assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o4750, 10**18 + number)
        assert (status.st_uid, status.st_gid) == (owner, owner)
        assert (target / "inner" / f"f{number}").read_text() == f"content {number}"


@pytest.mark.parametrize("owner", [None, Owner(5, 5)])
def test_a_copied_file_is_opened_at_both_ends_and_looked_at_once(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, owner: Owner | None) -> None:
    need_root()
    (tmp_path / "target").mkdir()
    with Root(source) as here, Root(tmp_path / "target") as there:
        counts = counting(monkeypatch)
        copy(here, "/", there, "/", CopyOptions(dir_contents=True, owner=owner))
        monkeypatch.undo()
    assert {name: count // FILES for name, count in counts.items() if count >= FILES} == {"open": 2, "stat": 1}
    is_whole(tmp_path / "target", 5 if owner else 0)


def test_a_file_of_a_context_too(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    (tmp_path / "target").mkdir()
    manifest = localsync.rows_of(walk(source, Filter()))
    with Root(source) as here, Root(tmp_path / "target") as there:
        counts = counting(monkeypatch)
        localsync.Copier(here, there, manifest, lambda _: None).run(localsync.changes_between({}, manifest), {})
        monkeypatch.undo()
    assert {name: count // FILES for name, count in counts.items() if count >= FILES} == {"open": 2}
    is_whole(tmp_path / "target")


def test_a_small_file_takes_no_more_calls_than_these(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status, both ends, the data, whether it has attributes, mode and time; the owner only where it is not so anyway."""
    need_root()
    monkeypatch.setattr(data, "_cloned", lambda *_: False)
    (tmp_path / "target").mkdir()
    with Root(source) as here, Root(tmp_path / "target") as there:
        counts = counting_all(monkeypatch)
        copy(here, "/", there, "/", CopyOptions(dir_contents=True))
        monkeypatch.undo()
    assert {name: count // FILES for name, count in counts.items() if count >= FILES} == LEAST
    is_whole(tmp_path / "target")


def test_where_blocks_can_be_shared_nothing_is_read(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()

    def clone(here: int, there: int) -> bool:
        os.write(there, os.pread(here, 1 << 16, 0))
        return True

    monkeypatch.setattr(data, "_cloned", clone)
    (tmp_path / "target").mkdir()
    with Root(source) as here, Root(tmp_path / "target") as there:
        counts = counting_all(monkeypatch)
        copy(here, "/", there, "/", CopyOptions(dir_contents=True))
        monkeypatch.undo()
    assert counts["copy_file_range"] >= FILES - 1
    assert counts["read"] == 0
    is_whole(tmp_path / "target")


def test_owners_are_right_in_each_directory(tmp_path: Path, source: Path) -> None:
    """A directory may give its group to what is made in it; the next one, which does not, may get the same descriptor."""
    need_root()
    target = tmp_path / "target"
    for name in ("a", "b", "c", "d"):
        (source / name).mkdir()
        (target / name).mkdir(parents=True)
        for number in range(3):
            (source / name / str(number)).write_text(name)
    for name in ("b", "d"):
        os.chown(target / name, 0, 7)
        (target / name).chmod(0o2755)
    os.chown(source / "c" / "1", 5, 6)
    with Root(source) as here, Root(target) as there:
        copy(here, "/", there, "/", CopyOptions(dir_contents=True))
    owners = {str(path.relative_to(target)): (path.stat().st_uid, path.stat().st_gid) for path in target.rglob("*") if path.is_file()}
    assert {name for name, ids in owners.items() if ids != (0, 0)} == {"c/1"}
    assert owners["c/1"] == (5, 6)


def test_a_file_that_shrinks_or_is_written_in_pieces_is_copied_as_far_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "from").write_bytes(b"0123456789")
    here, there = os.open(tmp_path / "from", os.O_RDONLY), os.open(tmp_path / "to", os.O_WRONLY | os.O_CREAT, 0o600)
    real_read, real_write = os.read, os.write
    monkeypatch.setattr(os, "read", lambda fd, size: real_read(fd, min(size, 3)))
    monkeypatch.setattr(os, "write", lambda fd, block: real_write(fd, bytes(block)[:2]))
    try:
        data._through(here, there, 12)  # two bytes fewer are left of it
    finally:
        os.close(here)
        os.close(there)
        monkeypatch.undo()
    assert (tmp_path / "to").read_bytes() == b"0123456789"
