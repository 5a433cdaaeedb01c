"""The soak holds for a moment; how it runs for longer stands in `bench/soak.py`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).resolve().parents[2] / "bench" / "soak.py"


@pytest.mark.slow
def test_a_short_soak() -> None:
    if shutil.which("seq") is None:
        pytest.skip("needs seq")
    done = subprocess.run(
        [sys.executable, SOAK, "--seconds", "12", "--seed", "3"], capture_output=True, text=True, check=False
    )
    if "no user namespaces" in done.stderr:
        pytest.skip("no namespaces here")
    assert done.returncode == 0, done.stderr
    assert "nothing lost, nothing left, doctor clean" in done.stdout
