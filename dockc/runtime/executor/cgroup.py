"""Control groups of a step, made only where one was asked for (`cgroup-parent`).

A step needs no group of its own to be ended (its pid namespace does that); a group is for those who want
their steps limited or counted. Both versions of control groups are understood. Source: cgroups(7).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dockc.runtime.executor.base import ExecutorError

_TOP = Path("/sys/fs/cgroup")


def path_of(parent: str, name: str) -> str:
    """Where the group of a run lies in its hierarchy, below a parent that may be "".

    Raises:
        ExecutorError: a parent that leads upwards.
    """
    parts = [part for part in parent.rstrip(":").split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ExecutorError(f"invalid cgroup parent {parent!r}")
    return "/".join(["", *parts, "dockc", name])


def hierarchies() -> list[Path]:
    """Mount points of the hierarchies on this machine."""
    if (_TOP / "cgroup.controllers").exists():
        return [_TOP]
    if not _TOP.is_dir():
        return []
    return sorted(path for path in _TOP.iterdir() if not path.is_symlink() and (path / "cgroup.procs").exists())


@contextlib.contextmanager
def group(parent: str, name: str) -> Iterator[list[str]]:
    """Make the group of a run in every hierarchy; gives the files that a process writes itself to.

    Raises:
        ExecutorError: the kernel refuses, or there are no control groups.
    """
    path = path_of(parent, name)
    made: list[Path] = []
    tops = hierarchies()
    if not tops:
        raise ExecutorError("no control groups are mounted at /sys/fs/cgroup, so there can be no cgroup parent")
    try:
        made.extend(_make(top, path) for top in tops)
        yield [str(directory / "cgroup.procs") for directory in made]
    finally:
        for directory in made:
            with contextlib.suppress(OSError):
                directory.rmdir()


def _make(top: Path, path: str) -> Path:
    at = top
    try:
        for part in path.strip("/").split("/"):
            above, at = at, at / part
            at.mkdir(exist_ok=True)
            # A version 1 cpuset begins without processors, and takes no process in that state.
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (top.name == "cpuset" or "cpuset" in top.name.split(",")) and not (at / file).read_text().strip():
                    (at / file).write_text((above / file).read_text())
    except OSError as exc:
        raise ExecutorError(f"cannot make the control group {at}: {exc.strerror}") from exc
    return at


def remove(path: str) -> None:
    """Remove what is left of a run's groups in all hierarchies: a runtime that was killed leaves them."""
    for top in (*hierarchies(), _TOP / "unified"):
        with contextlib.suppress(OSError):
            os.rmdir(top / path.strip("/"))  # noqa: PTH106
