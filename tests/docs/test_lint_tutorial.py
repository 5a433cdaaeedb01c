"""What the tutorial on lint shows is what dockc prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial" / "lint-in-ci.md"


def test_first_report(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:12\nADD app /app\nRUN apt-get install curl=1\n")
    shown = re.search(r"```console\n\$ dockc lint\n(.*?)```", PAGE.read_text(), re.S)
    argv = [sys.executable, "-m", "dockc", "lint", "--no-shellcheck"]
    result = subprocess.run(argv, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, capture_output=True, check=False)
    assert shown is not None
    assert result.stdout == shown[1]


def test_configuration_and_comment(tmp_path: Path) -> None:
    text = PAGE.read_text()
    config = re.search(r"```toml\n(.*?)```", text, re.S)
    instruction = re.search(r"```dockerfile\n(.*?)```", text, re.S)
    assert config is not None
    assert instruction is not None
    (tmp_path / "dockc.toml").write_text(config[1])
    (tmp_path / "Dockerfile").write_text(f"FROM debian:12\n{instruction[1]}USER 1\n")
    argv = [sys.executable, "-m", "dockc", "lint", "--no-shellcheck", "--format=tty"]
    result = subprocess.run(argv, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, capture_output=True, check=False)
    assert result.stdout == "Dockerfile:1 DK0201 warning: debian:12 is not pinned by digest\n"


def test_the_other_commands(tmp_path: Path) -> None:
    """In their order: what is mended, and what a baseline leaves."""
    (tmp_path / "Dockerfile").write_text("FROM debian:12\nADD app /app\nRUN apt-get install curl=1\n")
    text = PAGE.read_text()
    shown = re.findall(r"^\$ dockc ([^\n#]*)(?: +#[^\n]*)?\n((?:[^$`\n][^\n]*\n)*)", "".join(re.findall(r"```console\n(.*?)```", text, re.S)), re.M)
    assert [words.strip() for words, _ in shown] == [
        "lint", "lint --diff", "lint --fix", "lint --baseline=.dockc-baseline.json --write-baseline", "lint --baseline=.dockc-baseline.json",
    ]  # fmt: skip
    statuses = []
    for words, said in shown[1:]:
        argv = [sys.executable, "-m", "dockc", *words.split(), "--no-shellcheck"]
        done = subprocess.run(argv, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, capture_output=True, check=False)
        assert said in done.stdout + done.stderr
        statuses.append(done.returncode)
    assert statuses == [1, 0, 0, 0]
    assert (tmp_path / "Dockerfile").read_text() == "FROM debian:12\nCOPY app /app\nRUN apt-get install -y curl=1\n"
