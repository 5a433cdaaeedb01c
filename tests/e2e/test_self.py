"""`examples/self`: dockc builds an image of itself without a network, and that image's dockc works."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dockc.base.version import VERSION
from tests.e2e.conftest import PYTHON_PATH, REPO

NEEDED = ("msgspec", "protobuf", "urllib3")  # as many as its answers here need


def copy_packages(target: Path) -> None:
    """What `pip install --target` would make of dockc's dependencies, out of what is installed here."""
    for name in NEEDED:
        try:
            files = importlib.metadata.distribution(name).files or []
        except importlib.metadata.PackageNotFoundError:  # of other Pythons and machines
            continue
        for file in files:
            source = Path(str(file.locate()))
            if ".." not in file.parts and source.suffix != ".pyc" and source.is_file():
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target / file)


def test_dockc_builds_dockc(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: Python's own files may be another user's")
    tree = tmp_path / "tree"
    for name in ("dockc", "examples"):
        shutil.copytree(REPO / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    packages = tmp_path / "packages"
    copy_packages(packages)
    venv = tmp_path / "venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").symlink_to(Path(sys.base_prefix, "bin", "python3"))
    (venv / "dockc").write_text(f'#!/bin/sh\nexec {sys.executable} -m dockc "$@"\n')
    (venv / "dockc").chmod(0o755)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKC_", "DOCKER_"))}
    env |= {
        "DOCKC_VENV": str(venv.parent),
        "DOCKC_PACKAGES": str(packages),
        "DOCKC_STORE": str(tmp_path / "store"),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": PYTHON_PATH,
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        ["sh", str(tree / "examples/self/run.sh")], env=env, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-2:] == [f"dockc {VERSION}", "dockc built dockc, which reads its own Dockerfile"]
    assert not list(tmp_path.glob("tmp.*")), "nothing is left behind"
