"""Builds: several at once share one solver, and what they have in common is solved once."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType

from dockc.base.record import Record, replace
from dockc.errors import SolveError
from dockc.solver.cache.cachemanager import CacheManager, LocalCache
from dockc.solver.cache.storage.base import CacheKeyStorage, CacheResultStorage
from dockc.solver.core.events import GraphLoaded, JobClosed, Requested, VertexSpec, Withdrawn
from dockc.solver.keydiff import StepKey
from dockc.solver.lent import Lent
from dockc.solver.op import OpResolver
from dockc.solver.progress import SolveStatus, StatusSink, VertexEvent, announce
from dockc.solver.result import HeldResult
from dockc.solver.run.runner import Miss, Runner, RunnerOptions
from dockc.solver.run.trace import ENVIRONMENT, TraceWriter
from dockc.solver.vertex import Edge, Vertex, walk

_CANCELED = "context canceled"
_PART = 500  # vertices


class BuildResult(Record):
    """The result of an edge, and the cache keys it is known by. `result.release()` is the receiver's duty."""

    result: HeldResult
    keys: tuple[str, ...]


class Solver:
    """Solves graphs for any number of builds at once.

        async with Solver(resolver, keys, results) as solver:
            async with solver.job("build", sink=print) as job:
                (built,) = await job.build(edge)

    To be made and used on one event loop.
    """

    def __init__(
        self,
        resolver: OpResolver,
        cache: CacheKeyStorage | CacheManager,
        results: CacheResultStorage | None = None,
        options: RunnerOptions | None = None,
    ) -> None:
        """Solve with the operations of `resolver`.

        Args:
            resolver: finds the operation of a vertex.
            cache: a whole cache, or a key graph to be used with `results`.
            results: where results are kept, if `cache` is only a key graph.
            options: how to run. Without a trace, the environment variable DOCKC_SOLVER_TRACE names the file
                for one.
        """
        if isinstance(cache, CacheKeyStorage):
            if results is None:
                raise TypeError("a key storage needs a result storage")
            cache = LocalCache(cache, results)
        options = options or RunnerOptions()
        if options.trace is None and (path := os.environ.get(ENVIRONMENT)):
            options = replace(options, trace=TraceWriter(Path(path)))
        self.runner = Runner(resolver, cache, options)
        self._numbers = itertools.count(1)

    def job(
        self,
        name: str = "",
        *,
        sink: StatusSink | None = None,
        lends: Lent | None = None,
        explains: bool | Callable[[Miss], None] = False,
    ) -> Job:
        """Start a build.

        Args:
            name: for traces; made unique.
            sink: where progress goes.
            lends: what operations may ask for with `OpContext.lent`.
            explains: keep in `Job.misses` why operations had to run, which costs a look at earlier keys for each; or
                who is told so when they begin.
        """
        return Job(self.runner, next(self._numbers), name, sink, lends, explains=explains)

    async def solve(
        self, *edges: Edge, sink: StatusSink | None = None, lends: Lent | None = None
    ) -> tuple[BuildResult, ...]:
        """Solve `edges` in a build of their own; the results stay the caller's after it."""
        results: tuple[BuildResult, ...] = ()
        try:
            async with self.job(sink=sink, lends=lends) as job:
                results = await job.build(*edges)
        except BaseException:  # cancelled while the job ended
            for one in results:
                self.runner.let_go(one.result)
            raise
        return results

    async def close(self) -> None:
        """Let go of everything; builds must have been closed."""
        await self.runner.close()

    async def __aenter__(self) -> Solver:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Job:
    """One build. Vertices it has loaded stay active until `close`.

    Mutable state: `_vertices` (by digest), `_order` (inputs before users), `_waiting` (requests), `_seen` (last
    event of each vertex), all on the loop's thread.
    """

    _requests = itertools.count(1)

    def __init__(
        self,
        runner: Runner,
        number: int,
        name: str,
        sink: StatusSink | None,
        lends: Lent | None = None,
        *,
        explains: bool | Callable[[Miss], None] = False,
    ) -> None:
        self.number = number
        self.name = f"{name or 'job'}-{number}"
        self.lends = lends or Lent()
        self.explains = bool(explains)
        self._told = explains if callable(explains) else None
        self._misses: dict[str, Miss] = {}
        self._runner = runner
        self.sink = sink
        self._vertices: dict[str, Vertex] = {}
        self._waiting: dict[int, asyncio.Future[BuildResult]] = {}
        self._seen: dict[str, VertexEvent] = {}
        self._order: dict[str, int] = {}
        self._open = True
        runner.watchers[self.name] = self

    # ------------------------------------------------------------ what a caller does

    async def build(self, *edges: Edge) -> tuple[BuildResult, ...]:
        """Solve `edges`; the results are the caller's to release.

        Raises:
            SolveError: an operation failed, or another DockcError that an operation raised. Work for the other
                edges has ended by then.
        """
        if not self._open:
            raise SolveError("the build is over")
        if self._runner.broken is not None:
            raise self._runner.broken
        await self._load(edges)
        loop = asyncio.get_running_loop()
        requests = {next(Job._requests): edge for edge in edges}
        futures = []
        for request in requests:
            self._waiting[request] = loop.create_future()
            futures.append(self._waiting[request])
        for request, edge in requests.items():
            self._runner.feed(Requested(request, self.name, edge.id), self.name)
        try:
            results = tuple(await asyncio.gather(*futures))
            self._runner.post()
            self._mark_served(edges)
            return results
        except BaseException:
            for request, future in zip(requests, futures, strict=True):
                self._runner.feed(Withdrawn(request), self.name)
                self._waiting.pop(request, None)
                if future.done() and not future.cancelled() and future.exception() is None:
                    self._runner.let_go(future.result().result)
            await self._settle()
            raise

    async def _load(self, edges: Sequence[Edge]) -> None:
        """Make the vertices below `edges` known; a large graph in parts, between which others get their turn."""
        new: list[Vertex] = []
        for vertex in walk(*edges):
            if vertex.digest in self._vertices:
                continue
            self._vertices[vertex.digest] = vertex
            self._order[vertex.digest] = len(self._order)
            new.append(vertex)
            if len(new) == _PART:
                self._load_part(new)
                new = []
                await asyncio.sleep(0)
        if new:
            self._load_part(new)

    def _load_part(self, new: Sequence[Vertex]) -> None:
        specs = tuple(
            VertexSpec(v.digest, tuple(edge.id for edge in v.inputs), v.options.ignore_cache, v.private) for v in new
        )
        self._runner.feed(GraphLoaded(self.name, specs), self.name)
        self.notify(SolveStatus(vertexes=tuple(announce(vertex) for vertex in new)))

    def let_go(self, built: BuildResult) -> None:
        """Release a result, in a thread if that may block; `close` waits for it."""
        self._runner.let_go(built.result)

    def vertices(self) -> tuple[Vertex, ...]:
        """All vertices that the build has loaded, inputs before those that read them."""
        return tuple(self._vertices.values())

    def step_key(self, digest: str) -> StepKey | None:
        """What the key of one of its vertices is made of, as far as anybody had to know."""
        return self._runner.step_key(self.name, digest) if self._open else None

    async def close(self) -> None:
        """End the build: what only it was interested in is cancelled, and has ended when this returns."""
        if not self._open:
            return
        self._open = False
        self._runner.post()
        self._runner.feed(JobClosed(self.name), self.name)
        try:
            await self._settle()
        finally:  # also when this task is cancelled meanwhile
            self._runner.post()
            self._farewell()
            del self._runner.watchers[self.name]

    async def _settle(self) -> None:
        """Wait for cancelled work to end, even if this task is cancelled meanwhile; then pass that on."""
        idle = asyncio.ensure_future(self._runner.idle(self.name))
        cancelled: asyncio.CancelledError | None = None
        while not idle.done():
            try:
                await asyncio.wait((idle,))
            except asyncio.CancelledError as error:
                cancelled = error
        idle.result()
        if cancelled is not None:
            raise cancelled

    async def __aenter__(self) -> Job:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def misses(self) -> tuple[Miss, ...]:
        """The steps of this build that had to run, with what was known of the nearest earlier keys; kept if it
        `explains`.
        """
        return tuple(self._misses[digest] for digest in self._vertices if digest in self._misses)

    # ------------------------------------------------------------ what the runner calls

    def vertex(self, digest: str) -> Vertex:
        """See `runner.Watcher`."""
        return self._vertices[digest]

    def missed(self, miss: Miss) -> None:
        """See `runner.Watcher`."""
        if self._told is not None:
            self._told(miss)
        else:
            self._misses.setdefault(miss.vertex, miss)

    def finished(
        self, request: int, result: HeldResult | None, keys: tuple[str, ...], error: BaseException | None
    ) -> None:
        """See `runner.Watcher`."""
        future = self._waiting.pop(request, None)
        if future is None or future.done():
            if result is not None:
                self._runner.let_go(result)
        elif error is not None:
            future.set_exception(error)
        else:
            assert result is not None
            future.set_result(BuildResult(result, keys))

    def notify(self, status: SolveStatus) -> None:
        """See `runner.Watcher`: pass progress on, with the inputs that a starting vertex did not need marked."""
        if self.sink is None:
            return
        events: list[VertexEvent] = []
        for event in status.vertexes:
            self._seen[event.digest] = event
            if event.started is not None and not event.coming:
                self._mark_unneeded(event, events)
            events.append(event)
        self.sink(replace(status, vertexes=tuple(events)))

    def _mark_served(self, edges: Sequence[Edge]) -> None:
        """A step that never started, though its result is there, was served by an equal one of another build."""
        now = time.time_ns()
        served: list[VertexEvent] = []
        self._mark(dict.fromkeys(edge.vertex.digest for edge in edges), now, served)
        if served and self.sink is not None:
            self.sink(SolveStatus(vertexes=tuple(served)))

    def _mark_unneeded(self, event: VertexEvent, events: list[VertexEvent]) -> None:
        """An input that has not begun when its user starts was not needed: it counts as cached."""
        assert event.started is not None
        self._mark(event.inputs, event.started, events)

    def _mark(self, digests: Iterable[str], now: int, events: list[VertexEvent]) -> None:
        unneeded: list[VertexEvent] = []
        stack = list(digests)
        while stack:
            known = self._seen.get(stack.pop())
            if known is None or known.cached:
                continue
            if known.started is not None and not (known.waiting and known.inputs):
                continue  # one that is at work, such as an image whose layers come, is needed by somebody
            marked = replace(known, cached=True, started=now, completed=now, waiting=False, coming=False)
            self._seen[known.digest] = marked
            unneeded.append(marked)
            stack += known.inputs
        events += sorted(unneeded, key=lambda marked: self._order.get(marked.digest, -1))

    def _farewell(self) -> None:
        now = time.time_ns()
        left = tuple(
            replace(event, completed=now, error=event.error or ("" if event.cached else _CANCELED))
            for event in self._seen.values()
            if event.started is not None and event.completed is None
        )
        if left and self.sink is not None:
            self.sink(SolveStatus(vertexes=left))
