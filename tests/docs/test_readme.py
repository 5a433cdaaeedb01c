"""What README shows is what the commands say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```console\n\$ dockc ([^\n]*)\n(.*?)\n```", (ROOT / "README.md").read_text(), flags=re.S)


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_output_in_the_readme_is_real(command: str, shown: str) -> None:
    result = subprocess.run([sys.executable, "-m", "dockc", *command.split()], cwd=ROOT, text=True, capture_output=True, check=False)
    assert result.stdout.rstrip() == shown


def test_the_three_daily_commands_are_shown() -> None:
    assert [command.split()[0] for command, _ in BLOCKS] == ["lint", "fmt", "explain"]
