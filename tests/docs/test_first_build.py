"""The tutorial on a first build is run as it stands: its files are written, its commands end well and say what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial" / "first-build.md"
BLOCK = re.compile(r"^```(console|\w+ name=(\S+))\n(.*?)^```", re.S | re.M)


@pytest.mark.root
def test_every_block(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DOCKC_STORE": str(tmp_path / "store"), "HOME": str(tmp_path)}
    ran = 0
    for kind, name, text in BLOCK.findall(PAGE.read_text()):
        if kind != "console":
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            continue
        line, _, shown = text.partition("\n")
        assert line.startswith("$ dockc ")
        argv = [sys.executable, "-m", "dockc", *line.split()[2:]]
        done = subprocess.run(argv, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        for expected in shown.splitlines():
            assert expected in done.stdout + done.stderr, f"{line}\n{done.stdout}{done.stderr}"
        if argv[3] == "run":
            assert done.stdout == shown
        ran += 1
    assert ran == 10
    assert (tmp_path / "out/words/sorted.txt").read_text() == "digest\nedge\nvertex\n"
