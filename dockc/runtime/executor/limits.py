"""Resource limits of a step: the same ones whoever builds, changed by `--ulimit` alone.

Inherited limits would make one Dockerfile two things, and a core file of a caller who wants them would land in a layer.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path

from dockc.errors import DockcError
from dockc.runtime.executor.base import Rlimit

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


def rows(limits: Sequence[Rlimit]) -> list[tuple[int, int, int]]:
    """`(number, soft, hard)` rows for setrlimit: what was asked for, and the defaults as far as this process may give
    them.

    Only a process with CAP_SYS_RESOURCE in the initial user namespace may raise a hard limit of its own. Of equal names
    the last counts.

    Raises:
        DockcError: an unknown name, or one that was asked for and may not be given.
    """
    free = _may_raise()
    most = _most_files()
    found: dict[int, tuple[int, int, int]] = {}
    for name, (soft, hard) in DEFAULTS.items():
        number = NUMBERS[name]
        bounds = [UNLIMITED if free else resource.getrlimit(number)[1], most if name == "NOFILE" else UNLIMITED]
        for bound in bounds:
            soft, hard = _least(soft, bound), _least(hard, bound)
        found[number] = (number, soft, hard)
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


def _least(a: int, b: int) -> int:
    return b if a == UNLIMITED else a if b == UNLIMITED else min(a, b)


def _shown(limit: int) -> str:
    return "unlimited" if limit == UNLIMITED else str(limit)


def _may_raise() -> bool:
    from dockc.runtime.executor.rootless import in_user_namespace

    if in_user_namespace():
        return False
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)
    return False


def _most_files() -> int:
    try:
        return int(Path("/proc/sys/fs/nr_open").read_text())
    except (OSError, ValueError):
        return UNLIMITED
