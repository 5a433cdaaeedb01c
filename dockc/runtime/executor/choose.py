"""Which executor runs the steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.machine import machine as this_machine
from dockc.base.table import Table
from dockc.errors import UsageError

if TYPE_CHECKING:
    from dockc.runtime.executor.base import Executor

#: Name to what makes it, given the name and a directory for its state. A new one is one line.
EXECUTORS = Table(
    "dockc.executors",
    {
        "embedded": "dockc.runtime.executor.embedded:make",
        "crun": "dockc.runtime.executor.runc:RuntimeExecutor",
        "runc": "dockc.runtime.executor.runc:RuntimeExecutor",
    },
)
NAMES = ("auto", *EXECUTORS.names)


def choose(name: str, state_dir: Path) -> Executor:
    """The executor of a name.

    Args:
        name: `embedded`, `crun`, `runc`, or `auto`: the embedded one, which needs nothing installed and starts
            fastest; where it has no system call filter for the machine, the first runtime that is installed.
        state_dir: where it keeps the few files of running containers.

    Raises:
        UsageError: an unknown name.
        DockcError: the runtime is not installed.
    """
    if name == "auto":
        name = _automatic()
    make = EXECUTORS.find(name)
    if make is None:
        raise UsageError(f"unknown executor {name!r}: one of {', '.join(NAMES)}")
    made: Executor = make(name, state_dir)
    return made


def is_known(name: str) -> bool:
    """Whether there is an executor of this name."""
    return name in NAMES or EXECUTORS.find(name) is not None


def _automatic() -> str:
    from dockc.runtime.executor.runc import find_runtime
    from dockc.runtime.executor.seccomp import program

    if program(this_machine()) is not None:
        return "embedded"
    return next((name for name in ("crun", "runc") if find_runtime(name)), "embedded")
