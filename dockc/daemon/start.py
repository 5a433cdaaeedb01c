"""Starting a resident builder."""

from __future__ import annotations

import os
import sys

from dockc.base import resident

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

    To be called outside of the builder's namespaces. Of many that build at once one starts it: who has the lock, which
    the new process inherits.
    """
    import subprocess
    from pathlib import Path

    from dockc.daemon.lock import take

    place = Path(store)
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = take(place / resident.LOCK)
    except OSError:
        return  # the build itself will say what is wrong
    if lock is None:
        return
    try:
        pid = os.fork()
    except OSError:
        os.close(lock)
        return  # there will be another build
    if not pid:
        try:
            os.setsid()
            subprocess.Popen(
                command(store, f"--idle={idle:g}", f"--lock={lock}"),
                pass_fds=(lock,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=dict(environment),
            )
        finally:
            os._exit(0)
    os.close(lock)
    os.waitpid(pid, 0)
