"""What a build would do, without doing it: the real scheduler core, with results that are not there.

Cache maps are asked for and the cache is looked up as in a build. Nothing is executed, except what the caller
allows (reading a local directory, say); a result that would be loaded is loaded only if the caller allows it and a
content digest is wanted of it. Where contents decide and are not known, the answer says so.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from dockc.base import record as lean
from dockc.errors import DockcError
from dockc.solver.cache.cachemanager import CacheManager
from dockc.solver.core.cachekey import RANDOM
from dockc.solver.core.edge import EdgeState
from dockc.solver.core.events import (
    CacheMapReady,
    CacheMapSpec,
    ComputeDigest,
    ContentDigestReady,
    DepSpec,
    Event,
    Execute,
    Executed,
    LoadCacheMap,
    LoadResult,
    Output,
    Record,
    ResultLoaded,
    Saved,
    SaveResult,
)
from dockc.solver.keydiff import StepKey
from dockc.solver.lent import Lent
from dockc.solver.op import OpResolver
from dockc.solver.result import HeldResult
from dockc.solver.run.context import RunContext
from dockc.solver.run.jobs import Job
from dockc.solver.run.runner import Miss, Runner, RunnerOptions
from dockc.solver.vertex import Edge, Vertex, walk


class PlanState(StrEnum):
    """What would happen to a vertex."""

    CACHED = "cached"
    """Its result is in the cache, or its users are and nobody needs it."""
    RUN = "run"
    """It would run."""
    DEPENDS = "depends"
    """It runs or not, depending on contents that only running its inputs can tell."""


class PlannedVertex(lean.Record):
    """One line of a plan.

    Attributes:
        vertex: what it is about.
        state: what would happen.
        needed: whether anything would be done for it at all; False for inputs of what is cached.
        reason: why nothing better is known, or "".
        key: what its key is made of; None where nobody had to know.
        miss: where it would run, its key as a build would compare it with earlier ones; else None.
    """

    vertex: Vertex
    state: PlanState
    needed: bool = True
    reason: str = ""
    key: StepKey | None = None
    miss: Miss | None = None


def _never(vertex: Vertex) -> bool:
    return False


async def plan(
    resolver: OpResolver,
    cache: CacheManager,
    *edges: Edge,
    may_execute: Callable[[Vertex], bool] = _never,
    may_load: Callable[[Vertex], bool] = _never,
    lends: Lent | None = None,
) -> tuple[PlannedVertex, ...]:
    """Tell for every vertex below `edges`, inputs first, what a build would do with it.

    Args:
        resolver: finds operations; only their cache maps (and content digests) are used.
        cache: the cache; nothing is added but links that content has proven.
        edges: what would be built.
        may_execute: vertices without inputs that may really run, to know their contents.
        may_load: vertices whose cached result may be loaded to compute a content digest.
        lends: see `Solver.job`.
    """
    runner = _Planner(resolver, cache, may_execute, may_load)
    misses: dict[str, Miss] = {}
    vertices = tuple(walk(*edges))
    try:
        async with Job(
            runner, 1, "plan", None, lends, explains=lambda miss: misses.__setitem__(miss.vertex, miss)
        ) as job:
            for built in await job.build(*edges):
                built.result.release()
            keys = {vertex.digest: _known(job.step_key(vertex.digest)) for vertex in vertices}
    finally:
        await runner.close()

    def planned(vertex: Vertex) -> PlannedVertex:
        found = runner.said.get(vertex.digest, PlannedVertex(vertex, PlanState.CACHED, needed=False))
        return lean.replace(found, key=keys[vertex.digest], miss=misses.get(vertex.digest))

    return tuple(planned(vertex) for vertex in vertices)


def _known(key: StepKey | None) -> StepKey | None:
    """The same without the id of a result that nothing has made."""
    return lean.replace(key, key="") if key is not None and key.key.startswith(RANDOM) else key


class _Phantom:
    """A result that is not there; of a cached one the record is known."""

    def __init__(self, name: str, vertex: Vertex, record: Record | None = None) -> None:
        self.id = name
        self.value = None
        self.vertex = vertex
        self.record = record

    def release(self) -> None:
        """Nothing to give up."""


class _Planner(Runner):
    """A runner that only pretends.

    Mutable state beside the runner's: `said` (by vertex digest) and `_unknown` (inputs, by vertex id, whose content
    is not known).
    """

    def __init__(
        self,
        resolver: OpResolver,
        cache: CacheManager,
        may_execute: Callable[[Vertex], bool],
        may_load: Callable[[Vertex], bool],
    ) -> None:
        super().__init__(resolver, cache, RunnerOptions())
        self._may_execute = may_execute
        self._may_load = may_load
        self._unknown: dict[str, dict[int, str]] = {}
        self.said: dict[str, PlannedVertex] = {}

    def _say(self, vertex: Vertex, state: PlanState, reason: str = "") -> None:
        self.said[vertex.digest] = PlannedVertex(vertex, state, reason=reason)

    async def _cache_map(self, command: LoadCacheMap, context: RunContext) -> Event:
        try:
            return await super()._cache_map(command, context)
        except DockcError as error:
            vertex = context.vertex
            cause = error.__cause__ if isinstance(error.__cause__, DockcError) else error
            self._unknown.setdefault(command.vertex, {})[-1] = f"its cache key is not known: {cause}"
            deps = tuple(DepSpec() for _ in vertex.inputs)
            return CacheMapReady(command.ticket, CacheMapSpec(f"{RANDOM}plan-{command.vertex}", deps))

    async def _load(self, command: LoadResult, context: RunContext) -> Event:
        self._say(context.vertex, PlanState.CACHED)
        phantom = _Phantom(command.record.result, context.vertex, command.record)
        return ResultLoaded(command.ticket, self._keep(phantom))

    async def _digest(self, command: ComputeDigest, context: RunContext, result: HeldResult) -> Event:
        phantom = result.shared_result()
        if not isinstance(phantom, _Phantom):
            return await super()._digest(command, context, result)
        dep = self.active[command.vertex].maps[0].deps[command.input]
        if dep.content_digest is None:
            return ContentDigestReady(command.ticket, "")
        if phantom.record is None or not self._may_load(phantom.vertex):
            name = phantom.vertex.name or phantom.vertex.digest
            self._unknown.setdefault(command.vertex, {})[command.input] = f"depends on the result of {name}"
            return ContentDigestReady(command.ticket, "")
        record = phantom.record
        real = await self._owned(context, lambda: self.cache.load(record))
        try:
            digest = await dep.content_digest(context, real)
        finally:
            self.let_go(real)
        self.active[command.vertex].contents[command.input] = digest
        return ContentDigestReady(command.ticket, digest)

    async def _exec(self, command: Execute, context: RunContext, inputs: list[HeldResult]) -> Event:
        vertex = context.vertex
        reason = self._doubt(command)
        self._say(vertex, PlanState.DEPENDS if reason else PlanState.RUN, reason)
        if not reason:
            self._tell_missed(command)
        if not vertex.inputs and self._may_execute(vertex):
            outputs = [
                self._keep(result) if result is not None else None
                for result in await self._op(command.vertex).exec(context, inputs)
            ]
            made = tuple(
                Output(h, (_phantom_key(command.vertex, i),)) if h is not None else None for i, h in enumerate(outputs)
            )
            return Executed(command.ticket, made)
        wanted = {index for index, _ in command.saves}
        return Executed(
            command.ticket,
            tuple(
                Output(self._keep(_Phantom(f"plan-{i}", vertex)), (_phantom_key(command.vertex, i),))
                if i in wanted
                else None
                for i in range(max(wanted, default=0) + 1)
            ),
        )

    def _doubt(self, command: Execute) -> str:
        """Why the vertex might be cached after all; "" when it certainly is not."""
        state = self.core.vertices.get(command.vertex)
        unknown = self._unknown.get(command.vertex, {})
        if -1 in unknown:
            return unknown[-1]
        if state is None or state.spec.ignore_cache or not state.spec.inputs:
            return ""
        reasons: dict[int, str] = {}
        for i, edge in enumerate(self.active[command.vertex].vertex.inputs):
            below = self.said.get(edge.vertex.digest)
            if i in unknown:
                reasons[i] = unknown[i]
            elif below is not None and below.state is PlanState.DEPENDS:
                reasons[i] = f"depends on whether {below.vertex.name or below.vertex.digest} is cached"
        certain_miss = any(self._misses(edge, reasons) for edge in state.edges.values())
        return "" if certain_miss else next(iter(reasons.values()), "")

    def _misses(self, edge: EdgeState, reasons: dict[int, str]) -> bool:
        """Whether an input about which there is no doubt leads to no key of `edge`."""
        return edge.owner is None and any(not found and i not in reasons for i, found in enumerate(edge.found))

    async def _save_late(self, command: SaveResult, context: RunContext, result: HeldResult) -> Event:
        return Saved(command.ticket, (_phantom_key(command.edge.vertex, command.edge.index),))


def _phantom_key(vertex_id: str, output: int) -> str:
    """A key that no cache knows or keeps."""
    return f"{RANDOM}plan-{vertex_id}@{output}"
