"""asyncio around the scheduler core: does what the core commands and tells it what came of it.

All methods are called on the event loop's thread, except `emit` and `lent`. Cache queries are answered on the
spot; everything else is a task. A task ends by feeding one event to the core.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ClassVar, Protocol, TypeVar

from dockc.base.record import Mutable, Record, made, replace
from dockc.base.threads import Threads
from dockc.errors import DockcError, InvalidDefinition, SolveError, StoreError
from dockc.solver.cache.cachemanager import CacheManager, Provenance
from dockc.solver.cache.storage.base import KeyRecord
from dockc.solver.core.cachekey import root_key
from dockc.solver.core.events import (
    CacheMapReady,
    CacheMapSpec,
    Cancel,
    Cancelled,
    Command,
    ComputeDigest,
    ContentDigestReady,
    DepSpec,
    Event,
    Execute,
    Executed,
    Failed,
    Finish,
    GraphLoaded,
    JobClosed,
    KeyRef,
    KeysFound,
    KeySpec,
    LinkKeys,
    LoadCacheMap,
    LoadResult,
    Output,
    QueryKeys,
    QueryRecords,
    RecordsFound,
    Release,
    ResultLoaded,
    Saved,
    SaveResult,
    Superseded,
)
from dockc.solver.core.scheduler import SchedulerCore
from dockc.solver.keydiff import InputKey, StepKey
from dockc.solver.lent import Key, Lent
from dockc.solver.op import STDERR, CacheMap, Op, OpResolver
from dockc.solver.progress import SolveStatus, announce
from dockc.solver.result import HeldResult, Result, SharedResult
from dockc.solver.run.context import Releasable, RunContext, in_thread, readable
from dockc.solver.run.flights import Flights, flight_name
from dockc.solver.run.slots import Slots
from dockc.solver.run.trace import TraceWriter
from dockc.solver.vertex import Vertex

T = TypeVar("T")

log = logging.getLogger(__name__)

_SLICE_SECONDS = 0.005
_THREADS = 64
_GC_THRESHOLD = 50_000


class RunnerOptions(Record):
    """How to run.

    Attributes:
        parallelism: operations executed at once, of all builds together; 0 for some by the number of cores, and one
            of each build however many others there are.
        flights: locks that keep other processes from doing equal work at the same time; None for none.
        trace: where to write what happens; None for nowhere.
        check: verify the core's rules after each event (slow; for tests and debugging).
    """

    parallelism: int = 0
    flights: Flights | None = None
    trace: TraceWriter | None = None
    check: bool = False


class Watcher(Protocol):
    """A build, as the runner sees it."""

    def notify(self, status: SolveStatus) -> None:
        """Take progress of vertices that the build holds."""
        ...

    def finished(
        self, request: int, result: HeldResult | None, keys: tuple[str, ...], error: BaseException | None
    ) -> None:
        """Take the answer to a request; the result is the build's to release."""
        ...

    def vertex(self, digest: str) -> Vertex:
        """A vertex that the build has loaded."""
        ...

    @property
    def number(self) -> int:
        """Builds are numbered in the order in which they came."""
        ...

    @property
    def lends(self) -> Lent:
        """What operations may ask for."""
        ...

    @property
    def explains(self) -> bool:
        """Whether `missed` is to be told why operations had to run."""
        ...

    def missed(self, miss: Miss) -> None:
        """Take what was known of an operation that has to run."""
        ...


class ActiveVertex(Mutable):
    """What the runner knows about a vertex that the core has active."""

    vertex: Vertex
    op: Op | None = None
    waiting: bool = False
    maps: list[CacheMap] = made(list)
    contents: dict[int, str] = made(dict)


class Claim(Mutable):
    """A key that a source claims to be known by, beside one that is beyond doubt; and the vertices that say so."""

    key: str
    proven: Callable[[], bool]
    vertices: set[str] = made(set)


class Miss(Record):
    """An operation that had to run: its key, and what was known of the nearest earlier ones by then."""

    vertex: str
    record: KeyRecord
    earlier: tuple[KeyRecord, ...]


