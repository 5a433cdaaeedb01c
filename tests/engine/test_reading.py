"""What frontends read of a file system in which something may still be running."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockc.engine import reading
from dockc.errors import DockcError
from dockc.runtime.fsutil.inroot import Root


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"text")
    before = (tmp_path / "file").stat()
    assert reading.read_file(tmp_path, path="/file", offset=1, length=2) == b"ex"
    (tmp_path / "file").unlink()
    os.mkfifo(tmp_path / "file")
    monkeypatch.setattr(Root, "lstat", lambda self, path: before)  # it was a file when it was looked at
    with pytest.raises(DockcError, match="failed to read /file: not a regular file"):
        reading.read_file(tmp_path, path="/file")
