"""Completion: what shells are offered, and a real bash that asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dockc.commands.completion import SCRIPTS
from dockc.line.complete import candidates
from dockc.line.verbs import GROUPS, VERBS


def _words(*words: str) -> list[str]:
    return [word for word, _ in candidates(words)]


def test_commands() -> None:
    assert _words("") == sorted(name for name in {*GROUPS, *VERBS} if " " not in name)
    assert _words("cache", "") == ["mounts"]
    assert _words("cache", "mounts", "") == ["export", "import", "ls", "rm", "shell"]
    assert _words("com") == ["compile", "completion"]
    assert _words("nope", "") == []
    assert all(text.endswith(".") for _, text in candidates([""]))


def test_options() -> None:
    assert _words("compile", "--em") == ["--emit"]
    assert {"--target", "--build-arg", "-f"} <= set(_words("build", "-"))
    assert "--attest" not in _words("build", "--"), "hidden ones are not offered"
    assert _words("lint", "--no-s") == ["--no-shellcheck"]


def test_values() -> None:
    assert _words("compile", "--emit", "d") == ["dot"]
    assert _words("compile", "--emit=d") == ["--emit=dot"]
    assert _words("build", "--file", "") == [":file"]
    assert _words("build", "") == [":directory"]
    assert _words("lint", "a", "") == [":file"]
    assert _words("completion", "z") == ["zsh"]
    assert _words("completion", "zsh", "") == []
    assert _words("lint", "--select", "DL300") == [f"DL300{n}" for n in (0, 1, 2, 3, 4, 6, 7, 8, 9)]
    assert _words("lint", "--select", "DL3006,DL3007") == ["DL3006,DL3007"]
    assert "dead-code" in " ".join(_words("opt", "--passes", "")) or _words("opt", "--passes", "")


def test_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Dockerfile").write_text("FROM scratch AS base\nFROM base AS build\nFROM scratch\n")
    Path("Other").write_text("FROM scratch AS other\n")
    assert _words("build", "--target", "b") == ["base", "build"]
    assert _words("build", "-f", "Other", "--target=") == ["--target=other"]
    Path("Dockerfile").write_text("FROM")
    assert _words("build", "--target", "") == []


def test_nothing_is_said_while_typing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKC_STORE", "relative")
    done = subprocess.run([sys.executable, "-m", "dockc", "__complete", "--", "run", ""], capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.parametrize("shell", sorted(SCRIPTS))
def test_a_real_shell_reads_its_script(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([program, "-n"], input=SCRIPTS[shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    program = tmp_path / "dockc"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -m dockc \"$@\"\n")
    program.chmod(0o755)
    (tmp_path / "Dockerfile").write_text("FROM scratch AS only\n")
    ask = """
        eval "$(dockc completion bash)"
        compopt() { :; }
        complete_line() {  # the line, the word that bash sees
            COMP_LINE=$1; COMP_POINT=${#1}; _dockc dockc "$2" ""; echo "${COMPREPLY[*]}"
        }
        complete_line 'dockc comp' comp
        complete_line 'dockc compile --emit=im' im
        complete_line 'dockc build --target ' ''
        complete_line 'dockc build Docker' Docker
        """
    root = Path(__file__).resolve().parents[2]
    env = dict(os.environ, PATH=f"{tmp_path}:{os.environ['PATH']}", PYTHONPATH=str(root))
    done = subprocess.run([bash, "-c", ask], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["compile completion", "image", "only", ""]
