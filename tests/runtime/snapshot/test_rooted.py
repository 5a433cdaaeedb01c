"""Directories below a root are found whatever else goes on on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dockc.runtime.snapshot.rooted import open_directory


def test_renames_elsewhere_are_no_error(tmp_path: Path) -> None:
    """The kernel answers EAGAIN for a `..` while anything on the machine is renamed."""
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/up").symlink_to("a/../..")
    script = "import os, sys\nopen('x', 'w').close()\nwhile True:\n os.rename('x', 'y'); os.rename('y', 'x')"
    renamer = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    root = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    try:
        for _ in range(5000):
            found = open_directory(root, "up/a/../up/up/a/b/..")
            assert os.path.samestat(os.fstat(found), (tmp_path / "root/a").stat())
            os.close(found)
    finally:
        renamer.kill()
        renamer.wait()
        os.close(root)
