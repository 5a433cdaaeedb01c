"""Directories below a root are found whatever else goes on on the machine."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from dockc.runtime.snapshot.rooted import open_directory


def test_renames_elsewhere_are_no_error(tmp_path: Path) -> None:
    """The kernel answers EAGAIN for a `..` while anything on the machine is renamed."""
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/up").symlink_to("a/../..")
    done = threading.Event()

    def rename(one: Path, other: Path) -> None:
        one.touch()
        while not done.is_set():
            one.rename(other)
            other.rename(one)

    threads = [threading.Thread(target=rename, args=(tmp_path / f"x{n}", tmp_path / f"y{n}")) for n in range(2)]
    for thread in threads:
        thread.start()
    root = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    try:
        for _ in range(3000):
            found = open_directory(root, "up/a/../up/up/a/b/..")
            assert os.path.samestat(os.fstat(found), (tmp_path / "root/a").stat())
            os.close(found)
    finally:
        done.set()
        for thread in threads:
            thread.join()
        os.close(root)
