"""Plays the runner for the pure core: answers commands in any order, without a loop, a thread or a clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from dockc.solver.cache.cachemanager import LocalCache, Provenance
from dockc.solver.cache.storage.memory import MemoryKeyStorage, MemoryResultStorage
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
    Requested,
    ResultLoaded,
    Saved,
    SaveResult,
    Superseded,
    VertexSpec,
    Withdrawn,
)
from dockc.solver.core.scheduler import SchedulerCore
from dockc.solver.vertex import EdgeId
from tests.solver.world import Value, digest_of


@dataclass(frozen=True)
class Step:
    """A vertex of a simulated graph; `inputs` are (position in the graph, output)."""

    name: str
    seed: str
    inputs: tuple[tuple[int, int], ...] = ()
    slow: frozenset[int] = frozenset()
    selectors: tuple[str, ...] = ()
    outputs: int = 1
    ignore_cache: bool = False
    more: tuple[str, ...] = ()
    fails: str = ""


@dataclass
class Graph:
    steps: list[Step]
    digests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for step in self.steps:
            below = [f"{self.digests[i]}@{o}" for i, o in step.inputs]
            self.digests.append(
                digest_of(repr((step.name, step.seed, below, sorted(step.slow), step.selectors, step.more)))
            )

    def specs(self) -> tuple[VertexSpec, ...]:
        return tuple(
            VertexSpec(self.digests[n], tuple(EdgeId(self.digests[i], o) for i, o in step.inputs), step.ignore_cache)
            for n, step in enumerate(self.steps)
        )

    def values(self) -> list[list[str]]:
        """What every output must be: a function of the operation and of the values it reads."""
        values: list[list[str]] = []
        for step in self.steps:
            read = [values[i][o] for i, o in step.inputs]
            values.append(give(step, read))
        return values


def give(step: Step, read: Sequence[str]) -> list[str]:
    # What an input is read for by content must not depend on how it is selected: that is what a content key says.
    selectors = [text for i, text in enumerate(step.selectors) if i not in step.slow]
    text = repr((step.seed, selectors, list(read)))
    return [sha256(f"{text}{o}".encode()).hexdigest()[:12] for o in range(step.outputs)]


class Simulator:
    """A core, a cache, and the commands that have not been answered.

    `choose(n)` says which of n open commands is answered next.
    """

    def __init__(self, cache: LocalCache | None = None, choose: Callable[[int], int] = lambda n: 0) -> None:
        self.core = SchedulerCore()
        self.cache = cache or LocalCache(MemoryKeyStorage(), MemoryResultStorage())
        self.choose = choose
        self.flaky = False
        self.open: list[Command] = []
        self.cancelled: set[int] = set()
        self.handles: dict[int, str] = {}
        self.held: dict[int, list[str]] = {}
        self.finished: dict[int, str] = {}
        self.executed: list[str] = []
        self.loads = 0
        self.steps: dict[str, Step] = {}
        self.log: list[tuple[Event, list[Command]]] = []
        self._handle = itertools.count(1)
        self._result = itertools.count(1)

    def feed(self, event: Event) -> None:
        commands = self.core.handle(event)
        self.core.check()
        self.log.append((event, commands))
        for command in commands:
            if isinstance(command, Cancel):
                self.cancelled.add(command.ticket)
            elif isinstance(command, LinkKeys):
                self.cache.link(command.digest, command.edge.index, command.keys, command.names)
            elif isinstance(command, Release):
                del self.handles[command.handle]
            elif isinstance(command, Finish):
                failed = command.failure
                self.finished[command.request] = f"failed: {failed.message}" if failed else self.handles[command.handle]
            else:
                # Work holds on to what it reads, even when the core has let go of it.
                if isinstance(command, Execute):
                    self.held[command.ticket] = [self.handles[handle] for handle in command.inputs]
                elif isinstance(command, ComputeDigest):
                    self.held[command.ticket] = [self.handles[command.result]]
                elif isinstance(command, SaveResult):
                    self.held[command.ticket] = [self.handles[command.handle]]
                self.open.append(command)

    def load(self, job: str, graph: Graph) -> None:
        self.steps |= dict(zip(graph.digests, graph.steps, strict=True))
        self.feed(GraphLoaded(job, graph.specs()))

    def request(self, request: int, job: str, graph: Graph, n: int, output: int = 0) -> None:
        self.feed(Requested(request, job, EdgeId(graph.digests[n], output)))

    def withdraw(self, request: int) -> None:
        self.feed(Withdrawn(request))

    def close(self, job: str) -> None:
        self.feed(JobClosed(job))

    def advance(self) -> None:
        """Answer one command."""
        command = self.open.pop(self.choose(len(self.open)))
        ticket: int = command.ticket  # type: ignore[union-attr]
        if ticket in self.cancelled and self.choose(2) == 0:
            self.feed(Cancelled(ticket))
        else:
            self.feed(self.answer(command))

    def run(self) -> None:
        while self.open:
            self.advance()

    def step(self, vertex: str) -> Step:
        return self.steps[vertex.removesuffix("+nocache")]

    def keep(self, value: str) -> int:
        handle = next(self._handle)
        self.handles[handle] = value
        return handle

    def answer(self, command: Command) -> Event:
        match command:
            case LoadCacheMap(ticket, vertex, nth):
                step = self.step(vertex)
                seed = (step.seed, *step.more)[nth]
                if step.fails == "map":
                    return Failed(ticket, "no map")
                deps = tuple(
                    DepSpec(digest_of(step.selectors[i]) if i < len(step.selectors) else "", i in step.slow)
                    for i in range(len(step.inputs))
                )
                digest = seed if seed.startswith("random:") else digest_of(seed)
                return CacheMapReady(ticket, CacheMapSpec(digest, deps, nth < len(step.more)))
            case QueryKeys(ticket, edge, digest, i, keys):
                return KeysFound(ticket, self.cache.query(digest, edge.index, i, keys))
            case QueryRecords(ticket, _, keys):
                return RecordsFound(ticket, self.cache.records(keys))
            case ComputeDigest(ticket):
                return ContentDigestReady(ticket, digest_of(self.held[ticket][0]))
            case LoadResult(ticket, _, record):
                self.loads += 1
                if self.flaky and self.choose(3) == 0:
                    return Failed(ticket, "gone from the disk")
                return ResultLoaded(ticket, self.keep(str(self.cache.load(record).value)))
            case Execute(ticket, vertex, _, saves, share):
                step = self.step(vertex)
                if share and saves and all(self.cache.has(specs[0]) for _, specs in saves):
                    return Superseded(ticket)
                self.executed.append(vertex)
                if step.fails == "exec":
                    return Failed(ticket, "no exec")
                values = give(step, self.held[ticket])
                names = {o: tuple(self.save(spec, values[o]) for spec in specs) for o, specs in saves}
                return Executed(ticket, tuple(Output(self.keep(v), names.get(o, ())) for o, v in enumerate(values)))
            case SaveResult(ticket, _, _, specs):
                return Saved(ticket, tuple(self.save(spec, self.held[ticket][0]) for spec in specs))
        raise AssertionError(command)

    def save(self, spec: KeySpec, value: str) -> str:
        return self.cache.save(
            spec, Value(value, f"r{next(self._result)}-{value}"), next(self._result), Provenance("v", "n")
        )
