"""Resource limits (getrlimit(2)): a build has those of its command, whoever runs it."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    Limits = Mapping[int, tuple[int, int]]
    """The soft and the hard limit by the resource's number; -1 for none."""

_ALL = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})


def limits_of(pid: int) -> Limits:
    """The limits of a process; 0 is this one.

    Raises:
        OSError: it has gone, or is another user's.
    """
    return {one: resource.prlimit(pid, one) for one in _ALL}


def limit(pid: int, wanted: Limits) -> None:
    """Give a process these limits.

    Raises:
        OSError: it has gone, or a hard limit would rise and this process may not raise any.
    """
    for one, pair in wanted.items():
        if resource.prlimit(pid, one) != pair:
            resource.prlimit(pid, one, pair)


def rise(wanted: Limits, there: Limits) -> bool:
    """Whether a hard limit is wanted that is higher than the one that is there."""
    return any(_height(pair[1]) > _height(there[one][1]) for one, pair in wanted.items())


def counts_time(wanted: Limits) -> bool:
    """Whether a process may use only so much of the processor, of which it must have used nothing yet."""
    return wanted[resource.RLIMIT_CPU] != (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def _height(value: int) -> float:
    return float("inf") if value == resource.RLIM_INFINITY else value
