"""A small world for the solver: operations that are a few lines, and a cache that counts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from dockc.solver.cache.cachemanager import LocalCache
from dockc.solver.cache.storage.base import CacheKeyStorage
from dockc.solver.cache.storage.memory import MemoryKeyStorage, MemoryResultStorage
from dockc.solver.core.events import Record
from dockc.solver.op import CacheDep, CacheMap, OpContext
from dockc.solver.result import Result
from dockc.solver.run.jobs import Solver
from dockc.solver.run.runner import RunnerOptions
from dockc.solver.vertex import Edge, Vertex, VertexOptions

_ids = itertools.count(1)


def digest_of(text: str) -> str:
    return "sha256:" + sha256(text.encode()).hexdigest()


class Value:
    """A result that is a Python value; counts its releases."""

    def __init__(self, value: object, result_id: str = "") -> None:
        self.value = value
        self.id = result_id or f"result-{next(_ids)}"
        self.released = 0

    def release(self) -> None:
        self.released += 1
        assert self.released == 1, f"{self.id} released {self.released} times"


class Counters:
    def __init__(self) -> None:
        self.cache_maps = 0
        self.execs = 0
        self.executed: list[str] = []
        self.digests = 0


Hook = Callable[[OpContext], Awaitable[None]]


class FakeOp:
    """An operation with a name, a seed for its cache map and a value to give."""

    def __init__(
        self,
        name: str,
        seed: str,
        give: Callable[[list[Any]], Sequence[object]],
        n: int,
        *,
        slow: Sequence[int] = (),
        selectors: Mapping[int, str] | None = None,
        seeds: Sequence[str] = (),
        on_cache_map: Hook | None = None,
        on_exec: Hook | None = None,
    ) -> None:
        self.name, self.seed, self.give, self.n = name, seed, give, n
        self.slow, self.selectors, self.seeds = slow, selectors or {}, seeds
        self.on_cache_map, self.on_exec = on_cache_map, on_exec
        self.counters = Counters()
        self.results: list[Value] = []
        self.proven: Callable[[], bool] | None = None

    def WhichOneof(self, name: str) -> str:
        """What kind it is, as the wire's message says it."""
        return "exec"

    async def cache_map(self, ctx: OpContext) -> CacheMap:
        if self.on_cache_map is not None:
            await self.on_cache_map(ctx)
        self.counters.cache_maps += 1
        return self._map(0)

    def _map(self, n: int) -> CacheMap:
        seeds = (self.seed, *self.seeds)

        async def more(ctx: OpContext) -> CacheMap:
            return self._map(n + 1)

        deps = tuple(
            CacheDep(
                digest_of(self.selectors[i]) if i in self.selectors else "", self._content if i in self.slow else None
            )
            for i in range(self.n)
        )
        digest = seeds[n] if seeds[n].startswith("random:") else digest_of("seed:" + seeds[n])
        return CacheMap(digest, deps, {"seed": seeds[n]}, more if n + 1 < len(seeds) else None, self.proven if n else None)

    async def _content(self, ctx: OpContext, result: Result) -> str:
        self.counters.digests += 1
        return digest_of(f"content:{result.value}")

    async def exec(self, ctx: OpContext, inputs: Sequence[Result]) -> Sequence[Result | None]:
        assert len(inputs) == self.n
        if self.on_exec is not None:
            await self.on_exec(ctx)
        self.counters.execs += 1
        self.counters.executed.append(self.name)
        made = [Value(value) for value in self.give([result.value for result in inputs])]
        self.results += made
        return made


def vtx(
    name: str,
    seed: str = "",
    value: object = None,
    inputs: Sequence[Edge] = (),
    *,
    ignore_cache: bool = False,
    give: Callable[[list[Any]], Sequence[object]] | None = None,
    digest: str = "",
    **options: Any,
) -> Edge:
    """Edge 0 of a vertex that gives `value`. Same name, same digest."""
    op = FakeOp(name, seed or name, give or (lambda _: [value]), len(inputs), **options)
    vertex = Vertex(
        digest or digest_of(name),
        op,  # type: ignore[arg-type]  # not an operation of LLB
        tuple(inputs),
        VertexOptions(ignore_cache=ignore_cache),
        name,
    )
    return Edge(vertex, 0)


def const(value: int, **options: Any) -> Edge:
    """A number; equal numbers have equal cache maps and different vertices."""
    return vtx(options.pop("name", f"const-{value}-{next(_ids)}"), f"const-{value}", value, **options)


def add_up(extra: int, *inputs: Edge, **options: Any) -> Edge:
    """The sum of the inputs and `extra`."""
    name = options.pop("name", f"sum-{extra}-{len(inputs)}-{next(_ids)}")
    return vtx(name, f"sum-{extra}-{len(inputs)}", inputs=inputs, give=lambda v: [sum(v) + extra], **options)


def add_each(extra: int, *inputs: Edge, **options: Any) -> Edge:
    """One output per input: the input and `extra`."""
    name = options.pop("name", f"add-{extra}-{len(inputs)}-{next(_ids)}")
    return vtx(name, f"add-{extra}-{len(inputs)}", inputs=inputs, give=lambda v: [x + extra for x in v], **options)


def op_of(edge: Edge) -> FakeOp:
    return edge.vertex.op  # type: ignore[return-value]


def count(*edges: Edge) -> Counters:
    """Let all operations below `edges` count together, from zero."""
    from dockc.solver.vertex import walk

    counters = Counters()
    for vertex in walk(*edges):
        vertex.op.counters = counters  # type: ignore[attr-defined]
    return counters


class CountingCache(LocalCache):
    """Counts loads, and refuses them on demand."""

    def __init__(self, keys: CacheKeyStorage | None = None, results: MemoryResultStorage | None = None) -> None:
        super().__init__(keys or MemoryKeyStorage(), results or MemoryResultStorage())
        self.loads = 0
        self.refuse = False

    def load(self, record: Record) -> Result:
        self.loads += 1
        if self.refuse:
            raise OSError("no loading today")
        return super().load(record)


def make_solver(cache: Any = None, **options: Any) -> Solver:
    return Solver(lambda vertex: vertex.op, cache or CountingCache(), options=RunnerOptions(check=True, **options))  # type: ignore[arg-type,return-value]


async def build(solver: Solver, edge: Edge) -> object:
    """The value of `edge`, built in a build of its own."""
    (built,) = await solver.solve(edge)
    value = built.result.value
    built.result.release()
    return value


def meeting(n: int) -> Hook:
    """A hook at which `n` callers wait for each other."""
    left, event = n, asyncio.Event()

    async def hook(ctx: OpContext) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            event.set()
        await asyncio.wait_for(event.wait(), 60)

    return hook


def nap(seconds: float) -> Hook:
    async def hook(ctx: OpContext) -> None:
        await asyncio.sleep(seconds)

    return hook


def claiming(name: str, own: str, claimed: str, value: object, proven: Callable[[], bool]) -> Edge:
    """A source known by `own`, which claims to be known by `claimed` too."""
    edge = vtx(name, own, value, seeds=(claimed,))
    op_of(edge).proven = proven
    return edge
