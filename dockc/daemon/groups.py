"""Control groups of who asks the resident builder: a build is in those of its command, whoever runs it.

Limits that somebody gives a build from outside (`systemd-run -p MemoryMax=1G dockc build .`, a job of a CI system) are
limits of a control group, and its steps shall be in it, and counted there. Sources: cgroups(7), and the kernel's
cgroup-v2.rst ("Delegation Containment") for who may move a process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from dockc.base.pattern import pattern
from dockc.runtime.executor.sandbox import own_groups

Homes = Mapping[str, str]
"""By the mount point of each hierarchy the directory of a process's group."""
_PROCS = "cgroup.procs"
_UNIFIED = "cgroup.controllers"
_HIGH = 1 << 60
"""Bytes that are no limit in version 1, which says so by the largest number that it has."""


def _is_high(text: str) -> bool:
    return text.isdecimal() and int(text) >= _HIGH


def _is_empty(text: str) -> bool:
    return not text


_FREE: Mapping[str, Callable[[str], bool]] = {
    **dict.fromkeys(("memory.max", "memory.high", "memory.swap.max", "pids.max"), lambda text: text == "max"),
    **dict.fromkeys(("cpuset.cpus", "cpuset.mems", "io.max"), _is_empty),
    **dict.fromkeys(("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), _is_high),
    "cpu.max": lambda text: text.startswith("max"),
    "cpu.weight": lambda text: text == "100",
    "cpu.idle": lambda text: text == "0",
    "io.weight": lambda text: text in {"", "default 100"},
    "cpu.cfs_quota_us": lambda text: text == "-1",
    "cpu.shares": lambda text: text == "1024",
}
"""What says of a group that it limits nothing, by the name of the file."""
_THROTTLE = pattern(r"blkio\.throttle\..*_device")


def groups_of(pid: int | str) -> str:
    """What the kernel says of a process's groups; equal texts are equal groups.

    Raises:
        OSError: it has gone.
    """
    return Path(f"/proc/{pid}/cgroup").read_text("utf-8", "surrogateescape")


def homes_of(pid: int | str) -> Homes:
    """The groups of a process.

    Raises:
        OSError: it has gone.
    """
    return dict([*own_groups("cgroup", pid), *own_groups("cgroup2", pid)])


def others(wanted: Homes, there: Homes) -> Homes:
    """Those of the wanted groups that are not there."""
    return {top: home for top, home in wanted.items() if there.get(top, home) != home}


def may_join(wanted: Homes, there: Homes) -> bool:
    """Whether this process may move its children from the groups that are there to those that are wanted, and back."""
    return all(
        os.access(Path(place, _PROCS), os.W_OK)
        for top, home in wanted.items()
        for place in (home, there[top], *([os.path.commonpath((home, there[top]))] if _is_unified(top) else []))
    )


def join(pid: int, wanted: Homes) -> None:
    """Move a process into groups.

    Raises:
        OSError: one of them takes it not.
    """
    for home in wanted.values():
        Path(home, _PROCS).write_text(str(pid), "ascii")


def differ_in_limits(wanted: Homes, there: Homes) -> bool:
    """Whether a limit holds for one of two processes only: one of a group that not both are in."""
    for top, home in wanted.items():
        common = os.path.commonpath((home, there[top]))
        for own in (home, there[top]):
            while own != common:
                if _limits(Path(own), there[top]):
                    return True
                own = os.path.dirname(own)  # noqa: PTH120
    return False


def _limits(group: Path, there: str) -> bool:
    """Whether a group limits something. Processors of version 1 are always said: there they count where they differ."""
    try:
        names = [entry.name for entry in os.scandir(group)]
    except OSError:  # it has gone
        return True
    version1 = "cgroup.clone_children" in names
    for name in names:
        if name in _FREE or _THROTTLE.match(name):
            try:
                said = (group / name).read_text().strip()
                if name.startswith("cpuset.") and version1:
                    if said != Path(there, name).read_text().strip():
                        return True
                elif not _FREE.get(name, _is_empty)(said):
                    return True
            except OSError:
                return True
    return False


def _is_unified(top: str) -> bool:
    return os.path.exists(os.path.join(top, _UNIFIED))  # noqa: PTH110, PTH118
