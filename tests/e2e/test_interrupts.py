"""An interrupt ends a command with status 130 and no traceback, however early it comes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Interrupts the process when a module is looked for, for the nth time; Python's own start is over by then, and `main` is reached.
AT_IMPORT = """
import os, signal, sys
class Finder:
    left = int(sys.argv.pop(1))
    def find_spec(self, name, path=None, target=None):
        Finder.left -= 1
        if Finder.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from dockc.__main__ import main
sys.meta_path.insert(0, Finder())
sys.argv[0] = "dockc"
main()
"""


@pytest.mark.parametrize("words", [["compile"], ["lint"], ["build", "--progress=plain"], ["du"], ["fmt", "--check"]])
def test_an_interrupt_at_any_import_is_no_traceback(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    arguments = [] if words == ["du"] else [str(tmp_path / "Dockerfile") if words[0] in ("lint", "fmt") else str(tmp_path)]
    environ = {"DOCKC_STORE": str(tmp_path / "store"), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    reached = 0
    for count in (1, 2, 3, 4, 6, 9, 13, 19, 28, 42, 63, 94, 140, 210):
        command = [sys.executable, "-c", AT_IMPORT, str(count), *words, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environ, cwd=tmp_path, check=False)
        if done.returncode == 0 and not done.stderr.count("interrupted"):
            break  # fewer modules than that are looked for
        reached += 1
        assert (done.returncode, "Traceback" in done.stderr) == (130, False), (count, done)
        assert "interrupted" in done.stderr.lower(), (count, done)
    assert reached > 3