def step_key(vertex: Vertex, found: CacheMap, contents: Mapping[int, str], *, key: str = "") -> StepKey:
    """What the key of a vertex is made of, by its cache map and the content digests of its inputs."""
    inputs = tuple(
        InputKey(
            edge.vertex.digest,
            edge.index,
            found.deps[i].selector if i < len(found.deps) else "",
            contents.get(i, ""),
            edge.vertex.name or edge.vertex.digest,
        )
        for i, edge in enumerate(vertex.inputs)
    )
    kind = vertex.op.WhichOneof("op") or ""
    told = vertex.options.ignore_cache
    return StepKey(vertex.digest, vertex.name, kind, found.digest, found.preimage, inputs, key, told)


class Runner:
    """Carries out the core's commands.

    Mutable state, all of it changed on the loop's thread: `core`, `active` (by the core's vertex id), `claims` (by the
    key that is beyond doubt), `handles` (results the core holds), `_queues` (events on their way to the core, by build),
    `_tasks` (by ticket), `_stopping` (those that were cancelled, and for which build), `_outbox` (progress on its way; any
    thread appends).
    """

    def __init__(self, resolver: OpResolver, cache: CacheManager, options: RunnerOptions) -> None:
        self.core = SchedulerCore()
        self.cache = cache
        self.options = options
        self.active: dict[str, ActiveVertex] = {}
        self.claims: dict[str, Claim] = {}
        self.handles: dict[int, HeldResult] = {}
        self.watchers: dict[str, Watcher] = {}
        self.errors: dict[int, tuple[str, BaseException]] = {}
        self.broken: Exception | None = None
        slots = options.parallelism or max(4, 2 * (os.cpu_count() or 1))
        self.pool = Threads(slots + _THREADS, "dockc-solver")
        self._resolver = resolver
        self._loop = asyncio.get_running_loop()
        self._slots = Slots(slots, strict=bool(options.parallelism))
        self._queues: OrderedDict[str, deque[Event]] = OrderedDict()
        self._handling = self._handle_all()
        self._handled: str | None = None
        self._pumping = False
        self._stopping: dict[asyncio.Task[Event], str] = {}
        self._tasks: dict[int, tuple[asyncio.Task[Event], RunContext]] = {}
        self._releases: set[asyncio.Future[None]] = set()
        self._last_handle = 0
        self._outbox: deque[tuple[str, SolveStatus]] = deque()
        self._posting = False
        self._post_lock = threading.Lock()
        # A graph is many small objects that live as long as the build: looking for garbage among them at every
        # few hundred allocations costs more than the solving itself.
        self._gc_threshold = gc.get_threshold()
        if self._gc_threshold[0]:
            gc.set_threshold(max(self._gc_threshold[0], _GC_THRESHOLD), *self._gc_threshold[1:])

    # ------------------------------------------------------------ the loop around the core

    def feed(self, event: Event, job: str = "") -> None:
        """Tell the core something that concerns this build, and do what it then commands (perhaps a little later).

        Events of one build keep their order; builds take turns, so that none waits for all that a large one has to tell.
        """
        queue = self._queues.get(job)
        if queue is None:
            queue = self._queues[job] = deque()
        queue.append(event)
        if not self._pumping:
            self._pump()

    def _answer(self, event: Event, vertex_id: str) -> None:
        self._queues.setdefault(self.core.job_of(vertex_id), deque()).append(event)

    def _pump(self) -> None:
        """Handle waiting events; yield to the loop now and then, so that others get their turn."""
        self._pumping = True
        deadline = time.monotonic() + _SLICE_SECONDS
        for _ in self._handling:
            if time.monotonic() > deadline:
                self._loop.call_soon(self._pump)
                return
        self._handling = self._handle_all()
        self._pumping = False

    def _handle_all(self) -> Iterator[None]:
        while self._queues:
            job, queue = self._queues.popitem(last=False)
            event = queue.popleft()
            if queue:
                self._queues[job] = queue  # as the last
            self._handled = job
            try:
                yield from self._step(event)
            except Exception as error:  # A bug: the core's tables cannot be trusted any more.
                self._crash(error)
            self._handled = None
            yield

    def _step(self, event: Event) -> Iterator[None]:
        if self.broken is not None:
            return
        yield from self.core.handling(event)
        commands = self.core.taken()
        if self.options.check:
            self.core.check()
        if self.options.trace is not None:
            self.options.trace.record(event, commands)
        if isinstance(event, GraphLoaded):
            for spec in event.vertices:
                active = self.core.active_id(event.job, spec.digest)
                if active not in self.active:
                    self.active[active] = ActiveVertex(self.watchers[event.job].vertex(spec.digest))
        for command in commands:
            self._PERFORM[type(command)](self, command)
            yield
        if isinstance(event, JobClosed):
            self._forget(self.core.taken_leave())

    def _forget(self, gone: Sequence[str]) -> None:
        """Forget vertices that no build holds any more."""
        for active in gone:
            self.active.pop(active, None)
        if gone and self.claims:
            for claim in self.claims.values():
                claim.vertices = {vertex for vertex in claim.vertices if vertex in self.active}
            self.claims = {key: claim for key, claim in self.claims.items() if claim.vertices}
        if gone and self.errors:
            self.errors = {ticket: error for ticket, error in self.errors.items() if error[0] in self.active}

    def _crash(self, error: Exception) -> None:
        """Nothing can go on: stop all work and tell every build."""
        self.broken = error
        for task, context in self._tasks.values():
            context.cancelled.set()
            task.cancel()
        for request, (_, job, _) in list(self.core.requests.items()):
            if (watcher := self.watchers.get(job)) is not None:
                watcher.finished(request, None, (), error)

    async def idle(self, job: str | None = None) -> None:
        """Wait until everything that was cancelled has ended, everything released is gone and every event handled.

        With `job`: what this build has cancelled, and its events; what others do is not waited for.
        """
        while True:
            if waiting := [task for task, of in self._stopping.items() if job is None or of == job]:
                await asyncio.wait(waiting)
            elif self._pumping if job is None else self._queues.get(job) or self._handled == job:
                await asyncio.sleep(0)
            elif job is not None or not self._releases:
                break
            else:
                await asyncio.wait(tuple(self._releases))
        if self._releases:  # those up to now
            await asyncio.wait(tuple(self._releases))

    async def close(self) -> None:
        """End the thread pool; every build must have been closed before."""
        self.post()
        for handle in tuple(self.handles):
            self.let_go(self.handles.pop(handle))
        await self.idle()
        self.pool.shutdown()
        if self.options.flights is not None:
            self.options.flights.close()
        gc.set_threshold(*self._gc_threshold)
        if self.options.trace is not None:
            self.options.trace.close()

    # ------------------------------------------------------------ progress

    def emit(self, vertex_id: str, status: SolveStatus) -> None:
        """See `context.Host`."""
        with self._post_lock:
            self._outbox.append((vertex_id, status))
            if self._posting:
                return
            self._posting = True
        try:
            self._loop.call_soon_threadsafe(self.post)
        except RuntimeError:
            self._posting = False  # The loop is closed: nobody listens any more.

    def post(self) -> None:
        """Deliver progress that is on its way; on the loop's thread."""
        with self._post_lock:
            batch, self._outbox = self._outbox, deque()
            self._posting = False
        for vertex_id, status in batch:
            for watcher in self._watchers_of(vertex_id):
                watcher.notify(status)

    def _watchers_of(self, vertex_id: str) -> list[Watcher]:
        state = self.core.vertices.get(vertex_id)
        if state is None:
            return []
        jobs = tuple(state.jobs)  # taken at once: other threads ask too
        if len(jobs) == 1:
            watcher = self.watchers.get(jobs[0])
            return [] if watcher is None else [watcher]
        found = [self.watchers[job] for job in jobs if job in self.watchers]
        return sorted(found, key=lambda watcher: watcher.number)

    def _first_of(self, vertex_id: str) -> int:
        """The number of the build that a vertex counts for: the first that holds it."""
        return next((watcher.number for watcher in self._watchers_of(vertex_id)), 0)

    def lent(self, vertex_id: str, key: Key[T]) -> tuple[T, ...]:
        """See `context.Host`."""
        return tuple(value for watcher in self._watchers_of(vertex_id) for value in watcher.lends.lent(key))

    def is_active(self, vertex_id: str) -> bool:
        """See `context.Host`."""
        return vertex_id in self.active

    def waits(self, vertex_id: str, waiting: bool, /) -> None:
        """See `context.Host`."""
        active = self.active.get(vertex_id)
        if active is not None:
            active.waiting = waiting

    def tell(
        self,
        vertex_id: str,
        started: int,
        *,
        done: bool = False,
        cached: bool = False,
        error: str = "",
        coming: bool = False,
    ) -> None:
        """See `context.Host`."""
        active = self.active.get(vertex_id)
        if active is None:
            return
        event = announce(active.vertex, started=started, completed=time.time_ns() if done else None)
        waiting = done and active.waiting and not error
        event = replace(event, cached=cached, error=error, waiting=waiting, coming=coming)
        self.emit(vertex_id, SolveStatus(vertexes=(event,)))

    # ------------------------------------------------------------ commands answered on the spot

    def _query_keys(self, command: QueryKeys) -> None:
        try:
            keys = self.cache.query(command.digest, command.edge.index, command.input, command.keys)
        except DockcError as error:
            self._fail(command.ticket, command.edge.vertex, error)
        else:
            self._answer(KeysFound(command.ticket, keys), command.edge.vertex)

    def _link_keys(self, command: LinkKeys) -> None:
        try:
            self.cache.link(command.digest, command.edge.index, command.keys, command.names)
        except DockcError as error:  # a later build will have to find them the long way
            log.debug("linking the keys of %s: %s", command.edge, error)

    def _query_records(self, command: QueryRecords) -> None:
        try:
            records = self.cache.records(command.keys)
        except DockcError as error:
            self._fail(command.ticket, command.edge.vertex, error)
        else:
            self._answer(RecordsFound(command.ticket, records), command.edge.vertex)

    def _fail(self, ticket: int, vertex_id: str, error: BaseException) -> None:
        self.errors[ticket] = (vertex_id, error)
        self._answer(Failed(ticket, str(error)), vertex_id)

    def _cancel(self, command: Cancel) -> None:
        entry = self._tasks.get(command.ticket)
        if entry is not None:
            entry[1].cancelled.set()
            self._stopping[entry[0]] = self._handled or ""
            entry[0].cancel()

    def _release(self, command: Release) -> None:
        self.let_go(self.handles.pop(command.handle))

    def let_go(self, hold: Releasable, /) -> None:
        """Give up a result or another hold; in a thread if that may block."""
        last = hold.give_up() if isinstance(hold, HeldResult) else hold
        if last is None:
            return
        future = asyncio.ensure_future(in_thread(self.pool, threading.Event(), last.release))
        self._releases.add(future)
        future.add_done_callback(self._released)

    def _released(self, future: asyncio.Future[None]) -> None:
        self._releases.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            self._loop.call_exception_handler({"message": "releasing a result failed", "exception": error})

    def _finish(self, command: Finish) -> None:
        watcher = self.watchers.get(command.job)
        if watcher is None:
            return
        if command.failure is None:
            watcher.finished(command.request, self.handles[command.handle].clone(), command.keys, None)
            return
        known = self.errors.get(command.failure.ticket)
        error = SolveError(command.failure.message, vertex=command.failure.vertex) if known is None else known[1]
        watcher.finished(command.request, None, (), error)

    # ------------------------------------------------------------ commands that are tasks

    def _spawn(
        self,
        ticket: int,
        vertex_id: str,
        work: Callable[[RunContext], Coroutine[Any, Any, Event]],
        holds: Sequence[HeldResult] = (),
    ) -> None:
        """Start a task that answers `ticket`; `holds` are released when it has ended, however it ends."""
        context = RunContext(self, vertex_id, self.active[vertex_id].vertex)
        task = self._loop.create_task(work(context))
        self._tasks[ticket] = (task, context)
        task.add_done_callback(lambda done: self._ended(ticket, vertex_id, done, holds))

    def _ended(self, ticket: int, vertex_id: str, task: asyncio.Task[Event], holds: Sequence[HeldResult]) -> None:
        _, context = self._tasks.pop(ticket)
        job = self._stopping.pop(task, None)
        if job is None:
            job = self.core.job_of(vertex_id)
        for hold in holds:
            self.let_go(hold)
        if task.cancelled():
            if context.cancelled.is_set():
                self.feed(Cancelled(ticket), job)
                return
            error: BaseException | None = SolveError("the operation was cancelled from outside")
        else:
            error = task.exception()
        if error is None:
            self.feed(task.result(), job)
            return
        told = readable(error, context.vertex)
        self.errors[ticket] = (vertex_id, told)
        self.feed(Failed(ticket, str(told)), job)

    def _op(self, vertex_id: str) -> Op:
        active = self.active[vertex_id]
        if active.op is None:
            active.op = self._resolver(active.vertex)
        return active.op

    def _load_cache_map(self, command: LoadCacheMap) -> None:
        self._spawn(command.ticket, command.vertex, lambda context: self._cache_map(command, context))

    async def _cache_map(self, command: LoadCacheMap, context: RunContext) -> Event:
        active = self.active[command.vertex]
        shown = not active.vertex.inputs
        try:
            with _Shown(self, command.vertex, shown=shown):
                if command.nth == 0:
                    found = await self._op(command.vertex).cache_map(context)
                else:
                    more = active.maps[command.nth - 1].more
                    assert more is not None
                    found = await more(context)
                if found.more is not None and active.vertex.inputs:
                    raise SolveError(f"{active.vertex.name}: only a vertex without inputs can have several cache maps")
        except DockcError as error:
            raise _wrapped(error, "failed to load cache key", active.vertex) from error
        del active.maps[command.nth :]
        active.maps.append(found)
        deps = tuple(
            DepSpec(dep.selector, dep.content_digest is not None, dep.preprocess is not None) for dep in found.deps
        )
        claimed = found.proven is not None and not found.proven()
        if claimed:
            self._claim(command.vertex, active.maps[:-1], found)
        return CacheMapReady(command.ticket, CacheMapSpec(found.digest, deps, found.more is not None, claimed))

    def _claim(self, vertex_id: str, names: Sequence[CacheMap], claimed: CacheMap) -> None:
        """Remember a name that may be proven before the steps that stand on the source are saved."""
        assert claimed.proven is not None
        claim = Claim(root_key(claimed.digest, 0), claimed.proven)
        for name in names:  # a source has one output
            self.claims.setdefault(root_key(name.digest, 0), claim).vertices.add(vertex_id)

    def _compute_digest(self, command: ComputeDigest) -> None:
        result = self.handles[command.result].clone()
        self._spawn(command.ticket, command.vertex, lambda context: self._digest(command, context, result), [result])

    async def _digest(self, command: ComputeDigest, context: RunContext, result: HeldResult) -> Event:
        active = self.active[command.vertex]
        dep = active.maps[0].deps[command.input]
        digest = ""
        try:
            with _Shown(self, command.vertex, shown=False):
                if dep.preprocess is not None:
                    await dep.preprocess(context, result)
                if dep.content_digest is not None:
                    digest = await dep.content_digest(context, result)
        except DockcError as error:
            raise _wrapped(error, "failed to compute cache key", active.vertex) from error
        active.contents[command.input] = digest
        return ContentDigestReady(command.ticket, digest)

    def _load_result(self, command: LoadResult) -> None:
        self._spawn(command.ticket, command.edge.vertex, lambda context: self._load(command, context))

    async def _load(self, command: LoadResult, context: RunContext) -> Event:
        with _Shown(self, command.edge.vertex, cached=True):
            result = await self._owned(context, lambda: self.cache.load(command.record))
        return ResultLoaded(command.ticket, self._keep(result))

    def _execute(self, command: Execute) -> None:
        inputs = [self.handles[handle].clone() for handle in command.inputs]
        self._spawn(command.ticket, command.vertex, lambda context: self._exec(command, context, inputs), inputs)

    async def _exec(self, command: Execute, context: RunContext, inputs: list[HeldResult]) -> Event:
        flight = None
        try:
            async with self._place(command.vertex):
                if command.share and self.options.flights is not None:
                    flight = await self.options.flights.take(
                        flight_name(command), lambda: self._tell_waiting(command.vertex, context)
                    )
                    if all(self.cache.has(spec) for _, specs in command.saves for spec in specs[:1]):
                        return Superseded(command.ticket)
                if self.active[command.vertex].vertex.inputs:  # what a source waits for comes later still
                    self.waits(command.vertex, False)
                with _Shown(self, command.vertex):
                    self._tell_missed(command)
                    return await self._exec_and_save(command, context, inputs)
        finally:
            if flight is not None:
                flight.land()

    def _place(self, vertex: str) -> AbstractAsyncContextManager[None]:
        """A place among the operations that run at once."""
        if getattr(self._op(vertex), "waits_for_others", False):
            return nullcontext()
        return self._slots.of(self._first_of(vertex))

    def _tell_missed(self, command: Execute) -> None:
        """Tell those that want to know why an operation runs what is known of earlier ones."""
        curious = [watcher for watcher in self._watchers_of(command.vertex) if watcher.explains]
        spec = next((specs[0] for _, specs in command.saves if specs), None)
        if not curious or spec is None:
            return
        active = self.active[command.vertex]
        vertex = active.vertex
        about = Provenance(vertex.digest, vertex.name, active.maps[0].preimage, active.contents)
        try:
            earlier = self.cache.similar(about.shown, spec.digest)
        except DockcError as error:  # the step runs all the same
            log.debug("looking for keys like that of %s: %s", vertex.name, error)
            earlier = ()
        miss = Miss(vertex.digest, about.record("", spec, time.time_ns()), earlier)
        for watcher in curious:
            watcher.missed(miss)

    def step_key(self, job: str, digest: str) -> StepKey | None:
        """What the key of a vertex of a build is made of, as far as anybody had to know; None while nothing is."""
        vertex_id = self.core.active_id(job, digest)
        active, state = self.active.get(vertex_id), self.core.vertices.get(vertex_id)
        if active is None or state is None or not active.maps:
            return None
        vertex, found = active.vertex, active.maps[0]
        keys = [key for edge in state.edges.values() for key in (edge.live.result_keys or tuple(edge.live.keys))]
        return step_key(vertex, found, active.contents, key=keys[0] if keys else "")

    def _tell_waiting(self, vertex_id: str, context: RunContext) -> None:
        self.tell(vertex_id, time.time_ns())
        context.log(STDERR, b"waiting for another build that runs the same step\n")

    async def _exec_and_save(self, command: Execute, context: RunContext, inputs: list[HeldResult]) -> Event:
        outputs = list(await self._op(command.vertex).exec(context, inputs))
        try:
            held = [SharedResult(output).acquire() if output is not None else None for output in outputs]
            outputs = list(held)
            keys = await in_thread(self.pool, context.cancelled, lambda: self._save_all(command, held))
        except BaseException:
            for output in outputs:
                if output is not None:
                    self.let_go(output)
            raise
        return Executed(
            command.ticket,
            tuple(
                Output(self._keep(result), keys.get(i, ())) if result is not None else None
                for i, result in enumerate(held)
            ),
        )

    def _save_all(self, command: Execute, held: list[HeldResult | None]) -> dict[int, tuple[str, ...]]:
        """In a thread: save every output that somebody asked for."""
        keys = {}
        for i, specs in command.saves:
            result = held[i] if i < len(held) else None
            if result is not None:
                keys[i] = self._save(command.vertex, specs, result)
        self.cache.flush()
        return keys

    def _save(self, vertex_id: str, specs: tuple[KeySpec, ...], result: Result) -> tuple[str, ...]:
        active = self.active[vertex_id]
        vertex = active.vertex
        now = time.time_ns()
        keys = []
        for n, spec in enumerate(specs):
            about = Provenance(vertex.digest, vertex.name, active.maps[n].preimage, active.contents)
            keys.append(self.cache.save(spec, result, now, about))
            proven = ((i, tuple(self._proven_by_now(refs))) for i, refs in enumerate(spec.deps if self.claims else ()))
            names = [(i, refs) for i, refs in proven if refs]
            if names:
                self.cache.link(spec.digest, spec.output, keys[-1:], names)
        return tuple(keys)

    def _proven_by_now(self, refs: Sequence[KeyRef]) -> Iterator[KeyRef]:
        """Names of an input that were mere claims when it was looked up: whoever read its files has proved them."""
        claims = self.claims
        for ref in refs:
            claim = None if ref.content else claims.get(ref.key)
            if claim is not None and claim.proven():
                yield KeyRef(claim.key, ref.selector)

    def _save_result(self, command: SaveResult) -> None:
        result = self.handles[command.handle].clone()
        self._spawn(
            command.ticket,
            command.edge.vertex,
            lambda context: self._save_late(command, context, result),
            [result],
        )

    async def _save_late(self, command: SaveResult, context: RunContext, result: HeldResult) -> Event:
        def work() -> tuple[str, ...]:
            keys = self._save(command.edge.vertex, command.keys, result)
            self.cache.flush()
            return keys

        return Saved(command.ticket, await in_thread(self.pool, context.cancelled, work))

    # ------------------------------------------------------------ results

    def _keep(self, result: Result) -> int:
        held = result if isinstance(result, HeldResult) else SharedResult(result).acquire()
        self._last_handle += 1
        self.handles[self._last_handle] = held
        return self._last_handle

    async def _owned(self, context: RunContext, make: Callable[[], Result]) -> Result:
        """Run `make` in a thread; if this task is cancelled meanwhile, release what it made."""
        return await in_thread(self.pool, context.cancelled, make, lost=self.let_go)

    _PERFORM: ClassVar[Mapping[type[Command], Callable[[Runner, Any], object]]] = {
        LoadCacheMap: _load_cache_map,
        QueryKeys: _query_keys,
        LinkKeys: _link_keys,
        QueryRecords: _query_records,
        ComputeDigest: _compute_digest,
        LoadResult: _load_result,
        Execute: _execute,
        SaveResult: _save_result,
        Cancel: _cancel,
        Release: _release,
        Finish: _finish,
    }


