"""Where memory or /proc is missing an error says so; nobody sees a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dockc.base.files import FILE_LIMIT, read_file
from dockc.errors import DockcError
from dockc.line.main import run
from dockc.rpc.calls import explained
from dockc.rpc.status import RESOURCE_EXHAUSTED


def test_no_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def nothing_left(_path: object) -> bytes:
        raise MemoryError

    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.setattr("dockc.base.files.read_file", nothing_left)
    assert run(["lint", "--no-cache", str(tmp_path / "Dockerfile")]) == 1
    assert capsys.readouterr().err == "error: out of memory\n"


@pytest.mark.parametrize("words", ["can't start new thread", "dockc-engine: no thread can be made"])
def test_no_thread_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str) -> None:
    def refused(_path: object) -> bytes:
        raise RuntimeError(words)

    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.setattr("dockc.base.files.read_file", refused)
    assert run(["lint", "--no-cache", str(tmp_path / "Dockerfile")]) == 1
    assert capsys.readouterr().err == "error: no thread can be made: there is too little memory, or the user has too many processes\n"
    assert explained(RuntimeError(words)).code == RESOURCE_EXHAUSTED
    assert "internal error" in explained(RuntimeError("slip")).message


def test_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    """What a read may give at most is set aside at once, whatever comes."""
    big = tmp_path / "big"
    big.write_bytes(bytes(3 << 20))
    assert len(read_file(big)) == 3 << 20
    os.truncate(big, FILE_LIMIT + 1)
    with pytest.raises(DockcError, match="is larger than"):
        read_file(big)
    assert b"Name:" in read_file("/proc/self/status"), "its size is 0"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_build_without_proc_says_so(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    command = f"umount -l /proc && exec {sys.executable} -m dockc build --progress=plain {tmp_path}"
    environ = os.environ | {"DOCKC_STORE": str(tmp_path / "store")}
    ended = subprocess.run(["unshare", "--mount", "sh", "-c", command], env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "error: cannot read /proc/self/status" in ended.stderr and "help: Steps need /proc" in ended.stderr


@pytest.mark.parametrize("words", [("build", "."), ("build", "-f", "other.Dockerfile", "{there}"), ("build", ".", "--addr", "tcp://127.0.0.1:1"), ("config",)], ids=" ".join)
def test_a_current_directory_that_is_gone_is_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    gone = tmp_path / "gone"
    gone.mkdir()

    def leave() -> None:
        os.chdir(gone)
        gone.rmdir()

    argv = [sys.executable, "-P", "-m", "dockc", *(word.format(there=tmp_path) for word in words)]
    environ = os.environ | {"DOCKC_STORE": str(tmp_path / "store"), "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(argv, preexec_fn=leave, env=environ, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "error: the current directory is gone\n  help: Go to one that is there.\n")
