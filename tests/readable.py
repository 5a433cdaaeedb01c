"""dockc for tests that become another user, who may be unable to read the checkout, its packages or its interpreter."""

from __future__ import annotations

import atexit
import functools
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement

REPO = Path(__file__).resolve().parent.parent


def readable_python(become: Sequence[str], *, imports: str = "dockc") -> tuple[str, str] | None:
    """An interpreter and a PYTHONPATH with which that user can import what is asked for; None where there is none.

    Args:
        become: a command that runs its arguments as the user and takes `NAME=VALUE` first (it ends in `env`).
        imports: what must load, as after `import`.
    """
    check = f"import sys; assert sys.version_info >= (3, 11); import {imports}"
    here = os.pathsep.join([str(REPO), *(place for place in sys.path if place.endswith("-packages"))])
    pythons = dict.fromkeys([sys.executable, os.path.realpath(sys.executable), "/usr/bin/python3", "/usr/local/bin/python3"])
    for copied in (False, True):
        path = str(copy()) if copied else here
        for python in pythons:
            probe = [*become, f"PYTHONPATH={path}", python, "-B", "-c", check]
            if subprocess.run(probe, check=False, cwd="/", capture_output=True).returncode == 0:
                return python, path
    return None


@functools.cache
def copy() -> Path:
    """A folder that everybody may read with dockc, and all it needs to run; removed when the tests end."""
    top = Path(tempfile.mkdtemp(prefix="dockc-readable-")).resolve()
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    shutil.copytree(REPO / "dockc", top / "dockc", ignore=shutil.ignore_patterns("__pycache__"))
    for package in _needed():
        for file in package.files or ():
            source = Path(str(package.locate_file(file)))
            if ".." in file.parts or file.suffix == ".pyc" or not source.is_file():
                continue
            (top / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, top / file)
    for path in [top, *top.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return top


def _needed() -> Iterator[importlib.metadata.Distribution]:
    """The packages that dockc needs to run, with those they need."""
    with (REPO / "pyproject.toml").open("rb") as stream:
        waiting: list[str] = list(tomllib.load(stream)["project"]["dependencies"])
    seen = set()
    while waiting:
        wanted = Requirement(waiting.pop())
        if wanted.name in seen or (wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add(wanted.name)
        try:
            package = importlib.metadata.distribution(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            continue  # the probe says whether it was needed
        waiting += package.requires or ()
        yield package