def _wrapped(error: DockcError, doing: str, vertex: Vertex) -> DockcError:
    """What the build says of a failure that the step itself says less of.

    Trouble with the store, and with operations that make no sense, is no matter of cache keys and stays what it is.
    """
    if isinstance(error, StoreError | InvalidDefinition):
        return error
    return SolveError(f"{doing}: {error.message}", vertex=error.vertex or vertex.digest, hint=error.hint)


class _Shown:
    """Tells the builds that a vertex has started and ended; failures are always told, even with `shown` off."""

    def __init__(self, runner: Runner, vertex_id: str, *, cached: bool = False, shown: bool = True) -> None:
        self._runner, self._id, self._cached, self._shown = runner, vertex_id, cached, shown
        self._started = time.time_ns()

    def __enter__(self) -> None:
        if self._shown:
            self._runner.tell(self._id, self._started, cached=self._cached)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            if self._shown:
                self._runner.tell(self._id, self._started, done=True, cached=self._cached)
        elif not self._cached and not _is_of_another(error, self._runner, self._id):
            text = "context canceled" if isinstance(error, asyncio.CancelledError) else str(error)
            if self._shown or text != "context canceled":
                self._runner.tell(self._id, self._started, done=True, error=text)


def _is_of_another(error: BaseException, runner: Runner, vertex_id: str) -> bool:
    """Whether another vertex has told the error as its own: one whose content this one was waiting for."""
    active = runner.active.get(vertex_id)
    return isinstance(error, DockcError) and active is not None and error.vertex not in ("", active.vertex.digest)
