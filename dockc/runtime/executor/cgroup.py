"""Control groups of a step, made where one is needed: for a parent or limits that were asked for, or to be written to.

A step needs no group of its own to be ended (its pid namespace does that); a group is for those who want
their steps limited or counted, and for the step that may write to the groups that it sees (`own_group`). Both versions of control groups are understood. Sources: cgroups(7), and the kernel's
cgroup-v1/memory.rst, cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from dockc.base.record import fields_of
from dockc.llb.definition import LinuxResources
from dockc.runtime.executor.base import ExecutorError
from dockc.runtime.executor.rootless import in_user_namespace
from dockc.runtime.executor.sandbox import own_groups

_TOP = Path("/sys/fs/cgroup")
_OURS = "dockc"
"""The group that all groups of runs lie in."""
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
    return "/".join(["", *parts, _OURS, name])


def hierarchies() -> list[Path]:
    """Mount points of the hierarchies on this machine."""
    if (_TOP / "cgroup.controllers").exists():
        return [_TOP]
    if not _TOP.is_dir():
        return []
    return sorted(path for path in _TOP.iterdir() if not path.is_symlink() and (path / "cgroup.procs").exists())


class Group:
    """The control group of a run.

    Attributes:
        files: what a process writes itself to, one file for each hierarchy.
        path: where the group lies in each hierarchy.
    """

    def __init__(self, path: str, places: list[Path]) -> None:
        self.path = path
        self.files = [str(place / "cgroup.procs") for place in places]
        self._places = places

    def killed_for_memory(self) -> bool:
        """Whether the kernel has ended a process of the group, or had to refuse memory for want of it, to keep its
        limit.
        """
        for place in self._places:
            for name, wanted in (
                ("memory.events", "oom_kill"),
                ("memory.oom_control", "oom_kill"),
                ("memory.failcnt", ""),
            ):
                with contextlib.suppress(OSError, ValueError):
                    rows = dict(line.rpartition(" ")[::2] for line in (place / name).read_text().splitlines())
                    if int(rows.get(wanted, 0)):
                        return True
        return False


@contextlib.contextmanager
def group(parent: str, name: str, record: Path, resources: LinuxResources | None = None) -> Iterator[Group]:
    """Make the group of a run in every hierarchy, with its limits.

    `record` is the run's directory: it says where the group is, so that a later process can sweep a killed one's. In a
    user namespace the group lies beside that of this process, where a delegated tree is its user's.

    Raises:
        ExecutorError: the kernel refuses, there are no control groups, or none that can keep a limit.
    """
    path = _base() + path_of(parent, name)
    note(record, path)
    made: list[Path] = []
    tops = hierarchies()
    if not tops:
        raise ExecutorError(f"no control groups are mounted at /sys/fs/cgroup, so {_purpose(parent, resources)}")
    try:
        try:
            made.extend(_make(top, path, with_limits=resources is not None) for top in tops)
            if resources is not None:
                limit(made, resources)
        except OSError as exc:
            raise ExecutorError(
                f"no control group can be made, so {_purpose(parent, resources)}: {exc.filename}: {exc.strerror}"
            ) from exc
        yield Group(path, made)
    finally:
        _remove_all(made)


@contextlib.contextmanager
def own_group(name: str, record: Path) -> Iterator[list[str]]:
    """Make a group below that of this process in each hierarchy, for a step that may write to the groups it sees.

    What the step makes in it (a builder of containers makes groups for them) is gone when it ends, and its
    processes are not this process's neighbours. All limits of this process's group hold for it. Where none can be
    made or joined, there is none: such a step can make none either.

    Yields:
        What a process writes itself to, one file for each group.
    """
    homes = [*own_groups("cgroup"), *own_groups("cgroup2")]
    note(record, *sorted({home.removeprefix(top) + path_of("", name) for top, home in homes}))
    made: list[Path] = []
    try:
        for home in (Path(home) for _, home in homes):
            with contextlib.suppress(OSError):
                if os.access(home / "cgroup.procs", os.W_OK):  # who moves a process writes to the nearest common group
                    made.append(_make(home, path_of("", name), with_limits=False))
        yield [str(place / "cgroup.procs") for place in made if _takes_processes(place)]
    finally:
        _remove_all(made)


def _takes_processes(place: Path) -> bool:
    """Whether a group is no part of a version 2 tree for threads, which takes none of another's processes."""
    kind = place / "cgroup.type"
    return not kind.exists() or kind.read_text().strip() == "domain"


def _remove_all(made: list[Path]) -> None:
    for directory in made:
        if not _remove_one(directory):
            continue
        with contextlib.suppress(OSError):
            directory.parent.rmdir()  # `dockc`, unless another run has one below it


def _purpose(parent: str, resources: LinuxResources | None) -> str:
    return (
        f"the limits of the step ({describe(resources)}) cannot be kept"
        if resources is not None
        else f"there can be no cgroup parent {parent}"
    )


def _base() -> str:
    """Where groups of this process's may lie: for root anywhere, in a user namespace beside its own group."""
    if not in_user_namespace():
        return ""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            return path.rpartition("/")[0]
    return ""


