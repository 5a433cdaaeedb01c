"""How much is done for a vertex: counted, since times depend on the machine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from dockc.solver.cache.cachemanager import LocalCache
from dockc.solver.cache.storage.memory import MemoryKeyStorage, MemoryResultStorage
from dockc.solver.core.advance import Advancing
from dockc.solver.core.events import (
    Command,
    ComputeDigest,
    ContentDigestReady,
    Event,
    GraphLoaded,
    JobClosed,
    Requested,
)
from dockc.solver.core.scheduler import SchedulerCore
from dockc.solver.run import runner
from dockc.solver.vertex import Edge, EdgeId
from tests.solver.simulator import Graph, Simulator, Step
from tests.solver.world import make_solver, vtx
from tests.tools import calls


def chain(n: int) -> Graph:
    return Graph([Step("v", "s0"), *(Step("v", f"s{i}", ((i - 1, 0),)) for i in range(1, n))])


def mesh(n: int) -> Graph:
    steps = [Step(f"r{i}", f"r{i}") for i in range(20)]
    steps += [Step("v", f"s{i}", ((i - 20, 0), (i - 1 - i % 19, 0))) for i in range(20, n)]
    return Graph(steps)


def effort(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Counter[str]]:
    """Advances and commands of a solve that is cached as a whole."""
    cold = Simulator()
    cold.core.check = lambda: None  # type: ignore[method-assign]
    cold.load("j", graph)
    cold.request(0, "j", graph, len(graph.steps) - 1)
    cold.run()
    warm = Simulator(cold.cache)
    warm.core.check = lambda: None  # type: ignore[method-assign]
    count = 0
    advance = Advancing._advance

    def counted(self: Advancing, edge: object) -> None:
        nonlocal count
        count += 1
        advance(self, edge)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Advancing, "_advance", counted)
        warm.load("j", graph)
        warm.request(0, "j", graph, len(graph.steps) - 1)
        warm.run()
    assert warm.executed == []
    assert warm.finished == cold.finished
    return count, Counter(type(command).__name__ for _, commands in warm.log for command in commands)


@pytest.mark.parametrize("shape", [chain, mesh])
def test_effort_is_linear(shape: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(shape)
    small, large = effort(shape(500), monkeypatch), effort(shape(1000), monkeypatch)
    per_vertex = [advances / commands["LoadCacheMap"] for advances, commands in (small, large)]
    assert per_vertex[1] <= 1.1 * per_vertex[0]
    assert per_vertex[1] <= 14
    commands = large[1]
    assert commands["LoadResult"] == 1
    assert commands["LoadCacheMap"] <= 1000
    assert commands["QueryRecords"] <= 1000
    assert commands["QueryKeys"] <= 2000
    assert commands["Execute"] == commands["ComputeDigest"] == commands["Cancel"] == 0


def wide(n: int) -> Graph:
    """One vertex that reads `n` others."""
    return Graph([*(Step("v", f"s{i}") for i in range(n)), Step("v", "top", tuple((i, 0) for i in range(n)))])


def test_the_answers_about_one_vertex_are_taken_up_together(monkeypatch: pytest.MonkeyPatch) -> None:
    advances, commands = effort(wide(300), monkeypatch)
    assert commands["QueryKeys"] == 600  # a name of each input, and what each leads to
    assert advances <= 7.1 * 300


def stages(n: int) -> Graph:
    """`n` stages that copy from one context, and a last one that copies from each: by content, as COPY does."""
    steps = [Step("context", "c")]
    steps += [Step("stage", f"s{i}", ((0, 0),), slow=frozenset({0})) for i in range(n)]
    for i in range(n):
        below = ((1 + i, 0),) if i == 0 else ((n + i, 0), (1 + i, 0))
        steps.append(Step("copy", f"copy{i}", below, slow=frozenset({len(below) - 1})))
    return Graph(steps)


def cold_effort(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> int:
    """Advances of a solve that finds nothing in the cache."""
    simulator = Simulator()
    simulator.core.check = lambda: None  # type: ignore[method-assign]
    count = 0
    advance = Advancing._advance

    def counted(self: Advancing, edge: object) -> None:
        nonlocal count
        count += 1
        advance(self, edge)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Advancing, "_advance", counted)
        simulator.load("j", graph)
        simulator.request(0, "j", graph, len(graph.steps) - 1)
        simulator.run()
    return count


def test_stages_are_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wish that is taken back and renewed a moment later does not run down all stages."""
    small, large = (cold_effort(stages(n), monkeypatch) for n in (60, 120))
    assert large <= 2.1 * small
    assert large <= 40 * 120


@pytest.mark.slow
def test_five_thousand_cached_vertices(monkeypatch: pytest.MonkeyPatch) -> None:
    advances, _ = effort(chain(5000), monkeypatch)
    assert advances <= 14 * 5000


def changed(n: int) -> Graph:
    """A context of which one file changes with `n`: steps that read another one are below and above the one that reads it."""
    return Graph(
        [
            Step("context", f"context{n}"),
            Step("a", "a", ((0, 0),), slow=frozenset({0}), selectors=("same",)),
            Step("f", "f", ((1, 0), (0, 0)), slow=frozenset({1}), selectors=("", "changes")),
            Step("b", "b", ((2, 0), (0, 0)), slow=frozenset({1}), selectors=("", "same")),
        ]
    )


