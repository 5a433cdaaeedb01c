"""The extension for VS Code: packaged by its script, and run with the editor's own client library against `dockc lsp`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
EXTENSION = REPO / "editors" / "vscode"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None or shutil.which("node") is None, reason="no node and npm")
def test_the_packaged_extension_shows_findings(tmp_path: Path) -> None:
    made = subprocess.run(["sh", EXTENSION / "package.sh", tmp_path], capture_output=True, text=True, check=False, timeout=280)
    if made.returncode and "npm ERR" in made.stderr.replace("npm error", "npm ERR"):
        pytest.skip("npm cannot install what the extension is built with")
    assert made.returncode == 0, made.stderr
    (package,) = tmp_path.glob("*.vsix")
    with zipfile.ZipFile(package) as archive:
        assert {"extension.vsixmanifest", "[Content_Types].xml", "extension/package.json", "extension/out/extension.js"} <= set(archive.namelist())
        archive.extractall(tmp_path / "x")
    assert not (EXTENSION / "node_modules").exists()
    assert not (EXTENSION / "package-lock.json").exists()

    program = tmp_path / "dockc"
    program.write_text(f"#!/bin/sh\nPYTHONPATH={REPO} exec {sys.executable} -m dockc \"$@\"\n")
    program.chmod(0o755)
    argv: list[str | Path] = ["node", EXTENSION / "test" / "client.cjs", tmp_path / "x" / "extension" / "out" / "extension.js", program, tmp_path]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, env=os.environ)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert [(one["line"], one["code"]) for one in answer["published"]] == [(0, "DL3006"), (1, "DL3020")]
    assert answer["errors"] == []
    argv[3] = tmp_path / "none"
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, env=os.environ)
    told = [words for words in json.loads(ran.stdout)["errors"] if "|" in words]
    assert len(told) == 1, "one message, which stays until somebody reads it"
    assert re.fullmatch(r"dockc: `.*/none lsp` does not start \(.*ENOENT.*\)\. Install dockc with .*dockc\.path.* \| Open Settings", told[0])


def test_nothing_of_the_extension_says_where_packages_came_from() -> None:
    texts = [path.read_text() for path in EXTENSION.rglob("*") if path.is_file() and "node_modules" not in path.parts]
    assert not any("registry" + "." in text or '"resolved"' in text for text in texts)
