"""The command line, called in this process: what it writes, and how it ends."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.golden.collect import Case

TWO_STAGES = Case("compiler/forms", "two-stages").read("Dockerfile").decode()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode()


Cli = Callable[..., Ended]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, which is the current one; the store and the home are beside it."""
    made = tmp_path / "work"
    made.mkdir()
    monkeypatch.chdir(made)
    monkeypatch.setenv("DOCKC_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.delenv("DOCKC_CONFIG", raising=False)
    return made


@pytest.fixture
def cli(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in `folder` without starting an interpreter for it."""

    def run(*args: object, stdin: bytes = b"", status: int | None = 0) -> Ended:
        from dockc.line.main import run as run_cli

        out, err = io.BytesIO(), io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="utf-8", write_through=True))
            patch.setattr(
                sys, "stderr", io.TextIOWrapper(err, encoding="utf-8", errors="backslashreplace", write_through=True)
            )
            ended = Ended(run_cli([str(one) for one in args]), out.getvalue(), err.getvalue().decode())
        if status is not None:
            assert ended.status == status, (ended.status, ended.stdout[-2000:], ended.stderr)
        return ended

    return run


@pytest.fixture
def two_stages(folder: Path) -> Path:
    """A small context of two stages, with an inline document and a build argument."""
    (folder / "Dockerfile").write_text(TWO_STAGES)
    (folder / "a.txt").write_text("a\n")
    return folder
