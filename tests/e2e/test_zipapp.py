"""dockc in one file, run by a Python that has no packages."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dockc.base.version import VERSION
from tests.e2e.conftest import REPO
from tests.e2e.test_self import copy_packages


@pytest.fixture(scope="module")
def zipapp() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dockc_zipapp", REPO / "tools/zipapp.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_file_runs_on_a_bare_python(zipapp: ModuleType, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    copy_packages(packages)
    shutil.copytree(REPO / "dockc", packages / "dockc", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "dockc.pyz"
    digest = zipapp.write(file, packages)
    first = file.read_bytes()
    assert zipapp.write(file, packages) == digest
    assert file.read_bytes() == first, "equal content, equal bytes"

    python = str(Path(sys.base_prefix, "bin", "python3"))
    env = {"HOME": str(tmp_path), "DOCKC_STORE": str(tmp_path / "store"), "PATH": os.environ["PATH"]}

    def run(*words: str, interpreter: tuple[str, ...] = (python, "-I", "-S")) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*interpreter, str(file), *words],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    assert run("--version").stdout == f"dockc {VERSION}\n"
    place = tmp_path / ".cache/dockc" / f"app-{digest}"
    assert [entry.name for entry in place.parent.iterdir()] == [place.name], "no half of it beside"
    before = place.stat().st_mtime_ns
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    built = run("build", ".", "--progress=plain")
    assert built.returncode == 0, built.stderr
    assert "1 step run" in built.stderr
    assert place.stat().st_mtime_ns == before, "unpacked once"

    place.chmod(0o777)
    refused = run("--version")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"error: {place} is another user's, or others may write to it: remove it\n"
    place.chmod(0o700)


def test_a_place_that_cannot_be_written_is_told(zipapp: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    zipapp.write(tmp_path / "dockc.pyz", tmp_path / "packages")
    (tmp_path / "home").write_text("no directory")
    done = subprocess.run(
        [sys.executable, tmp_path / "dockc.pyz"], env={"HOME": str(tmp_path / "home")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"error: cannot unpack dockc to {tmp_path}/home/.cache/dockc: Not a directory\n  help: $XDG_CACHE_HOME names another place.\n"
    )


def test_another_python_is_told(zipapp: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packages").mkdir()
    monkeypatch.setattr(zipapp.sysconfig, "get_platform", lambda: "vax")
    zipapp.write(tmp_path / "dockc.pyz", tmp_path / "packages")
    done = subprocess.run(
        [sys.executable, tmp_path / "dockc.pyz"],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"error: this file is for Python 3.{sys.version_info[1]} on vax\n"