def _make(top: Path, path: str, *, with_limits: bool) -> Path:
    for _ in range(_TRIES):
        # Another run may end at any moment and take the folder they share away, between its making and its use.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            return _make_once(top, path, with_limits=with_limits)
    return _make_once(top, path, with_limits=with_limits)


def _make_once(top: Path, path: str, *, with_limits: bool) -> Path:
    at = top
    unified = (top / "cgroup.controllers").exists()
    for part in path.strip("/").split("/"):
        above, at = at, at / part
        if unified and with_limits:
            _hand_down(above)
        at.mkdir(exist_ok=True)
        # A version 1 cpuset begins without processors, and takes no process in that state.
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not unified and (at / file).exists() and not (at / file).read_text().strip():
                (at / file).write_text((above / file).read_text())
    return at


def _hand_down(place: Path) -> None:
    """Let the groups below a version 2 group have its controllers, one by one: what cannot be had is missed when a
    limit is set.
    """
    for name in (place / "cgroup.controllers").read_text().split():
        if name in ("memory", "cpu", "cpuset") and name not in (place / "cgroup.subtree_control").read_text().split():
            with contextlib.suppress(OSError):
                (place / "cgroup.subtree_control").write_text(f"+{name}")


def describe(resources: LinuxResources) -> str:
    """The limits in words: `memory=67108864, cpuset_cpus=0`."""
    return ", ".join(f"{name}={value}" for name in fields_of(LinuxResources) if (value := getattr(resources, name)))


def killed_for_memory(resources: LinuxResources) -> str:
    """The reason of a failure, in words."""
    return f"a process was killed for memory, of which the step may have {resources.memory} bytes"


def limit(places: list[Path], resources: LinuxResources) -> None:
    """Set limits in the group's directories.

    Raises:
        OSError: one that the kernel does not take.
        FileNotFoundError: no hierarchy keeps such a limit.
    """
    unified = [place for place in places if (place / "cgroup.controllers").exists() and (place / "memory.max").exists()]
    rows = _unified_rows(resources) if unified else _version_1_rows(resources)
    for name, value in rows:
        holders = [place for place in places if (place / name).exists()]
        if not holders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        (holders[0] / name).write_text(value)


def _version_1_rows(r: LinuxResources) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    if r.memory:
        rows.append(("memory.limit_in_bytes", str(r.memory)))
    if r.memory_swap:
        rows.append(("memory.memsw.limit_in_bytes", str(r.memory_swap)))
    return rows + [
        (name, str(value))
        for name, value in (
            ("cpu.shares", r.cpu_shares),
            ("cpu.cfs_period_us", r.cpu_period),
            ("cpu.cfs_quota_us", r.cpu_quota),
            ("cpuset.cpus", r.cpuset_cpus),
            ("cpuset.mems", r.cpuset_mems),
        )
        if value
    ]


def _unified_rows(r: LinuxResources) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    if r.memory:
        rows.append(("memory.max", str(r.memory) if r.memory > 0 else "max"))
    if r.memory_swap:  # memory and swap together there, swap alone here
        rows.append(("memory.swap.max", "max" if r.memory_swap < 0 else str(max(r.memory_swap - r.memory, 0))))
    if r.cpu_shares:
        # From 2..262144 to 1..10000, as the OCI runtimes convert it.
        shares = min(max(r.cpu_shares, 2), 262144)
        rows.append(("cpu.weight", str(1 + (shares - 2) * 9999 // 262142)))
    if r.cpu_quota or r.cpu_period:
        rows.append(("cpu.max", f"{r.cpu_quota if r.cpu_quota > 0 else 'max'} {r.cpu_period or 100_000}"))
    return rows + [
        (name, value) for name, value in (("cpuset.cpus", r.cpuset_cpus), ("cpuset.mems", r.cpuset_mems)) if value
    ]


def note(record: Path, *paths: str) -> None:
    """Write into a run's directory where its group is going to be, in any of the hierarchies."""
    (record / _NOTE).write_text("\n".join(paths))


def remove(path: str) -> bool:
    """Remove what is left of a run's groups in all hierarchies: a runtime that was killed leaves them.

    Returns whether nothing is left of them: what is still in them is ended, but may take its time.
    """
    groups = [top / path.strip("/") for top in (*hierarchies(), _TOP / "unified")]
    left = [one for one in groups if not _remove_one(one)]
    for one in groups:
        if one.parent.name == _OURS:  # and no group of a run, which is asked why it ended
            with contextlib.suppress(OSError):
                one.parent.rmdir()  # unless another run has one below it
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
    gone = {swept(file.parent) for file in state.glob(f"*/{_NOTE}")}
    return False not in gone


def swept(run: Path) -> bool:
    """Remove the groups of a dead process's run, by its directory; whether all are gone."""
    try:
        paths = (run / _NOTE).read_text().split("\n")
    except OSError:
        return True
    # Only ever a run's own group: whatever else the file says is left alone.
    ours = [path for path in paths if path.rpartition("/")[0].endswith(f"/{_OURS}") and ".." not in path.split("/")]
    gone = {remove(path) for path in ours}
    return False not in gone