def test_links_are_linear_in_builds() -> None:
    """A name leads to the keys that fit all inputs, not to those of all builds before that read the same file."""

    class Contents(Simulator):
        build = 0

        def answer(self, command: Command) -> Event:
            if isinstance(command, ComputeDigest):
                changes = self.step(command.vertex).selectors[command.input] == "changes"
                return ContentDigestReady(command.ticket, f"sha256:{self.build if changes else 'same'}")
            return super().answer(command)

    cache = LocalCache(MemoryKeyStorage(), MemoryResultStorage())
    links = []
    for build in range(40):
        simulator = Contents(cache)
        simulator.build = build
        graph = changed(build)
        simulator.load("j", graph)
        simulator.request(0, "j", graph, 3)
        simulator.run()
        assert [simulator.step(vertex).name for vertex in simulator.executed if simulator.step(vertex).name == "a"] == (
            ["a"] if build == 0 else []
        )
        links.append(sum(len(cache.keys.backlinks(key)) for key in set(cache.keys.keys())))
    assert links[39] - links[29] == links[19] - links[9]
    again = Contents(cache)
    again.build = 7
    graph = changed(7)
    again.load("j", graph)
    again.request(0, "j", graph, 3)
    again.run()
    assert again.executed == []


def wide_by_content(n: int) -> Graph:
    """One vertex that reads the contents of `n` others."""
    steps = [Step("v", f"s{i}") for i in range(n)]
    return Graph([*steps, Step("v", "top", tuple((i, 0) for i in range(n)), slow=frozenset(range(n)))])


def fan(n: int) -> Graph:
    """One vertex that `n` others read, of which two by two are read by the next."""
    steps = [Step("v", "base"), *(Step("v", f"s{i}", ((0, 0),)) for i in range(n))]
    for i in range(1, n):
        steps.append(Step("join", f"j{i}", ((1 if i == 1 else len(steps) - 1, 0), (1 + i, 0))))
    return Graph(steps)


def one_command(n: int) -> Graph:
    """The same operation on one base and `n` other inputs, which all differ."""
    steps = [Step("v", "base"), *(Step("v", f"x{i}") for i in range(n))]
    steps += [Step("run", "run", ((0, 0), (1 + i, 0))) for i in range(n)]
    for i in range(1, n):
        steps.append(Step("join", f"j{i}", ((n + 1 if i == 1 else len(steps) - 1, 0), (n + 1 + i, 0))))
    return Graph(steps)


def equal_chains(n: int) -> Graph:
    """Two chains of `n` vertices that turn out to be the same."""
    steps = [Step("v", "base"), *(Step("one", f"s{i}", ((i, 0),)) for i in range(n))]
    steps += [Step("other", f"s{i}", ((n + i if i else 0, 0),)) for i in range(n)]
    return Graph([*steps, Step("v", "top", ((n, 0), (2 * n, 0)))])


SHAPES = (chain, wide, wide_by_content, fan, one_command, equal_chains)


@pytest.mark.parametrize("shape", SHAPES)
def test_calls_are_linear(shape: Callable[[int], Graph]) -> None:
    """In the vertices of a graph as in the inputs of one vertex: solved, found in the cache, and cancelled halfway."""
    for small, large in zip(costs(shape(100)), costs(shape(200)), strict=True):
        assert large <= 2.25 * small


def costs(graph: Graph) -> list[int]:
    cold, half = Simulator(), Simulator()
    cold.core.check = half.core.check = lambda: None  # type: ignore[method-assign]
    counts = [calls(lambda: solve(cold, graph)), calls(lambda: leave_halfway(half, graph))]
    warm = Simulator(cold.cache)
    warm.core.check = lambda: None  # type: ignore[method-assign]
    counts.append(calls(lambda: solve(warm, graph)))
    assert warm.executed == []
    assert not half.core.vertices
    return counts


def solve(simulator: Simulator, graph: Graph) -> None:
    simulator.load("j", graph)
    simulator.request(0, "j", graph, len(graph.steps) - 1)
    simulator.run()


def leave_halfway(simulator: Simulator, graph: Graph) -> None:
    simulator.load("j", graph)
    simulator.request(0, "j", graph, len(graph.steps) - 1)
    for _ in range(len(graph.steps)):
        if simulator.open:
            simulator.advance()
    simulator.close("j")
    simulator.run()


def test_no_step_grows_with_the_graph() -> None:
    """What is done in one piece, while all others wait, is one vertex."""
    most = []
    for n in (100, 400):
        core, graph = SchedulerCore(), chain(n)
        wanted = Requested(1, "j", EdgeId(graph.digests[-1], 0))
        pieces = []
        for event in (GraphLoaded("j", graph.specs()), wanted, JobClosed("j")):
            steps = core.handling(event)
            pieces += [calls(partial(next, steps, None)) for _ in range(3 * n)]
        assert not core.vertices
        most.append(max(pieces))
    assert most[1] <= 1.2 * most[0]


def test_a_build_does_not_wait_for_all_that_a_large_one_has_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_SLICE_SECONDS", 0.0)  # every piece of work gives way

    async def work() -> None:
        async with make_solver() as solver:
            handled: Counter[str] = Counter()
            step = solver.runner._step

            def counted(event: Event) -> object:
                handled[str(solver.runner._handled)] += 1
                return step(event)

            monkeypatch.setattr(solver.runner, "_step", counted)
            monkeypatch.setattr(solver.runner.core, "check", lambda: None)
            large, small = solver.job("large"), solver.job("small")
            inputs: list[Edge] = [vtx(f"s{i}", value=i) for i in range(1500)]
            building = asyncio.ensure_future(large.build(vtx("top", value=0, inputs=inputs)))
            while handled[large.name] < 300:
                await asyncio.sleep(0)
            before = handled[large.name]
            (built,) = await small.build(vtx("b", value=2, inputs=[vtx("a", value=1)]))
            small.let_go(built)
            await small.close()
            assert handled[large.name] - before < 50 * handled[small.name]
            assert not building.done()
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)
            await large.close()
            assert not solver.runner.core.vertices
            assert not solver.runner.active

    asyncio.run(work())
