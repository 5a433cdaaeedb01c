"""Whole builds through the command line: one store a test, a base image of this machine's programs, real registries."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.readable import readable_python

REPO = Path(__file__).resolve().parents[2]
PROGRAMS = ("sh", "cat", "cp", "chmod", "ls", "mkdir", "rm", "sleep", "sort", "id", "head", "env", "touch", "ln", "stat", "chown", "mkfifo")


PYTHON_PATH = os.pathsep.join([str(REPO), *(place for place in sys.path if place.endswith("-packages"))])


class MakeContext(Protocol):
    """Makes a build context; in the names of files `__` stands for a slash."""

    def __call__(self, dockerfile: str, **files: str) -> Path: ...


@dataclass(frozen=True)
class Dockc:
    """Runs `dockc` with a store of its own, as root or as an ordinary user."""

    store: Path
    home: Path
    prefix: tuple[str, ...] = (sys.executable,)
    python_path: str = PYTHON_PATH

    def environ(self) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKC_", "DOCKER_"))}
        own = {"DOCKC_STORE": str(self.store), "HOME": str(self.home), "DOCKER_CONFIG": str(self.home / ".docker")}
        return keep | own | {"PYTHONPATH": self.python_path}

    def argv(self, *args: object) -> list[str]:
        return [*self.prefix, "-m", "dockc", *map(str, args)]

    def start(self, *args: object, **kwargs: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*args), env=self.environ(), cwd=self.home, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs
        )

    def run(self, *args: object, status: int | None = 0, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            self.argv(*args), env=self.environ(), cwd=self.home, text=True, capture_output=True, check=False, timeout=280, **kwargs
        )
        if status is not None:
            assert result.returncode == status, f"status {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    def build(self, context: Path | str, *args: object, status: int | None = 0) -> str:
        """Build with plain progress; gives what was shown."""
        return self.run("build", context, "--progress=plain", *args, status=status).stderr


def _interpreter(become: tuple[str, ...]) -> tuple[str, str]:
    """An interpreter and a search path for it which another user may read."""
    found = readable_python(become, imports="dockc, msgspec, rich, typer, urllib3, google.protobuf")
    if found is None:
        pytest.skip("no interpreter that another user may run")
    return found


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that other users may pass through; pytest's own are closed, and closed again by the next session."""
    folder = Path(tempfile.mkdtemp(prefix="dockc-e2e-")).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """A base image made of this machine's programs."""
    top = Path(tempfile.mkdtemp(prefix="dockc-base-")).resolve()
    folder = top / "layout"
    subprocess.run([sys.executable, "-m", "dockc", "base", *PROGRAMS, "--output", str(folder)], check=True, capture_output=True)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    top.chmod(0o755)
    yield folder
    shutil.rmtree(top, ignore_errors=True)


@pytest.fixture
def root(tmp_path: Path) -> Dockc:
    """dockc as root."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    return Dockc(tmp_path / "store", tmp_path)


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Dockc]:
    """dockc as an ordinary user without subordinate ids."""
    if os.geteuid() != 0:
        yield Dockc(tmp_path / "store", tmp_path)
        return
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("needs setpriv to become an ordinary user")
    uid = "64321"
    become = (setpriv, f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "env")  # env: its child has no capabilities left
    python, path = _interpreter(become)
    os.chown(tmp_path, int(uid), int(uid))
    yield Dockc(tmp_path / "store", tmp_path, (*become, python), path)


@pytest.fixture
def many(root: Dockc, tmp_path: Path) -> Dockc:
    """dockc as an ordinary user who has subordinate ids."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or shutil.which("newuidmap") is None:
        pytest.skip("needs setpriv and newuidmap")
    listed = Path("/etc/subuid")
    names = [line.split(":")[0] for line in listed.read_text().splitlines()] if listed.exists() else []
    known = {one.pw_name: one for one in pwd.getpwall()}
    users = [known[name] for name in names if name != "root" and name in known]
    if not users:
        pytest.skip("no user in /etc/subuid")
    user = users[0]
    become = (setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "env")
    python, path = _interpreter(become)
    os.chown(tmp_path, user.pw_uid, user.pw_gid)
    return Dockc(tmp_path / "store", tmp_path, (*become, python), path)


@pytest.fixture(params=["root", "user"])
def dockc(request: pytest.FixtureRequest) -> Dockc:
    """dockc as root and as an ordinary user."""
    made: Dockc = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def context(tmp_path: Path, base: Path) -> MakeContext:
    """Makes a build context; `base` in FROM is the base image by its digest-pinned named context."""

    def make(dockerfile: str, **files: str) -> Path:
        folder = tmp_path / "context"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(dockerfile)
        for name, text in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    return make


@pytest.fixture
def with_base(base: Path) -> tuple[str, str]:
    """The option that makes `FROM base` work."""
    return ("--build-context", f"base=oci-layout://{base}")
