"""Which executor runs the steps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.errors import UsageError

if TYPE_CHECKING:
    from dockc.runtime.executor.base import Executor

NAMES = ("auto", "embedded", "crun", "runc")


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
    match name:
        case "embedded":
            from dockc.runtime.executor.embedded import EmbeddedExecutor

            return EmbeddedExecutor(state_dir)
        case "crun" | "runc":
            from dockc.runtime.executor.runc import RuntimeExecutor

            return RuntimeExecutor(name, state_dir)
        case _:
            raise UsageError(f"unknown executor {name!r}: one of {', '.join(NAMES)}")


def _automatic() -> str:
    from dockc.runtime.executor.runc import find_runtime
    from dockc.runtime.executor.seccomp import program

    if program(os.uname().machine) is not None:
        return "embedded"
    return next((name for name in ("crun", "runc") if find_runtime(name)), "embedded")
