"""Golden traces: what the core is told and what it answers, written down for every scenario.

`pytest --snapshot-update` writes them anew; a trace that changed is a decision that changed.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from dockc.solver.cache.cachemanager import LocalCache
from dockc.solver.cache.storage.memory import MemoryKeyStorage, MemoryResultStorage
from dockc.solver.core.events import Execute, Executed, GraphLoaded, Output, VertexSpec
from dockc.solver.run.trace import TraceError, TraceWriter, decode, encode, read, replay
from dockc.solver.vertex import EdgeId
from tests.golden.collect import Case, Golden
from tests.solver.simulator import Graph, Simulator, Step
from tests.solver.world import build, make_solver, vtx

BASE = Step("base", "base")
CONTEXT = Step("context", "random:session")
COPY = Step("copy", "copy", ((0, 0), (1, 0)), frozenset({1}))
RUN = Step("run", "run", ((2, 0),))


def new_cache() -> LocalCache:
    return LocalCache(MemoryKeyStorage(), MemoryResultStorage())


def played(cache: LocalCache, graph: Graph, *requests: tuple[int, int]) -> Simulator:
    sim = Simulator(cache)
    sim.load("build", graph)
    for number, (n, output) in enumerate(requests):
        sim.request(number, "build", graph, n, output)
    sim.run()
    sim.close("build")
    return sim


def empty_cache() -> Simulator:
    return played(new_cache(), Graph([BASE, CONTEXT, COPY, RUN]), (3, 0))


def cached_by_content() -> Simulator:
    cache = new_cache()
    played(cache, Graph([BASE, CONTEXT, COPY, RUN]), (3, 0))
    return played(cache, Graph([BASE, Step("context", "random:session"), COPY, RUN]), (3, 0))


def last_step_changed() -> Simulator:
    cache = new_cache()
    played(cache, Graph([BASE, CONTEXT, COPY, RUN]), (3, 0))
    return played(cache, Graph([BASE, CONTEXT, COPY, Step("run", "run again", ((2, 0),))]), (3, 0))


def equal_keys_merge() -> Simulator:
    steps = [Step("alpine:3", "manifest"), Step("alpine@sha256", "manifest"), Step("a", "run", ((0, 0),))]
    return played(new_cache(), Graph([*steps, Step("b", "run", ((1, 0),))]), (2, 0), (3, 0))


def several_outputs() -> Simulator:
    steps = [
        BASE,
        Step("run", "two", ((0, 0),), outputs=2),
        Step("x", "x", ((1, 1),)),
        Step("y", "y", ((1, 0), (2, 0))),
    ]
    return played(new_cache(), Graph(steps), (3, 0))


def ignore_cache() -> Simulator:
    cache = new_cache()
    played(cache, Graph([BASE, Step("run", "run", ((0, 0),))]), (1, 0))
    return played(cache, Graph([Step("base", "base", ignore_cache=True), Step("run", "run", ((0, 0),))]), (1, 0))


def failure() -> Simulator:
    return played(
        new_cache(), Graph([BASE, Step("bad", "bad", ((0, 0),), fails="exec"), Step("t", "t", ((1, 0),))]), (2, 0)
    )


def withdrawn() -> Simulator:
    sim = Simulator()
    graph = Graph([BASE, Step("run", "run", ((0, 0),))])
    sim.load("build", graph)
    sim.request(0, "build", graph, 1)
    sim.advance()
    sim.withdraw(0)
    sim.run()
    sim.close("build")
    return sim


def two_builds() -> Simulator:
    sim = Simulator()
    graph = Graph([BASE, Step("run", "run", ((0, 0),))])
    for number, job in enumerate(("first", "second")):
        sim.load(job, graph)
        sim.request(number, job, graph, 1)
    sim.advance()
    sim.close("first")
    sim.run()
    sim.close("second")
    return sim


SCENARIOS = {
    f.__name__: f
    for f in (
        empty_cache, cached_by_content, last_step_changed, equal_keys_merge, several_outputs, ignore_cache, failure,
        withdrawn, two_builds,
    )
}  # fmt: skip


def text_of(sim: Simulator) -> str:
    """The trace with digests that can be read: the first eight digits."""
    lines = [f"> {encode(event)}\n" + "".join(f"< {encode(c)}\n" for c in commands) for event, commands in sim.log]
    return re.sub(r"sha256:([0-9a-f]{8})[0-9a-f]{56}", r"sha256:\1", "".join(lines))


@pytest.mark.parametrize("name", SCENARIOS)
def test_golden(name: str, golden: Golden) -> None:
    assert text_of(SCENARIOS[name]()) == golden(Case("solver/traces", name), "core.trace")


@pytest.mark.parametrize("name", SCENARIOS)
def test_traces_can_be_replayed(name: str, tmp_path: Path) -> None:
    sim = SCENARIOS[name]()
    writer = TraceWriter(tmp_path / "trace")
    for event, commands in sim.log:
        writer.record(event, commands)
    writer.close()
    lines = (tmp_path / "trace").read_text().splitlines()
    core = replay(read(lines))
    assert core.vertices.keys() == sim.core.vertices.keys()


def test_what_happened_in_the_scenarios() -> None:
    assert len(empty_cache().executed) == 4
    again = cached_by_content()
    assert (len(again.executed), again.loads) == (1, 1)
    assert len(last_step_changed().executed) == 2
    assert len(equal_keys_merge().executed) == 2
    assert len(ignore_cache().executed) == 2
    assert failure().finished == {0: "failed: no exec"}
    assert withdrawn().finished == {}
    assert list(two_builds().finished) == [1]


def test_replay_notices_a_difference() -> None:
    steps = empty_cache().log
    number = next(n for n, (_, commands) in enumerate(steps) if n > 2 and commands)
    with pytest.raises(TraceError, match=rf"^step {number + 1}: after .*CacheMapReady"):
        replay([*steps[:number], (steps[number][0], [])])


@pytest.mark.parametrize("line", ["> {", "> {}", '> {"Nothing": {}}', '> {"Executed": {"ticket": "x"}}', "?"])
def test_broken_traces(line: str) -> None:
    with pytest.raises(TraceError, match="not a line of a solver trace"):
        list(read([line]))


def test_messages_survive() -> None:
    for message in (
        Executed(4, (None, Output(2, ("a", "b")))),
        GraphLoaded("j", (VertexSpec("sha256:a", (EdgeId("sha256:b", 1),), ignore_cache=True),)),
    ):
        assert decode(encode(message)) == message


def test_environment_variable_names_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKC_SOLVER_TRACE", str(tmp_path / "trace"))

    async def main() -> None:
        async with make_solver() as solver:
            await build(solver, vtx("top", value=1, inputs=[vtx("base", value=2)]))

    asyncio.run(main())
    steps = list(read((tmp_path / "trace").read_text().splitlines()))
    replay(steps)
    assert sum(isinstance(command, Execute) for _, commands in steps for command in commands) == 2


def test_trace_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"cannot write the solver trace .*: No such file or directory"):
        TraceWriter(tmp_path / "no" / "trace")
