"""What is not where it is looked for, and files that are no text: what people are told to do about it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dockc.base.files import read_file
from dockc.errors import DockcError


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        ((), "The argument is the directory; `-f FILE` names a Dockerfile that is called otherwise."),
        (("Dockerfile.dockerignore", "main.go"), "The argument is the directory; `-f FILE` names a Dockerfile that is called otherwise."),
        (("Dockerfile.dev",), "There is {0}/Dockerfile.dev: `-f` names it."),
        (("web.dockerfile", "Dockerfile.dev"), "There are {0}/Dockerfile.dev and {0}/web.dockerfile: `-f` names one."),
        (("a.dockerfile", "b.dockerfile", "c.dockerfile", "d.dockerfile"), "There are 4 others, such as {0}/a.dockerfile: `-f` names one."),
        (None, "There is no directory {0}."),
    ],
)
def test_what_there_is_instead_of_a_dockerfile(tmp_path: Path, files: tuple[str, ...] | None, hint: str) -> None:
    folder = tmp_path / "app"
    if files is not None:
        folder.mkdir()
    for name in files or ():
        (folder / name).write_text("")
    with pytest.raises(DockcError, match="no such file or directory") as caught:
        read_file(folder / "Dockerfile")
    assert caught.value.hint == hint.format(folder)


@pytest.mark.parametrize("verb", ["lint", "fmt", "compile", "explain .", "lock"])
def test_no_current_directory(tmp_path: Path, verb: str) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    ended = subprocess.run(
        ["sh", "-c", f'rmdir "$0"; exec "$@" {verb}', gone, sys.executable, "-m", "dockc"],
        cwd=gone, env={"PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (1, "error: the current directory is gone\n  help: Go to one that is there.\n")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("verb", ["compile", "explain", "fmt", "lint"])
def test_utf_16_is_named_once(tmp_path: Path, verb: str, encoding: str) -> None:
    file = tmp_path / "Dockerfile"
    file.write_bytes("FROM scratch\r\n  COPY a /a\r\nENV A=1\r\nRUN true &&\r\n  false\r\n".encode(encoding))
    folder = file if verb in ("fmt", "lint") else tmp_path
    ended = subprocess.run(
        [sys.executable, "-m", "dockc", verb, folder], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert (ended.stdout + ended.stderr).count("UTF-16") == 1
