"""Programs that tests take from the machine; a test skips with the reason where one is missing. And what work costs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def need(*programs: str) -> None:
    """Skip the test where one of these programs is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def busybox() -> Path:
    """A shell that is one file and needs no library (Debian's busybox-static)."""
    place = Path(shutil.which("busybox") or "/bin/busybox")
    if not place.is_file():
        pytest.skip("busybox is not installed")
    return place


def shell_context(folder: Path) -> Path:
    """A new directory that has `busybox`, for builds whose steps need a shell and no base image."""
    shell = busybox()
    folder.mkdir()
    shutil.copy(shell, folder / "busybox")
    return folder


def need_root() -> None:
    """Skip the test where it runs as an ordinary user: a process that has threads cannot enter a user namespace."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


def calls(work: Callable[[], object]) -> int:
    """How many functions of Python are called: what work costs, however busy the machine is."""
    count = 0

    def seen(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def deepen(top: Path, depth: int, *, name: str = "d", mode: int = 0o777) -> int:
    """Make directories, each in the one before, deeper than paths may be long; a descriptor of the innermost, which is the
    caller's to close.
    """
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, mode, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    return here
