"""Resource limits of a step: the same ones whoever builds, changed by `--ulimit` alone.

Inherited limits would make one Dockerfile two things, and a core file of a caller who wants them would land in a layer.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path

from dockc.errors import DockcError
from dockc.runtime.executor.base import Rlimit
from dockc.runtime.kernel.proc import has_capability

UNLIMITED = -1

# Numbers of setrlimit(2) on Linux (asm-generic; mips, sparc and alpha differ and are not supported).
NUMBERS = {
    "CPU": 0, "FSIZE": 1, "DATA": 2, "STACK": 3, "CORE": 4, "RSS": 5, "NPROC": 6, "NOFILE": 7, "MEMLOCK": 8,
    "AS": 9, "LOCKS": 10, "SIGPENDING": 11, "MSGQUEUE": 12, "NICE": 13, "RTPRIO": 14, "RTTIME": 15,
}  # fmt: skip

#: Soft and hard limit in setrlimit's units. As a fresh system gives its services, with room for files, and no core
#: files.
DEFAULTS = {
    "CPU": (UNLIMITED, UNLIMITED), "FSIZE": (UNLIMITED, UNLIMITED), "DATA": (UNLIMITED, UNLIMITED),
    "STACK": (8 << 20, UNLIMITED), "CORE": (0, 0), "RSS": (UNLIMITED, UNLIMITED), "NPROC": (UNLIMITED, UNLIMITED),
    "NOFILE": (1024, 1 << 20), "MEMLOCK": (8 << 20, 8 << 20), "AS": (UNLIMITED, UNLIMITED),
    "LOCKS": (UNLIMITED, UNLIMITED), "SIGPENDING": (1 << 16, 1 << 16), "MSGQUEUE": (819200, 819200),
    "NICE": (0, 0), "RTPRIO": (0, 0), "RTTIME": (UNLIMITED, UNLIMITED),
}  # fmt: skip
_CAP_SYS_RESOURCE = 24
LOWER = "steps have lower limits than elsewhere, as who builds may have no more"
"""What is said before what `lowered` gives."""
_FILES = 4096  # hard limit of open files of Linux itself (INR_OPEN_MAX of linux/fs.h): systemd and containers give more
_LOCKED = 64 << 10  # bytes, before Linux 5.16


def rows(limits: Sequence[Rlimit]) -> list[tuple[int, int, int]]:
    """`(number, soft, hard)` rows for setrlimit: what was asked for, and the defaults as far as this process may give
    them.

    Only a process with CAP_SYS_RESOURCE in the initial user namespace may raise a hard limit of its own. Of equal names
    the last counts.

    Raises:
        DockcError: an unknown name, or one that was asked for and may not be given.
    """
    free = _may_raise()
    found = {NUMBERS[name]: (NUMBERS[name], *pair) for name, pair in _defaults(free=free).items()}
    for limit in limits:
        asked = NUMBERS.get(limit.name.upper())
        if asked is None:
            raise DockcError(f"invalid ulimit type: {limit.name}")
        bound = UNLIMITED if free else resource.getrlimit(asked)[1]
        if bound != UNLIMITED and (limit.hard == UNLIMITED or limit.hard > bound):
            raise DockcError(
                f"ulimit {limit.name.lower()}={_shown(limit.soft)}:{_shown(limit.hard)} cannot be had: who builds may have "
                f"{bound} at most",
                hint="Raise the hard limit of the shell that builds, or build as root.",
            )
        found[asked] = (asked, limit.soft, limit.hard)
    return list(found.values())


def _defaults(*, free: bool) -> dict[str, tuple[int, int]]:
    """The soft and hard limits that steps get by default, as far as they may be given."""
    most = _most_files()
    found = {}
    for name, (soft, hard) in DEFAULTS.items():
        bounds = [UNLIMITED if free else resource.getrlimit(NUMBERS[name])[1], most if name == "NOFILE" else UNLIMITED]
        for bound in bounds:
            soft, hard = _least(soft, bound), _least(hard, bound)
        found[name] = soft, hard
    return found


def lowered(limits: Sequence[Rlimit]) -> str:
    """The defaults that this process may not give as they should be, in words; "" where there are none.

    What any fresh system gives its users is not told of, though it may be less than root can give: the kernel sets
    bounds of its own, some by the machine's memory.

    Args:
        limits: what the step asks for itself.
    """
    free = _may_raise()
    if free:
        return ""
    asked = {limit.name.upper() for limit in limits}
    tasks = _most_tasks()
    usual = {"NOFILE": _FILES, "NPROC": tasks, "SIGPENDING": tasks, "MEMLOCK": _LOCKED}
    return ", ".join(
        f"{name.lower()} {_shown(hard)}"
        for name, (_, hard) in _defaults(free=free).items()
        if name not in asked
        and hard != DEFAULTS[name][1]
        and (name not in usual or _least(hard, usual[name]) != usual[name])
    )


def _most_tasks() -> int:
    """Tasks that the kernel lets a user have unless somebody sets another limit (kernel/fork.c: `fork_init`)."""
    try:
        return int(Path("/proc/sys/kernel/threads-max").read_text()) // 2
    except (OSError, ValueError):
        return UNLIMITED


def _least(a: int, b: int) -> int:
    return b if a == UNLIMITED else a if b == UNLIMITED else min(a, b)


def _shown(limit: int) -> str:
    return "unlimited" if limit == UNLIMITED else str(limit)


def _may_raise() -> bool:
    from dockc.runtime.executor.rootless import in_user_namespace

    if in_user_namespace():
        return False
    return has_capability(_CAP_SYS_RESOURCE)


def _most_files() -> int:
    try:
        return int(Path("/proc/sys/fs/nr_open").read_text())
    except (OSError, ValueError):
        return UNLIMITED
