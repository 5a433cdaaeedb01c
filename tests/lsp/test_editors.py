"""The settings that docs/how-to/editor.md gives for editors, each run in the real editor against `dockc lsp`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pygls", reason="the extra `lsp` is not installed")

REPO = Path(__file__).resolve().parents[2]
PAGE = REPO / "docs" / "how-to" / "editor.md"
SCRIPTS = Path(__file__).resolve().parent / "editors"
ELISP = Path("/usr/share/emacs/site-lisp/elpa")
FILE = "FROM debian\nRUN cd /x && make\nADD a b /c\n"
FOUND = [(0, "DL3006"), (1, "DL3003"), (2, "DL3020")]


def settings(heading: str, number: int = 0) -> str:
    """A block of code of the page."""
    part = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks: list[str] = re.findall(r"```\w+\n(.*?)```", part, re.DOTALL)
    return blocks[number]


def edited(folder: Path, name: str, text: str, *argv: str | Path) -> str:
    """What an editor printed that was started in a folder with a Dockerfile and a `dockc` on its path."""
    (folder / "Dockerfile").write_text(FILE)
    (folder / name).write_text(text)
    (folder / "bin").mkdir()
    program = folder / "bin" / "dockc"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={REPO} exec {sys.executable} -m dockc "$@"\n')
    program.chmod(0o755)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")}
    environ |= {"HOME": str(folder), "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "SETTINGS": str(folder / name), "FILE": "Dockerfile"}
    ran = subprocess.run(argv, cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=150)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.skipif(shutil.which("nvim") is None, reason="no neovim")
def test_neovim(tmp_path: Path) -> None:
    version = subprocess.run(["nvim", "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = map(int, re.findall(r"v(\d+)\.(\d+)", version)[0])
    text = settings("Neovim", 0 if (major, minor) >= (0, 11) else 1)
    script = SCRIPTS / "neovim.lua"
    said = edited(tmp_path, "settings.lua", text, "nvim", "--headless", "-u", "NONE", "--cmd", "filetype on", "-c", f"luafile {script}")
    assert sorted(map(tuple, json.loads(said))) == FOUND


@pytest.mark.skipif(shutil.which("emacs") is None, reason="no emacs-nox")
@pytest.mark.skipif(not list(ELISP.glob("dockerfile-mode-*")), reason="no elpa-dockerfile-mode")
@pytest.mark.skipif(not list(ELISP.glob("eglot-*")), reason="no elpa-eglot")
def test_emacs(tmp_path: Path) -> None:
    said = edited(tmp_path, "settings.el", settings("Emacs"), "emacs", "--batch", "-l", SCRIPTS / "emacs.el")
    found = [(line, re.findall(r"\[(\w+)\]", text)[0]) for line, text in json.loads(said)]
    assert sorted(found) == FOUND
