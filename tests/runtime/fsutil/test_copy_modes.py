"""Modes of directories that a copy makes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from dockc.runtime.fsutil.copy import copy
from dockc.runtime.fsutil.copyentry import CopyOptions
from dockc.runtime.fsutil.inroot import Root


@pytest.mark.parametrize("mode", [0o1777, 0o2755, 0o755])
@pytest.mark.parametrize("dest", ["/d", "/d/", "/new/d"])
def test_the_folder_that_a_folder_becomes_has_all_bits_of_its_mode(tmp_path: Path, mode: int, dest: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "dir" / "inner").mkdir(parents=True)
    (source / "dir" / "f").touch()
    target.mkdir()
    with Root(source) as one, Root(target) as other:
        copy(one, "/dir", other, dest, CopyOptions(mode=mode, dir_contents=True))
    made = target / dest.strip("/")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (made, made / "inner", made / "f")] == [mode] * 3
    if dest == "/new/d":
        assert stat.S_IMODE((target / "new").stat().st_mode) == mode & 0o777  # as the reference: what is only on the way has no such bits
