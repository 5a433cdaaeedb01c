"""Control groups of a step, made only where one was asked for (`cgroup-parent`).

A step needs no group of its own to be ended (its pid namespace does that); a group is for those who want
their steps limited or counted. Both versions of control groups are understood. Source: cgroups(7).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from dockc.runtime.executor.base import ExecutorError

_TOP = Path("/sys/fs/cgroup")
_NOTE = "cgroup"
_TRIES, _PAUSE = 20, 0.05


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
def group(parent: str, name: str, record: Path) -> Iterator[list[str]]:
    """Make the group of a run in every hierarchy; gives the files that a process writes itself to.

    `record` is the run's directory: it says where the group is, so that a later process can sweep a killed one's.

    Raises:
        ExecutorError: the kernel refuses, or there are no control groups.
    """
    path = path_of(parent, name)
    note(record, path)
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


def note(record: Path, path: str) -> None:
    """Write into a run's directory where its group is going to be."""
    (record / _NOTE).write_text(path)


def remove(path: str) -> bool:
    """Remove what is left of a run's groups in all hierarchies: a runtime that was killed leaves them.

    Returns whether nothing is left of them: what is still in them is ended, but may take its time.
    """
    left = [top for top in (*hierarchies(), _TOP / "unified") if not _remove_one(top / path.strip("/"))]
    return not left


def _remove_one(group_path: Path) -> bool:
    for _ in range(_TRIES):
        try:
            for inner, _, _ in os.walk(group_path, topdown=False):
                os.rmdir(inner)  # noqa: PTH106
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno != errno.EBUSY:
                return False
            _end_processes(group_path)
            time.sleep(_PAUSE)
        else:
            return True
    return False


def _end_processes(group_path: Path) -> None:
    """End the processes of a group, which is one of ours whose builder is dead."""
    with contextlib.suppress(OSError):
        if (group_path / "cgroup.kill").exists():
            (group_path / "cgroup.kill").write_text("1")
            return
        for line in (group_path / "cgroup.procs").read_text().split():
            if int(line) > 1:
                os.kill(int(line), signal.SIGKILL)


def sweep(state: Path) -> bool:
    """Remove the groups of all runs that a dead process has left in its state directory; whether all are gone."""
    gone = True
    for file in state.glob(f"*/{_NOTE}"):
        try:
            path = file.read_text()
        except OSError:
            continue
        # Only ever a run's own group: whatever else the file says is left alone.
        if path.rpartition("/")[0].endswith("/dockc") and ".." not in path.split("/") and not remove(path):
            gone = False
    return gone
