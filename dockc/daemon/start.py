"""Starting a resident builder."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def command(store: str, *options: str) -> list[str]:
    """The command of the resident builder of a store: this very dockc, wherever it was started."""
    import dockc

    place = os.path.dirname(os.path.dirname(os.path.abspath(dockc.__file__ or "")))  # noqa: PTH100, PTH120
    code = f"import sys; sys.path.insert(0, {place!r}); from dockc.__main__ import main; main()"
    return [sys.executable, "-P", "-c", code, "daemon", "--resident", "--store", os.path.abspath(store), *options]  # noqa: PTH100


def start(store: str, idle: float, environment: Mapping[str, str]) -> None:
    """Start one in the background, which ends when nobody has used it for `idle` seconds. It is nobody's child.

    To be called outside of the builder's namespaces. Two that are started at once are one: the store is locked.
    """
    import subprocess

    try:
        pid = os.fork()
    except OSError:
        return  # there will be another build
    if not pid:
        try:
            os.setsid()
            subprocess.Popen(
                command(store, f"--idle={idle:g}"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=dict(environment),
            )
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
