"""What a copy of many files asks of the system: nothing is walked to twice."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dockc.runtime.fsutil.copy import copy
from dockc.runtime.fsutil.copyentry import CopyOptions
from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.fsutil.users import Owner
from dockc.runtime.fsutil.walk import Filter, walk
from dockc.runtime.source import localsync
from tests.tools import need_root

FILES = 40


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
