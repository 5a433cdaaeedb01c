"""What builds are told while they run."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from dockc.errors import SolveError, StoreError
from dockc.solver.lent import Key, Lent
from dockc.solver.op import STDERR, STDOUT, Later, OpContext
from dockc.solver.progress import PAUSE, Parts, SolveStatus, VertexEvent, VertexWarning
from dockc.solver.vertex import Edge
from tests.solver.test_scenarios import scenario
from tests.solver.world import CountingCache, build, make_solver, nap, vtx


class Sink:
    def __init__(self) -> None:
        self.events: list[VertexEvent] = []
        self.order: list[str] = []
        self.status = SolveStatus()

    def __call__(self, status: SolveStatus) -> None:
        self.events += status.vertexes
        self.order += [f"{e.name} {state(e)}" for e in status.vertexes]
        self.order += [log.data.decode() for log in status.logs]
        old = self.status
        self.status = SolveStatus(
            old.vertexes + status.vertexes,
            old.statuses + status.statuses,
            old.logs + status.logs,
            old.warnings + status.warnings,
        )

    def last(self) -> dict[str, str]:
        return {event.name: state(event) for event in self.events}


def state(event: VertexEvent) -> str:
    if event.started is None:
        return "announced"
    assert event.completed is None or event.completed >= event.started
    word = "started" if event.completed is None else "done"
    return word + (" cached" if event.cached else "") + (f" {event.error}" if event.error else "")


def graph(top: str = "top") -> Edge:
    return vtx(top, "top", 1, [vtx("mid", "mid", 2, [vtx("base", "base", 3)])])


@scenario
async def test_first_and_second_build() -> None:
    async with make_solver() as solver:
        sink = Sink()
        for built in await solver.solve(graph(), sink=sink):
            built.result.release()
        assert sink.order == [
            "base announced", "mid announced", "top announced",
            "base started", "base done",  # its key
            "base started", "base done",  # its run
            "mid started", "mid done", "top started", "top done",
        ]  # fmt: skip
        assert sink.events[1].inputs == (sink.events[0].digest,)
        sink = Sink()
        for built in await solver.solve(graph(), sink=sink):
            built.result.release()
        assert sink.last() == {"base": "done", "mid": "done cached", "top": "done cached"}
        # What was not needed is told before what was, in the order of the graph.
        assert sink.order[-3:] == ["mid done cached", "top started cached", "top done cached"]


@scenario
async def test_logs_parts_and_warnings() -> None:
    async def talk(ctx: OpContext) -> None:
        ctx.log(STDOUT, b"out")
        ctx.log(STDERR, b"err")
        ctx.log(STDERR, b"")
        await ctx.run_blocking(ctx.log, STDOUT, b"from a thread")
        ctx.status("layer", current=1, total=3)
        ctx.status("layer", current=3, total=3, done=True)
        ctx.warn(VertexWarning(ctx.vertex.digest, short="careful"))

    async with make_solver() as solver:
        sink = Sink()
        edge = vtx("talker", on_exec=talk)
        for built in await solver.solve(edge, sink=sink):
            built.result.release()
        assert [(log.vertex, log.stream, log.data) for log in sink.status.logs] == [
            (edge.vertex.digest, 1, b"out"),
            (edge.vertex.digest, 2, b"err"),
            (edge.vertex.digest, 1, b"from a thread"),
        ]
        first, last = sink.status.statuses
        assert (first.id, first.current, first.total, first.completed) == ("layer", 1, 3, None)
        assert (last.started, last.current) == (first.started, 3)
        assert last.completed is not None
        assert [warning.short for warning in sink.status.warnings] == ["careful"]
        # Everything a step says stands between its start and its end.
        assert sink.order.index("talker started") < sink.order.index("out")
        assert sink.order[-1] == "talker done"


@scenario
async def test_work_that_waits_for_somebody_who_needs_it() -> None:
    laters: list[Later] = []

    async def postpone(ctx: OpContext) -> None:
        laters.append(ctx.later(waiting=True))

    async with make_solver() as solver:
        sink = Sink()
        async with solver.job(sink=sink) as job:
            (built,) = await job.build(vtx("top", "top", 1, on_cache_map=postpone))
            assert [event.waiting for event in sink.events if event.completed] == [True, True]
            (later,) = laters
            later.begin()
            later.begin()  # two steps need it at once
            later.status("part", current=1, total=3)
            later.status("part", current=3, total=3, done=True)
            later.end()
            later.end()
            solver.runner.post()
            assert sink.order[-2:] == ["top started", "top done"]
            assert not sink.events[-1].waiting
            assert [(one.current, one.completed is not None) for one in sink.status.statuses] == [(1, False), (3, True)]
            assert later.alive
            job.let_go(built)
        assert not later.alive


@scenario
async def test_what_still_works_is_not_cached() -> None:
    """The layers of an image come for one step when another step on the same image starts."""
    laters: list[Later] = []
    coming, started = asyncio.Event(), asyncio.Event()

    async def postpone(ctx: OpContext) -> None:
        laters.append(ctx.later(waiting=True))

    async def need_layers(ctx: OpContext) -> None:
        laters[0].begin()
        coming.set()
        await started.wait()
        laters[0].end()

    async def wait(ctx: OpContext) -> None:
        await coming.wait()

    async def start(ctx: OpContext) -> None:
        started.set()

    async with make_solver() as solver:
        sink = Sink()
        image = vtx("image", "image", 1, on_cache_map=postpone)
        one = vtx("one", "one", 2, [image], on_exec=need_layers)
        two = vtx("two", "two", 3, [image, vtx("slow", "slow", 4, on_exec=wait)], on_exec=start)
        for built in await solver.solve(one, two, sink=sink):
            built.result.release()
        assert sink.last() == {"image": "done", "one": "done", "two": "done", "slow": "done"}
        assert not any(event.cached for event in sink.events)


@scenario
async def test_files_that_come_say_nothing_about_inputs() -> None:
    """A step is seen to fetch what it is to read before anybody knows whether the steps below it have to run."""

    async def fetch(ctx: OpContext) -> None:
        later = ctx.later(waiting=False)
        later.begin()
        later.end()

    async with make_solver() as solver:
        sink = Sink()
        below = vtx("below", "below", 1)
        for built in await solver.solve(vtx("top", "top", 2, [below], on_cache_map=fetch), sink=sink):
            built.result.release()
        assert sink.last() == {"below": "done", "top": "done"}
        assert not any(event.cached for event in sink.events)


def test_parts_are_told_as_often_as_people_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(1_000 * PAUSE, PAUSE // 4)
    monkeypatch.setattr("dockc.solver.progress.time.time_ns", lambda: next(clock))
    sink = Sink()
    parts = Parts("sha256:v", sink)
    for current in range(100):
        parts.status("layer", current=current, total=100)
    parts.status("layer", current=100, total=100, done=True)
    told = [one.current for one in sink.status.statuses]
    assert told == [*range(0, 100, 4), 100]
    assert len({one.started for one in sink.status.statuses}) == 1


@scenario
async def test_failure_and_what_it_stops() -> None:
    async def fail(ctx: OpContext) -> None:
        await asyncio.sleep(0.02)
        raise SolveError("broken")

    async with make_solver() as solver:
        sink = Sink()
        edge = vtx("top", "top", 1, [vtx("bad", on_exec=fail), vtx("long", on_exec=nap(60))])
        with pytest.raises(SolveError):
            await solver.solve(edge, sink=sink)
        assert sink.last() == {"bad": "done broken", "long": "done context canceled", "top": "announced"}


@scenario
async def test_cancelled_build_closes_its_steps() -> None:
    async with make_solver() as solver:
        sink = Sink()
        task = asyncio.ensure_future(solver.solve(vtx("long", on_exec=nap(60)), sink=sink))
        await asyncio.sleep(0.03)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sink.last() == {"long": "done context canceled"}


@scenario
async def test_two_builds_hear_of_shared_steps() -> None:
    async with make_solver() as solver:
        one, two = Sink(), Sink()
        slow = vtx("shared", on_exec=nap(0.05))
        results = await asyncio.gather(solver.solve(slow, sink=one), solver.solve(slow, sink=two))
        for (built,) in results:
            built.result.release()
        assert one.last() == two.last() == {"shared": "done"}


@scenario
async def test_builds_hear_of_steps_they_were_merged_with() -> None:
    async with make_solver() as solver:
        one, two = Sink(), Sink()

        def steps(name: str) -> Edge:
            source = vtx(f"source {name}", "source", 1, on_exec=nap(0.05))
            return vtx(f"top {name}", "top", 2, [vtx(f"mid {name}", "mid", 3, [source], on_exec=nap(0.02))])

        results = await asyncio.gather(solver.solve(steps("a"), sink=one), solver.solve(steps("b"), sink=two))
        for (built,) in results:
            built.result.release()
        for sink in (one, two):
            assert "done" in (sink.last().get("top a"), sink.last().get("top b"))


SECRET: Key[int] = Key("secret")


@scenario
async def test_what_is_lent_comes_from_the_build() -> None:
    seen = []

    async def ask(ctx: OpContext) -> None:
        seen.append((SECRET.of(ctx), Key[int]("nothing").of(ctx)))

    async with make_solver() as solver:
        for built in await solver.solve(vtx("v", on_exec=ask), lends=Lent().put(SECRET, 42)):
            built.result.release()
    assert seen == [(42, None)]


class Broken(CountingCache):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def query(self, *args: object, **kwargs: object) -> tuple[str, ...]:
        raise self.error


@scenario
async def test_cache_that_fails() -> None:
    async with make_solver(Broken(StoreError("the disk is full"))) as solver:
        with pytest.raises(StoreError, match="the disk is full"):
            await build(solver, graph())
        assert not solver.runner.core.vertices


@scenario
async def test_cache_with_a_bug() -> None:
    """An error that nobody foresaw ends every build and hangs none."""
    async with make_solver(Broken(ZeroDivisionError("bug"))) as solver:
        with pytest.raises(ZeroDivisionError):
            await build(solver, graph())
        with pytest.raises(ZeroDivisionError):
            await build(solver, graph())
    assert not solver.runner.handles
