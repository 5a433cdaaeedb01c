"""Progress of commands that bring images in and out, in the form that builds have."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dockc.base.options import option
from dockc.commands.ending import ends_when_told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockc.console.view import View
    from dockc.runtime.refs.types import Progress
    from dockc.solver.progress import SolveStatus

PROGRESS = option(
    "--progress",
    metavar="MODE",
    default="auto",
    variable="BUILDKIT_PROGRESS",
    completes="auto|tty|plain|rawjson|quiet|none",
    help="How bytes on their way show on standard error: auto, tty, plain, rawjson, quiet or none. Default: auto.",
)


@contextmanager
def shown(what: str, *, mode: str, quiet: bool) -> Iterator[Progress]:
    """The block is a step with a name; what it reports are its parts. SIGTERM ends it as an interrupt does.

    Raises:
        UsageError: no such mode, or one that needs a terminal.
        Terminated: SIGTERM came.
    """
    import hashlib
    import time

    from dockc.console.view import make_view
    from dockc.errors import without_credentials
    from dockc.solver.progress import Parts, SolveStatus, VertexEvent

    view = _OneAtATime(make_view("quiet" if quiet else mode, sys.stderr, brief=True))
    what = without_credentials(what)
    started = VertexEvent(f"sha256:{hashlib.sha256(what.encode()).hexdigest()}", what, started=time.time_ns())
    parts = Parts(started.digest, view)

    def report(part: str, current: int, total: int, done: bool) -> None:
        parts.status(part, current=current, total=total, done=done)

    def ended(error: str) -> SolveStatus:
        from dockc.base.record import replace

        return SolveStatus(vertexes=(replace(started, completed=time.time_ns(), error=error),))

    view(SolveStatus(vertexes=(started,)))
    try:
        with ends_when_told():
            yield report
    except BaseException as error:
        view(ended(str(error) if isinstance(error, Exception) else "context canceled"))
        view.finish(error)
        raise
    view(ended(""))
    view.finish()


class _OneAtATime:
    """A view that several threads tell. State: its lock, and whether it is over."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._lock = threading.Lock()
        self._over = False

    def __call__(self, status: SolveStatus) -> None:
        with self._lock:
            if not self._over:
                self._view(status)

    def finish(self, error: BaseException | None = None) -> None:
        with self._lock:
            self._over = True
            self._view.finish(error, logs=False)  # the error itself is still to be said
