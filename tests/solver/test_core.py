"""The pure core: every order of answers gives the same results, keeps the rules and leaves nothing behind."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockc.solver.core.events import Cancelled, Executed, Requested
from dockc.solver.core.scheduler import SchedulerCore, SchedulerError
from dockc.solver.core.status import TRANSITIONS, EdgeStatus
from dockc.solver.vertex import EdgeId
from tests.solver.simulator import Graph, Simulator, Step


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    steps: list[Step] = []
    for n in range(draw(st.integers(1, 9))):
        width = draw(st.integers(0, min(3, n)))
        inputs = []
        for _ in range(width):
            i = draw(st.integers(0, n - 1))
            inputs.append((i, draw(st.integers(0, steps[i].outputs - 1))))
        slow = frozenset(i for i in range(width) if draw(st.booleans()))
        selectors = tuple(draw(st.sampled_from(["", "s"])) for _ in range(width)) if draw(st.booleans()) else ()
        seed = draw(st.sampled_from("abc"))
        if not width and draw(st.integers(0, 4)) == 0:
            seed = "random:" + seed
        # The number of outputs and which inputs are read by content belong to the operation: a part of the seed.
        outputs = draw(st.integers(1, 2))
        more = (f"z{seed}{outputs}",) if not width and not seed.startswith("random:") and draw(st.booleans()) else ()
        steps.append(
            Step(
                draw(st.sampled_from(["p", "q", "r"])),
                f"{seed}{outputs}{width}{sorted(slow)}",
                tuple(inputs),
                slow,
                selectors,
                outputs,
                draw(st.integers(0, 7)) == 0,
                more,
            )
        )
    return Graph(steps)


def finish(sim: Simulator, jobs: list[str]) -> None:
    sim.run()
    for job in jobs:
        sim.close(job)
    sim.run()
    assert not sim.core.vertices
    assert not sim.handles
    assert sim.core.open_tickets == 0
    assert not sim.core.requests
    assert len(sim.core.index) == 0


@settings(max_examples=120, deadline=None)
@given(st.lists(graphs(), min_size=1, max_size=3), st.integers(0, 2**32))
def test_any_order_gives_the_same_results(built: list[Graph], seed: int) -> None:
    rng = random.Random(seed)
    sim = Simulator(choose=lambda n: rng.randrange(n))
    wanted: dict[int, str] = {}
    jobs = []
    for j, graph in enumerate(built):
        sim.load(f"j{j}", graph)
        jobs.append(f"j{j}")
        values = graph.values()
        for _ in range(rng.randrange(1, 4)):
            n = rng.randrange(len(graph.steps))
            o = rng.randrange(graph.steps[n].outputs)
            request = len(wanted)
            wanted[request] = values[n][o]
            sim.request(request, f"j{j}", graph, n, o)
            for _ in range(rng.randrange(8)):
                if sim.open:
                    sim.advance()
    sim.run()
    assert sim.finished == wanted
    finish(sim, jobs)

    # Once more on the same cache: nothing runs but what must.
    for graph in built:
        again = Simulator(sim.cache, lambda n: rng.randrange(n))
        again.load("again", graph)
        top = len(graph.steps) - 1
        again.request(0, "again", graph, top)
        again.run()
        finish(again, ["again"])
        assert again.finished == {0: graph.values()[top][0]}
        third = Simulator(sim.cache, lambda n: rng.randrange(n))
        third.load("third", graph)
        third.request(0, "third", graph, top)
        finish(third, ["third"])
        if not any(s.ignore_cache or s.seed.startswith("random:") for s in graph.steps):
            assert third.executed == []


@settings(max_examples=120, deadline=None)
@given(st.lists(graphs(), min_size=1, max_size=3), st.integers(0, 2**32))
def test_cancellation_leaves_nothing(built: list[Graph], seed: int) -> None:
    rng = random.Random(seed)
    sim = Simulator(choose=lambda n: rng.randrange(n))
    expected: dict[int, str] = {}
    open_jobs: dict[str, Graph] = {}
    for turn in range(30):
        match rng.randrange(6):
            case 0 if len(open_jobs) < 4:
                graph = rng.choice(built)
                sim.load(f"j{turn}", graph)
                open_jobs[f"j{turn}"] = graph
            case 1 | 2 if open_jobs:
                job = rng.choice(sorted(open_jobs))
                graph = open_jobs[job]
                n = rng.randrange(len(graph.steps))
                sim.request(turn, job, graph, n)
                expected[turn] = graph.values()[n][0]
            case 3 if expected:
                sim.withdraw(rng.choice(sorted(expected)))
            case 4 if open_jobs:
                job = rng.choice(sorted(open_jobs))
                del open_jobs[job]
                sim.close(job)
        for _ in range(rng.randrange(6)):
            if sim.open:
                sim.advance()
    finish(sim, sorted(open_jobs))
    assert all(expected[request] == value for request, value in sim.finished.items())


@settings(max_examples=100, deadline=None)
@given(st.lists(graphs(), min_size=2, max_size=3), st.integers(0, 2**32))
def test_other_processes_and_lost_results(built: list[Graph], seed: int) -> None:
    """Several cores on one cache, interleaved: they see each other's results, and some that cannot be loaded."""
    rng = random.Random(seed)
    sims: list[Simulator] = []
    for n, graph in enumerate(built * 2):
        sim = Simulator(sims[0].cache if sims else None, lambda n: rng.randrange(n))
        sim._result = iter(range(n * 1000, (n + 1) * 1000))  # type: ignore[assignment]
        sim.flaky = n % 2 == 1
        sim.load("j", graph)
        sim.request(0, "j", graph, len(graph.steps) - 1)
        sims.append(sim)
    while any(sim.open for sim in sims):
        sim = rng.choice([sim for sim in sims if sim.open])
        sim.advance()
    for sim, graph in zip(sims, built * 2, strict=True):
        assert sim.finished == {0: graph.values()[-1][0]}
        finish(sim, ["j"])


