"""What an operation is given while it runs: the runner's side of `op.OpContext`."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import ParamSpec, Protocol, TypeVar, runtime_checkable

from dockc.base.threads import Threads, working_for
from dockc.errors import DockcError, SolveError, in_words
from dockc.solver.lent import Key
from dockc.solver.progress import Parts, SolveStatus, VertexLog, VertexWarning
from dockc.solver.vertex import Vertex

P = ParamSpec("P")
T = TypeVar("T")


@runtime_checkable
class Releasable(Protocol):
    """A hold on something, such as a `solver.result.Result` or a ref of the store."""

    def release(self) -> None:
        """Give it up. Any thread, once; may block."""
        ...


class Host(Protocol):
    """What a context needs of the runner."""

    pool: Threads

    def emit(self, vertex_id: str, status: SolveStatus) -> None:
        """Send progress of a vertex to the builds that hold it; any thread."""
        ...

    def lent(self, vertex_id: str, key: Key[T]) -> tuple[T, ...]:
        """What the builds that hold the vertex lend under `key`."""
        ...

    def is_active(self, vertex_id: str) -> bool:
        """Whether a build holds the vertex."""
        ...

    def waits(self, vertex_id: str, waiting: bool, /) -> None:
        """Whether the vertex is to do a part of its work later."""
        ...

    def let_go(self, hold: Releasable, /) -> None:
        """Give up a hold; in a thread if that may block."""
        ...

    def tell(self, vertex_id: str, started: int, *, done: bool = False, error: str = "", coming: bool = False) -> None:
        """Tell the builds that the vertex has started, or ended; any thread. See `VertexEvent.coming`."""
        ...


class LaterWork:
    """See `op.Later`. Mutable: how many are at it, and since when, under a lock."""

    def __init__(self, host: Host, vertex_id: str, vertex: Vertex) -> None:
        self._host, self._id, self._vertex = host, vertex_id, vertex
        self._parts = Parts(vertex.digest, partial(host.emit, vertex_id))
        self._lock = threading.Lock()
        self._count = 0
        self._started = 0

    @property
    def vertex(self) -> str:
        """See `op.Later`."""
        return self._vertex.digest

    @property
    def alive(self) -> bool:
        """See `op.Later`."""
        return self._host.is_active(self._id)

    def begin(self) -> None:
        """See `op.Later`."""
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._started = time.time_ns()
                self._host.waits(self._id, False)
                self._host.tell(self._id, self._started, coming=True)

    def status(self, status_id: str, *, name: str = "", current: int = 0, total: int = 0, done: bool = False) -> None:
        """See `op.Later`."""
        self._parts.status(status_id, name=name, current=current, total=total, done=done)

    def end(self, error: str = "") -> None:
        """See `op.Later`."""
        with self._lock:
            self._count -= 1
            if self._count == 0:
                self._host.tell(self._id, self._started, done=True, error=error, coming=True)


class RunContext:
    """An `OpContext` for one call of one operation."""

    def __init__(self, host: Host, vertex_id: str, vertex: Vertex) -> None:
        self._host = host
        self._id = vertex_id
        self._parts = Parts(vertex.digest, partial(host.emit, vertex_id))
        self.vertex = vertex
        self.cancelled = threading.Event()

    def log(self, stream: int, data: bytes) -> None:
        """See `OpContext.log`."""
        if data:
            line = VertexLog(self.vertex.digest, stream, bytes(data), time.time_ns())
            self._host.emit(self._id, SolveStatus(logs=(line,)))

    def status(self, status_id: str, *, name: str = "", current: int = 0, total: int = 0, done: bool = False) -> None:
        """See `OpContext.status`."""
        self._parts.status(status_id, name=name, current=current, total=total, done=done)

    def later(self, *, waiting: bool) -> LaterWork:
        """See `OpContext.later`."""
        if waiting:
            self._host.waits(self._id, True)
        return LaterWork(self._host, self._id, self.vertex)

    def warn(self, warning: VertexWarning) -> None:
        """See `OpContext.warn`."""
        self._host.emit(self._id, SolveStatus(warnings=(warning,)))

    def lent(self, key: Key[T], /) -> tuple[T, ...]:
        """See `OpContext.lent`."""
        return self._host.lent(self._id, key)

    async def run_blocking(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `OpContext.run_blocking`."""
        return await in_thread(self._host.pool, self.cancelled, lambda: fn(*args, **kwargs), lost=self._lost)

    def _lost(self, made: object) -> None:
        """A thread has made something for a step that was cancelled meanwhile: holds in it are nobody's."""
        for one in made if isinstance(made, (list, tuple)) else (made,):
            if isinstance(one, Releasable):
                self._host.let_go(one)


class Submits(Protocol):
    """Has threads: `base.threads.Threads`, or an executor of the library."""

    def submit(self, fn: Callable[[], T], /) -> Future[T]:
        """Run it."""
        ...


async def in_thread(
    pool: Submits, cancelled: threading.Event, fn: Callable[[], T], *, lost: Callable[[T], object] | None = None
) -> T:
    """Run `fn` in a thread, which works for whoever sets `cancelled`. On cancellation set it, wait for the thread to
    end, then be cancelled; `lost` takes what the thread gave all the same.
    """

    def work() -> T:
        with working_for(cancelled):
            return fn()

    job = pool.submit(work)
    future = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        cancelled.set()
        if not job.cancel():  # it has begun
            await _outlast(future)
            if not future.cancelled() and future.exception() is None and lost is not None:
                lost(future.result())
        raise


async def _outlast(future: asyncio.Future[T]) -> None:
    """Wait for `future` to end, however often this task is cancelled meanwhile."""
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError:
            continue


def readable(error: BaseException, vertex: Vertex) -> BaseException:
    """The error to report for a failed operation: our own as they are, others with the step's name."""
    if isinstance(error, SolveError) and not error.vertex:
        error.vertex = vertex.digest
    if isinstance(error, DockcError) or not isinstance(error, Exception):
        return error
    name = vertex.name or vertex.digest
    if isinstance(error, OSError):
        wrapped = SolveError(f"{name}: {in_words(error)}", vertex=vertex.digest, hint=_HINTS.get(error.errno or 0, ""))
    else:
        wrapped = SolveError(f"{name}: {str(error) or type(error).__name__}", vertex=vertex.digest)
    wrapped.__cause__ = error
    return wrapped


_FULL_HINT = "Free some space, or remove unused build cache with `dockc prune`."
_HINTS = {
    errno.ENOSPC: _FULL_HINT,
    errno.EDQUOT: _FULL_HINT,
    errno.EIO: "See what the kernel says (dmesg).",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
}
