"""Steps cannot write to the host's interpreter through /proc/self/exe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_BUILDER = """
import subprocess, sys
from dockc.errors import DockcError
from dockc.runtime.executor.rootless import enter_build_namespace
try:
    enter_build_namespace()
except DockcError as error:
    sys.exit(f"SKIP {error}")
sys.exit(subprocess.call([sys.executable, "-I", "-S", "-c", sys.argv[1]]))
"""
_STEP = """
import os
mode = os.stat("/proc/self/exe").st_mode & 0o7777
try:
    os.chmod("/proc/self/exe", mode)
except OSError as error:
    print(type(error).__name__, error.errno)
else:
    print("written")
print(os.readlink("/proc/self/exe"))
"""


def test_the_interpreter_of_helpers_is_read_only() -> None:
    interpreter = Path(sys.executable).resolve()
    if os.geteuid() != 0 and not os.access(interpreter, os.W_OK):  # for root it may be read-only here already: a test before this entered
        pytest.skip("this user cannot write to the interpreter anyway")
    done = subprocess.run([sys.executable, "-c", _BUILDER, _STEP], capture_output=True, text=True, check=False)
    if done.stderr.startswith("SKIP"):
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["OSError 30", str(interpreter)]


def test_outside_the_builder_nothing_changes() -> None:
    interpreter = str(Path(sys.executable).resolve())
    mounts = Path("/proc/self/mountinfo")
    before = mounts.read_text(encoding="utf-8").count(interpreter)  # this process may be in a builder's namespace itself
    subprocess.run([sys.executable, "-c", _BUILDER, "pass"], capture_output=True, check=False)
    assert mounts.read_text(encoding="utf-8").count(interpreter) == before