@settings(max_examples=100, deadline=None)
@given(graphs(), st.integers(0, 2**32), st.sampled_from(["map", "exec"]))
def test_failures_reach_the_build(graph: Graph, seed: int, kind: str) -> None:
    rng = random.Random(seed)
    broken = rng.randrange(len(graph.steps))
    steps = list(graph.steps)
    steps[broken] = Step(**{**vars(steps[broken]), "fails": kind, "seed": "broken", "more": ()})
    graph = Graph(steps)
    sim = Simulator(choose=lambda n: rng.randrange(n))
    sim.load("j", graph)
    sim.request(0, "j", graph, len(steps) - 1)
    sim.run()
    reached = {len(steps) - 1}
    for n in range(len(steps) - 1, -1, -1):
        if n in reached:
            reached |= {i for i, _ in steps[n].inputs}
    if broken in reached:
        assert sim.finished == {0: f"failed: no {kind}"}
    else:
        assert sim.finished == {0: graph.values()[-1][0]}
    finish(sim, ["j"])


def test_transitions_only_rise() -> None:
    for start, ends in TRANSITIONS.items():
        assert all(end > start for end in ends)
    assert set(TRANSITIONS) == set(EdgeStatus)
    assert [status.label for status in EdgeStatus] == ["initial", "cache-fast", "cache-slow", "complete"]


def test_unknown_tickets_are_refused_with_the_story() -> None:
    sim = Simulator()
    graph = Graph([Step("v", "seed")])
    sim.load("j", graph)
    sim.request(0, "j", graph, 0)
    with pytest.raises(SchedulerError, match=r"ticket 77 is not open\nlast events:\n(.*\n)*.*Executed\(ticket=77"):
        sim.core.handle(Executed(77, ()))
    with pytest.raises(SchedulerError, match=r"is for .'map', 0., not for 'exec'"):
        sim.core.handle(Executed(1, ()))


def test_cancelled_without_cancel_is_refused() -> None:
    sim = Simulator()
    graph = Graph([Step("v", "seed")])
    sim.load("j", graph)
    sim.request(0, "j", graph, 0)
    with pytest.raises(SchedulerError, match="was not cancelled"):
        sim.core.handle(Cancelled(1))


def test_unknown_vertex() -> None:
    core = SchedulerCore()
    with pytest.raises(KeyError):
        core.handle(Requested(0, "nobody", EdgeId("sha256:x")))


def test_long_chains_and_wide_graphs_do_not_recurse() -> None:
    steps = [Step("v", "s0")] + [Step("v", f"s{i}", ((i - 1, 0),)) for i in range(1, 3000)]
    sim = Simulator()
    sim.core.check = lambda: None  # type: ignore[method-assign]
    graph = Graph(steps)
    sim.load("j", graph)
    sim.request(0, "j", graph, 2999)
    finish(sim, ["j"])
    assert sim.finished == {0: graph.values()[-1][0]}
    assert len(sim.executed) == 3000
