"""Which executor runs the steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dockc.errors import UsageError

if TYPE_CHECKING:
    from dockc.runtime.executor.base import Executor

NAMES = ("auto", "embedded", "crun", "runc")


def choose(name: str, state_dir: Path) -> Executor:
    """The executor of a name.

    Args:
        name: `embedded`, `crun`, `runc`, or `auto`, which is the embedded one: it needs nothing installed,
            starts fastest, and behaves alike everywhere.
        state_dir: where it keeps the few files of running containers.

    Raises:
        UsageError: an unknown name.
        DockcError: the runtime is not installed.
    """
    match name:
        case "auto" | "embedded":
            from dockc.runtime.executor.embedded import EmbeddedExecutor

            return EmbeddedExecutor(state_dir)
        case "crun" | "runc":
            from dockc.runtime.executor.runc import RuntimeExecutor

            return RuntimeExecutor(name, state_dir)
        case _:
            raise UsageError(f"unknown executor {name!r}: one of {', '.join(NAMES)}")
