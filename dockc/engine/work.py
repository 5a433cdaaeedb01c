"""What an engine works with: one store with its operations, and threads for everything that blocks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from dockc.base.threads import Threads
from dockc.errors import DockcError
from dockc.solver.run.context import in_thread

if TYPE_CHECKING:
    from dockc.runtime.store.worker import Worker
    from dockc.solver.cache.combined import CombinedCache
    from dockc.solver.run.jobs import Solver

T = TypeVar("T")

_BLOCKING = 64


class Work:
    """A store and threads. The loop's own thread never waits for a disk, a registry or the compiler.

    Mutable: `_graphs`, what vertices wait for that build graphs.

    Attributes:
        worker: the store.
        solver: runs its operations, for all builds.
        cache: what the solver reads: the store's own, and for the time of a build what it imports.
    """

    def __init__(self, worker: Worker, solver: Solver, cache: CombinedCache) -> None:
        self.worker = worker
        self.solver = solver
        self.cache = cache
        self._graphs: dict[str, list[frozenset[str]]] = {}  # several where a step also runs without the cache
        self._blocking = Threads(_BLOCKING, "dockc-engine")
        # Compiling holds the interpreter's lock: more threads than cores only make every build wait longer.
        self._compiling = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="dockc-compile")

    async def blocking(
        self,
        fn: Callable[[], T],
        *,
        cancelled: threading.Event | None = None,
        lost: Callable[[T], object] | None = None,
    ) -> T:
        """Run in a thread what may wait for the outside. When this is cancelled, `cancelled` is set, the thread awaited
        and what it made all the same given to `lost`, on the loop's thread.
        """
        return await in_thread(self._blocking, cancelled or threading.Event(), fn, lost=lost)

    @contextmanager
    def graph_of(self, vertex: str, graph: frozenset[str]) -> Iterator[None]:
        """A vertex waits for the graph that it builds, as long as the block runs.

        Args:
            vertex: its digest.
            graph: digests of all vertices of the graph.

        Raises:
            DockcError: one of them waits for the vertex in its turn.
        """
        todo, seen = list(graph), set(graph)
        while todo:
            one = todo.pop()
            if one == vertex:
                raise DockcError("a build inside of a build contains itself")
            for inner in frozenset[str]().union(*self._graphs.get(one, ())) - seen:
                seen.add(inner)
                todo.append(inner)
        waited = self._graphs.setdefault(vertex, [])
        waited.append(graph)
        try:
            yield
        finally:
            waited.remove(graph)
            if not waited:
                del self._graphs[vertex]

    async def compiling(self, fn: Callable[[], T]) -> T:
        """Run in a thread what computes; it must not wait for anything."""
        return await in_thread(self._compiling, threading.Event(), fn)

    def close(self) -> None:
        """End the threads; nobody may be waiting for one."""
        self._blocking.shutdown()
        self._compiling.shutdown()
