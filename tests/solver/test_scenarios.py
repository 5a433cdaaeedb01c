"""Whole builds on the runner: what is asked, run and loaded, and how often.

The names are those that the field uses for these situations. The core checks its own rules after every event.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dockc.errors import SolveError
from dockc.solver.cache.combined import CombinedCache
from dockc.solver.cache.storage.memory import MemoryResultStorage
from dockc.solver.op import OpContext
from dockc.solver.run.jobs import Job, Solver
from dockc.solver.vertex import Edge
from tests.solver.world import (
    CountingCache,
    Value,
    add_each,
    add_up,
    build,
    const,
    count,
    make_solver,
    meeting,
    nap,
    op_of,
    vtx,
)


def scenario(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 60))

    del run.__wrapped__
    return run


@scenario
async def test_single_level_active_graph() -> None:
    """Equal digests share one vertex, equal keys one edge, as long as somebody holds them."""
    async with make_solver() as solver:
        j0, j1, j2, j3 = (solver.job(f"j{i}") for i in range(4))
        g0 = vtx("v0", "seed0", "result0")
        n0 = count(g0)
        (r,) = await j0.build(g0)
        assert r.result.value == "result0"
        r.result.release()
        assert (n0.cache_maps, n0.execs) == (1, 1)

        g1 = vtx("v0", "other-seed", "result1")  # the same vertex digest
        n1 = count(g1)
        (r,) = await j1.build(g1)
        assert r.result.value == "result0"
        r.result.release()
        assert (n1.cache_maps, n1.execs) == (0, 0)

        g2 = vtx("v1", "seed0", "result2")  # another digest, the same key
        n2 = count(g2)
        (r,) = await j2.build(g2)
        assert r.result.value == "result0"
        r.result.release()
        assert (n2.cache_maps, n2.execs) == (1, 0)

        g3 = vtx("v2", "seed2", "result3")
        (r,) = await j3.build(g3)
        assert r.result.value == "result3"
        r.result.release()
        for job in (j0, j1, j2, j3):
            await job.close()
        assert not solver.runner.core.vertices
        assert not solver.runner.handles


@scenario
async def test_single_level_active_graph_while_running() -> None:
    """Two builds that ask for equal work while it runs get the same result, run once."""
    async with make_solver() as solver:
        g0 = vtx("v0", "seed0", "result0", on_cache_map=nap(0.02), on_exec=nap(0.05))
        g1 = vtx("v1", "seed0", "result1", on_exec=nap(0.05))
        n = count(g0, g1)
        assert [*await asyncio.gather(build(solver, g0), build(solver, g1))] == ["result1", "result1"]
        assert (n.cache_maps, n.execs) == (2, 1)


@scenario
async def test_single_level_cache() -> None:
    cache = CountingCache()
    async with make_solver(cache) as solver:
        assert await build(solver, vtx("v0", "seed0", "result0")) == "result0"
        assert await build(solver, vtx("v1", "seed1", "result1")) == "result1"
        g2 = vtx("v2", "seed0", "result2")
        n = count(g2)
        assert await build(solver, g2) == "result0"
        assert (n.cache_maps, n.execs, cache.loads) == (1, 0, 1)


@scenario
async def test_single_level_cache_parallel() -> None:
    """Equal keys become known at the same time: one of them runs."""
    async with make_solver() as solver:
        hook = meeting(2)
        g0 = vtx("v0", "seed0", "result", on_cache_map=hook, on_exec=nap(0.01))
        g1 = vtx("v1", "seed0", "result", on_cache_map=hook, on_exec=nap(0.01))
        n = count(g0, g1)
        assert [*await asyncio.gather(build(solver, g0), build(solver, g1))] == ["result", "result"]
        assert (n.cache_maps, n.execs) == (2, 1)


@scenario
async def test_multi_level_cache_parallel() -> None:
    async with make_solver() as solver:
        hook = meeting(2)
        g0 = vtx("v0", "seed0", "r", [vtx("v1", "seed1", "r1", on_cache_map=hook, on_exec=nap(0.01))])
        g1 = vtx("w0", "seed0", "r", [vtx("w1", "seed1", "r1", on_cache_map=hook, on_exec=nap(0.01))])
        n = count(g0, g1)
        assert [*await asyncio.gather(build(solver, g0), build(solver, g1))] == ["r", "r"]
        assert (n.cache_maps, n.execs) == (4, 2)


async def cancelled(ctx: OpContext) -> None:
    await asyncio.Event().wait()


@scenario
async def test_single_cancel_cache() -> None:
    async with make_solver() as solver:
        task = asyncio.ensure_future(build(solver, vtx("v0", on_cache_map=cancelled)))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not solver.runner.core.vertices
        assert solver.runner.core.open_tickets == 0


@scenario
async def test_single_cancel_exec() -> None:
    async with make_solver() as solver:
        ended = []
        started = asyncio.Event()

        async def hang(ctx: OpContext) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(ctx.cancelled.is_set())

        task = asyncio.ensure_future(build(solver, vtx("v0", inputs=[vtx("v1", value=1)], on_exec=hang)))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]
        assert not solver.runner.handles
        assert solver.runner.core.open_tickets == 0


@scenario
async def test_cancel_waits_for_threads() -> None:
    """Nothing of a step goes on when the cancelled build has returned."""
    async with make_solver() as solver:
        state = []

        async def in_thread(ctx: OpContext) -> None:
            def work() -> None:
                state.append("started")
                ctx.cancelled.wait(60)
                state.append("ended")

            await ctx.run_blocking(work)

        task = asyncio.ensure_future(build(solver, vtx("v0", on_exec=in_thread)))
        while not state:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert state == ["started", "ended"]


@scenario
async def test_what_a_thread_makes_for_a_cancelled_step_is_released() -> None:
    """The thread of a step that is cancelled may end with a result: nobody else could give that up."""
    one, two, alone = (Value("lost") for _ in range(3))
    async with make_solver() as solver:
        loop = asyncio.get_running_loop()
        begun = asyncio.Semaphore(0)

        async def in_threads(ctx: OpContext) -> None:
            def work(given: object) -> object:
                loop.call_soon_threadsafe(begun.release)
                ctx.cancelled.wait(60)
                return given

            works = (ctx.run_blocking(work, given) for given in ([one, None, two], alone, "nothing held"))
            await asyncio.gather(*works, return_exceptions=True)

        task = asyncio.ensure_future(build(solver, vtx("v0", on_exec=in_threads)))
        for _ in range(3):
            await begun.acquire()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [made.released for made in (one, two, alone)] == [1, 1, 1]


@scenario
async def test_results_of_a_build_that_is_cancelled_as_it_ends_are_released() -> None:
    """They are there, and the build waits for what else it began: nobody gets them any more."""
    kept = MemoryResultStorage()
    async with make_solver(CountingCache(results=kept)) as solver:
        edge = vtx("v0", "seed0", "result0")
        idle, closing = solver.runner.idle, asyncio.Event()
        go = asyncio.Event()

        async def late(job: str | None = None) -> None:
            closing.set()
            await go.wait()
            await idle(job)

        solver.runner.idle = late  # type: ignore[method-assign]
        task = asyncio.ensure_future(solver.solve(edge))
        await closing.wait()
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        solver.runner.idle = idle  # type: ignore[method-assign]
    kept.close()
    (made,) = op_of(edge).results
    assert made.released == 1


@scenario
async def test_single_cancel_parallel() -> None:
    """One of two interested builds is cancelled: the work goes on for the other."""
    async with make_solver() as solver:
        go = asyncio.Event()

        async def wait(ctx: OpContext) -> None:
            await go.wait()

        g = vtx("v0", "seed0", "result0", on_exec=wait)
        n = count(g)
        first = asyncio.ensure_future(build(solver, g))
        second = asyncio.ensure_future(build(solver, g))
        await asyncio.sleep(0.02)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go.set()
        assert await second == "result0"
        assert n.execs == 1


@scenario
async def test_cancel_then_again() -> None:
    """Work that is being cancelled when it is wanted again is started anew."""
    async with make_solver() as solver:
        tries = []

        async def slow_to_die(ctx: OpContext) -> None:
            tries.append(1)
            if len(tries) == 1:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    await asyncio.sleep(0.05)
                    raise

        g = vtx("v0", "seed0", "result0", on_exec=slow_to_die)
        async with solver.job() as keeper:
            first = asyncio.ensure_future(keeper.build(g))
            await asyncio.sleep(0.02)
            first.cancel()
            await asyncio.sleep(0.01)
            (r,) = await keeper.build(g)
            assert r.result.value == "result0"
            r.result.release()
            with pytest.raises(asyncio.CancelledError):
                await first
        assert len(tries) == 2


@scenario
async def test_multi_level_calculation() -> None:
    async with make_solver() as solver:
        g = add_up(
            0,
            add_up(0, add_up(0, const(7), const(2)), const(7)),
            add_up(7, add_up(6, const(2), const(7))),
        )
        n = count(g)
        assert await build(solver, g) == 38
        assert n.cache_maps == 10
        assert n.execs == 7  # five constants, of which two are different
        n = count(g)
        assert await build(solver, g) == 38
        assert (n.cache_maps, n.execs) == (10, 0)


def sub_graph(rng: random.Random, nodes: int) -> tuple[Edge, int]:
    if nodes == 1:
        value = rng.randrange(500)
        return const(value), value
    step = -(-nodes // rng.randrange(2, 7))
    added, total, inputs = 1, 0, []
    while added < nodes:
        edge, value = sub_graph(rng, min(step, nodes - added))
        inputs.append(edge)
        total += value
        added += step
    extra = rng.randrange(500)
    return add_up(extra, *inputs), total + extra


@scenario
async def test_huge_graph() -> None:
    cache = CountingCache()
    async with make_solver(cache) as solver:
        g, value = sub_graph(random.Random(7), 300)
        n = count(g)
        assert await build(solver, g) == value
        assert n.execs <= n.cache_maps
        n = count(g)
        assert await build(solver, g) == value
        assert (n.execs, cache.loads) == (0, 1)


@scenario
async def test_optimized_cache_access() -> None:
    """An input that matches by definition is not loaded while another is tried by content."""
    cache = CountingCache()
    async with make_solver(cache) as solver:
        g0 = vtx("v0", "seed0", "result0", [vtx("v1", "seed1", "result1"), vtx("v2", "seed2", "result2")], slow=[1])
        n = count(g0)
        assert await build(solver, g0) == "result0"
        assert (n.cache_maps, n.execs, cache.loads) == (3, 3, 0)
        g1 = vtx("v0", "seed0", "-", [vtx("v1", "seed1", "-"), vtx("v2+", "seed2+", "result2")], slow=[1])
        n = count(g1)
        assert await build(solver, g1) == "result0"
        assert (n.cache_maps, n.execs, cache.loads) == (3, 1, 1)


@scenario
async def test_optimized_cache_access_2() -> None:
    """Content is asked first of those inputs that do not match by definition."""
    cache = CountingCache()
    async with make_solver(cache) as solver:

        def graph(seed1: str, v2: str, seed2: str) -> Edge:
            return vtx(
                "v0", "seed0", "-" if v2 != "v2" else "result0",
                [vtx("v1" + seed1, seed1, "result1"), vtx(v2, seed2, "result2")], slow=[0, 1],
            )  # fmt: skip

        assert await build(solver, graph("seed1", "v2", "seed2")) == "result0"
        assert cache.loads == 0
        g1 = graph("seed1", "v2+", "seed2+")
        n = count(g1)
        assert await build(solver, g1) == "result0"
        assert (n.cache_maps, n.execs, cache.loads) == (3, 1, 1)
        g2 = graph("seed1+", "v2++", "seed2++")
        n = count(g2)
        assert await build(solver, g2) == "result0"
        assert (n.cache_maps, n.execs, cache.loads) == (3, 2, 2)


@scenario
async def test_slow_cache() -> None:
    async with make_solver() as solver:
        assert (
            await build(solver, vtx("v0", "seed0", "result0", [vtx("v1", "seed1", "result1")], slow=[0])) == "result0"
        )
        g1 = vtx("v2", "seed0", "-", [vtx("v3", "seed3", "result1")], slow=[0])
        assert await build(solver, g1) == "result0"
        # The definition of v3 leads to the result by itself from now on.
        g2 = vtx("v4", "seed0", "-", [vtx("v5", "seed3", "-")], slow=[0])
        n = count(g2)
        assert await build(solver, g2) == "result0"
        assert (n.execs, n.digests) == (0, 0)


@scenario
async def test_slow_cache_error_releases_inputs() -> None:
    async with make_solver() as solver:
        v1 = vtx("v1", "seed1", "result1")
        g = vtx("v0", "seed0", "result0", [v1], slow=[0])

        async def broken(ctx: OpContext, result: object) -> str:
            raise SolveError("no digest")

        op_of(g)._content = broken  # type: ignore[method-assign]
        with pytest.raises(SolveError, match="no digest") as caught:
            await build(solver, g)
        assert caught.value.vertex == g.vertex.digest
    assert [r.released for r in op_of(v1).results] == [0]  # the cache keeps it
    assert not solver.runner.handles


@scenario
async def test_parallel_inputs() -> None:
    async with make_solver() as solver:
        maps, runs = meeting(2), meeting(2)
        g = vtx(
            "v0", "seed0", "result0",
            [
                vtx("v1", "seed1", "r1", on_cache_map=maps, on_exec=runs),
                vtx("v2", "seed2", "r2", on_cache_map=maps, on_exec=runs),
            ],
        )  # fmt: skip
        n = count(g)
        assert await build(solver, g) == "result0"
        assert (n.cache_maps, n.execs) == (3, 3)


@scenario
async def test_parallelism_limit() -> None:
    running, most = 0, 0

    async def watch(ctx: OpContext) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    async with make_solver(parallelism=3) as solver:
        await build(solver, add_up(0, *(const(i, on_exec=watch) for i in range(12))))
    assert most == 3


@scenario
async def test_error_returns() -> None:
    """The first failure is the build's; the other input is cancelled."""
    async with make_solver() as solver:
        stopped = asyncio.Event()

        async def fail(ctx: OpContext) -> None:
            raise SolveError("error-from-test")

        async def endless(ctx: OpContext) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        for where, message in (("on_cache_map", "failed to load cache key: error-from-test"), ("on_exec", "error-from-test")):
            stopped.clear()
            first: dict[str, Any] = {where: endless}
            second: dict[str, Any] = {where: fail}
            g = vtx(
                "v0", "seed0", "result0",
                [vtx("v1" + where, value=1, **first), vtx("v2" + where, value=2, **second)],
            )  # fmt: skip
            with pytest.raises(SolveError, match=f"^{message}$") as caught:
                await build(solver, g)
            assert caught.value.vertex == g.vertex.inputs[1].vertex.digest
            assert stopped.is_set()
            assert not solver.runner.core.vertices


@scenario
async def test_foreign_error_names_the_step() -> None:
    async with make_solver() as solver:

        async def fail(ctx: OpContext) -> None:
            raise ValueError("odd")

        with pytest.raises(SolveError, match=r"^v0: odd$") as caught:
            await build(solver, vtx("v0", on_exec=fail))
        assert isinstance(caught.value.__cause__, ValueError)


@scenario
async def test_missing_output() -> None:
    async with make_solver() as solver:
        g = vtx("v0", value=1)
        with pytest.raises(SolveError, match="has no output 3: it gave 1"):
            await build(solver, Edge(g.vertex, 3))


@scenario
async def test_failed_vertex_is_shared() -> None:
    async with make_solver() as solver:

        async def fail(ctx: OpContext) -> None:
            raise SolveError("once")

        g = vtx("v0", on_exec=fail)
        n = count(g)
        async with solver.job() as job:
            for _ in range(2):
                with pytest.raises(SolveError, match="once"):
                    await job.build(g)
        with pytest.raises(SolveError, match="once"):
            await build(solver, g)
        assert n.cache_maps == 2  # once while active, once more in the next build


@scenario
async def test_multiple_cache_sources() -> None:
    first = CountingCache()
    async with make_solver(first) as solver:
        assert await build(solver, vtx("v0", "seed0", "result0", [vtx("v1", "seed1", "result1")])) == "result0"
    second = CountingCache()
    async with make_solver(CombinedCache(second, [first])) as solver:
        g1 = vtx("v0", "seed0", "-", [vtx("v1", "seed1", "-")])
        n = count(g1)
        assert await build(solver, g1) == "result0"
        assert (n.execs, first.loads, second.loads) == (0, 1, 0)
        assert await build(solver, vtx("v2", "seed2", "result2", [g1])) == "result2"
        assert first.loads + second.loads == 2
    # What came from the first source is in the second now, with all its keys.
    async with make_solver(second) as solver:
        g2 = vtx("v0", "seed0", "-", [vtx("v1", "seed1", "-")])
        n = count(g2)
        assert await build(solver, g2) == "result0"
        assert n.execs == 0


@scenario
async def test_repeat_build_with_ignore_cache() -> None:
    async with make_solver() as solver:

        def graph(result: str, top: bool, below: bool) -> Edge:
            v1 = vtx("v1", "seed1", "x" + result, ignore_cache=below)
            return vtx("v0", "seed0", result, [v1], ignore_cache=top)

        for result, top, below in (("a", False, False), ("b", True, True), ("c", False, True)):
            g = graph(result, top, below)
            n = count(g)
            assert await build(solver, g) == result
            assert (n.cache_maps, n.execs) == (2, 2)
        g = graph("d", False, False)
        n = count(g)
        assert await build(solver, g) == "c"  # the newest
        assert n.execs == 0


@scenario
async def test_ignore_cache_resume_from_slow_cache() -> None:
    """The user of a vertex that had to run is cached when the content has stayed the same."""
    async with make_solver() as solver:
        assert (
            await build(solver, vtx("v0", "seed0", "result0", [vtx("v1", "seed1", "result1")], slow=[0])) == "result0"
        )
        g1 = vtx("v0", "seed0", "-", [vtx("v1", "seed1", "result1", ignore_cache=True)], slow=[0])
        n = count(g1)
        assert await build(solver, g1) == "result0"
        assert (n.cache_maps, n.execs) == (2, 1)
        # But not when it has changed.
        g2 = vtx("v0", "seed0", "result0+", [vtx("v1", "seed1", "result1+", ignore_cache=True)], slow=[0])
        n = count(g2)
        assert await build(solver, g2) == "result0+"
        assert n.execs == 2


@scenario
async def test_parallel_builds_ignore_cache() -> None:
    async with make_solver() as solver:
        jobs = [solver.job(f"j{i}") for i in range(6)]

        async def value(i: int, edge: Edge) -> object:
            (r,) = await jobs[i].build(edge)
            r.result.release()
            return r.result.value

        assert await value(0, vtx("v0", "seed0", "result0")) == "result0"
        # The same vertex, but it must run: it is not the active one.
        assert await value(1, vtx("v0", "seed1", "result1", ignore_cache=True)) == "result1"
        assert await value(2, vtx("v2", "seed2", "result2")) == "result2"
        # The same key, but it must run.
        assert await value(3, vtx("v3", "seed2", "result3", ignore_cache=True)) == "result3"
        # Another one that must run joins it, and so does one that may be cached.
        assert await value(4, vtx("v4", "seed2", "result4", ignore_cache=True)) == "result3"
        assert await value(5, vtx("v5", "seed2", "result5")) == "result3"
        for job in jobs:
            await job.close()
        assert not solver.runner.core.vertices


@scenario
async def test_cache_with_selector() -> None:
    cache = CountingCache()
    async with make_solver(cache) as solver:

        def graph(result: str, selector: str) -> Edge:
            return vtx("v0", "seed0", result, [vtx("v1", "seed1", "r1")], selectors={0: selector})

        n = count(g := graph("result0", "sel0"))
        assert await build(solver, g) == "result0"
        assert (n.cache_maps, n.execs, cache.loads) == (2, 2, 0)
        n = count(g := graph("-", "sel0"))
        assert await build(solver, g) == "result0"
        assert (n.cache_maps, n.execs, cache.loads) == (2, 0, 1)
        n = count(g := graph("result1", "sel1"))
        assert await build(solver, g) == "result1"
        assert (n.cache_maps, n.execs, cache.loads) == (2, 1, 2)


@scenario
async def test_cache_slow_with_selector() -> None:
    cache = CountingCache()
    async with make_solver(cache) as solver:

        def graph(result: str, selector: str) -> Edge:
            return vtx("v0", "seed0", result, [vtx("v1", "seed1", "r1")], selectors={0: selector}, slow=[0])

        n = count(g := graph("result0", "sel0"))
        assert await build(solver, g) == "result0"
        assert (n.cache_maps, n.execs, cache.loads) == (2, 2, 0)
        n = count(g := graph("-", "sel1"))
        assert await build(solver, g) == "result0"
        assert (n.cache_maps, n.execs, cache.loads) == (2, 0, 2)


@scenario
async def test_slow_cache_avoid_access() -> None:
    """No content is looked at while the user's own cache map is still being made."""
    cache = CountingCache()
    async with make_solver(cache) as solver:
        v1 = vtx("v1", "seed1", "r1", [vtx("v2", "seed2", "r2")], selectors={0: "sel0"}, slow=[0])
        g = vtx("v0", "seed0", "result0", [v1], on_cache_map=nap(0.05))
        assert await build(solver, g) == "result0"
        assert cache.loads == 0
        n = count(g)
        assert await build(solver, g) == "result0"
        assert (n.cache_maps, n.execs, n.digests, cache.loads) == (3, 0, 0, 1)


@scenario
async def test_slow_cache_avoid_load_on_cache() -> None:
    """An input that matches is not loaded for its content before those without a match have had their turn."""
    cache = CountingCache()
    async with make_solver(cache) as solver:

        def graph(seed3: str) -> Edge:
            v1 = vtx("v1" + seed3, "seed1", "r1", [vtx("v3" + seed3, seed3, "r3")], slow=[0], on_exec=nap(0.02))
            v0 = vtx("v0" + seed3, "seed0", "r0", [v1, vtx("v2", "seed2", "r2")], slow=[1])
            return vtx("vmain" + seed3, "seedmain", "resultmain", [v0])

        assert await build(solver, graph("seed3")) == "resultmain"
        assert cache.loads == 0
        n = count(g := graph("seed3-new"))
        assert await build(solver, g) == "resultmain"
        assert (n.cache_maps, n.execs, cache.loads) == (5, 1, 1)


@scenario
async def test_cache_multiple_maps() -> None:
    async with make_solver() as solver:
        assert await build(solver, vtx("v0", "seed0", "result0", seeds=["seed1", "seed2"])) == "result0"
        g1 = vtx("v1", "seed1", "-", seeds=["seed3"])
        assert await build(solver, g1) == "result0"
        assert solver.runner.core.open_tickets == 0
        g2 = vtx("v2", "seed3", "-", seeds=["seed2"])
        n = count(g2)
        assert await build(solver, g2) == "result0"
        assert n.execs == 0


@scenario
async def test_cache_input_multiple_maps() -> None:
    async with make_solver() as solver:
        g0 = vtx("v0", "seed0", "result0", [vtx("v1", "seed1", "r1", seeds=["seed2"])])
        assert await build(solver, g0) == "result0"
        g1 = vtx("v0", "seed0", "-", [vtx("v1+", "seed1.changed", "-", seeds=["seed2"])])
        n = count(g1)
        assert await build(solver, g1) == "result0"
        assert n.execs == 0


@scenario
async def test_merged_edges_lookup() -> None:
    for _ in range(20):
        cache = CountingCache()
        async with make_solver(cache) as solver:
            g = add_up(3, add_up(0, add_up(2, const(2)), const(0)), add_up(2, const(2)))
            n = count(g)
            assert await build(solver, g) == 11
            assert (n.cache_maps, n.execs, cache.loads) == (7, 5, 0)


@scenario
async def test_merged_edges_cycle() -> None:
    """Two vertices of equal key, wanted crosswise."""
    for order in ((1, 0, 0, 1), (0, 1, 0, 1), (0, 0, 1, 1), (1, 1, 0, 0)):
        async with make_solver() as solver:
            va = add_each(2, const(3), const(4), name="va").vertex
            vb = add_each(2, const(3), const(4), name="vb").vertex
            a, b, c, d = order
            g = add_up(1, Edge(va, a), Edge(vb, b), Edge(va, c), Edge(vb, d))
            assert await build(solver, g) == 1 + sum(5 + i for i in order)
            assert not solver.runner.core.vertices


@scenario
async def test_merged_edges_cycle_multiple_owners() -> None:
    for _ in range(5):
        async with make_solver() as solver:
            va, vb, vc = (add_each(2, const(3), const(4), const(5), name=name).vertex for name in ("va", "vb", "vc"))
            pairs = ((vb, 0), (va, 0), (vc, 1), (va, 1), (va, 2), (vb, 2))
            g = add_up(1, *(Edge(v, i) for v, i in pairs))
            assert await build(solver, g) == 37
            assert not solver.runner.core.vertices
            assert not solver.runner.handles


@scenario
async def test_cache_load_error() -> None:
    """What cannot be loaded is run."""
    cache = CountingCache()
    async with make_solver(cache) as solver:
        g = add_up(3, add_up(0, add_up(2, const(2)), const(0)), add_up(2, const(2)))
        n = count(g)
        assert await build(solver, g) == 11
        assert (n.cache_maps, n.execs, cache.loads) == (7, 5, 0)
        n = count(g)
        assert await build(solver, g) == 11
        assert (n.cache_maps, n.execs, cache.loads) == (7, 0, 1)
        cache.refuse = True
        n = count(g)
        assert await build(solver, g) == 11
        assert (n.cache_maps, n.execs, cache.loads) == (7, 5, 6)


@scenario
async def test_input_request_deadlock() -> None:
    async with make_solver() as solver:

        def graph(top: str, s1: str, s2: str, slow: tuple[int, ...] = ()) -> Edge:
            return vtx("v0" + top, top, "r0", [vtx("v1", s1, "r1"), vtx("v2", s2, "r2")], slow=slow)

        await build(solver, graph("seed0", "seed1", "seed2"))
        await build(solver, graph("seed0-1", "seed1-1", "seed2-1"))
        n = count(g := graph("seed0-1", "seed1", "seed2-1", (1,)))
        await build(solver, g)
        assert n.execs == 1


@scenario
async def test_stale_edge_merge() -> None:
    """An edge that others have merged into lives as long as one of their builds does."""
    async with make_solver() as solver:
        core = solver.runner.core
        dep = [const(1, name=f"dep{i}") for i in range(3)]
        v = [add_each(2, dep[i], name=f"v{i}") for i in range(3)]
        jobs = [solver.job(f"j{i}") for i in range(3)]
        for i in range(2):
            (r,) = await jobs[i].build(v[i])
            r.result.release()

        def holders(edge: Edge) -> set[str]:
            state = core.vertices.get(edge.vertex.digest)
            return {name.split("-")[0] for name in state.jobs} if state else set()

        assert holders(v[0]) == holders(dep[0]) == {"j0", "j1"}
        assert holders(v[1]) == holders(dep[1]) == {"j1"}
        await jobs[0].close()
        assert holders(v[0]) == holders(dep[0]) == {"j1"}
        (r,) = await jobs[2].build(v[2])
        r.result.release()
        assert holders(v[0]) == holders(dep[0]) == {"j1", "j2"}
        await jobs[1].close()
        assert holders(v[0]) == holders(dep[0]) == {"j2"}
        assert holders(v[1]) == holders(dep[1]) == set()
        await jobs[2].close()
        assert not core.vertices
        assert len(core.index) == 0


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_cache_miss_stale_complete_shared_dep(hold: bool, warm: bool, same: bool) -> None:
    """A complete input that another build keeps active offers the keys it was saved under."""

    async def run(ignore: bool) -> int:
        async with make_solver() as solver:

            def base(value: str) -> Edge:
                return vtx("base", "base-seed", value, ignore_cache=ignore)

            if warm:
                await build(solver, base("base-warm"))
            assert (
                await build_held(solver, vtx("step", "step-seed", "result", [base("b")]), base("b"), hold) == "result"
            )
            g = vtx("step" if same else "step-2", "step-seed", "again", [base("b2")])
            n = count(g)
            await build(solver, g)
            for job in held:
                await job.close()
            held.clear()
            return n.execs

    held: list[Job] = []

    async def build_held(solver: Solver, edge: Edge, shared: Edge, hold: bool) -> object:
        first = solver.job("a1")
        (r,) = await first.build(edge)
        value = r.result.value
        r.result.release()
        if hold:
            held.append(solver.job("b"))
            (r,) = await held[0].build(shared)
            r.result.release()
        await first.close()
        return value

    assert asyncio.run(run(False)) == 0
    assert asyncio.run(run(True)) > 0


@scenario
async def test_results_are_released_once() -> None:
    """Every result that was made is given back, and only the cache holds some."""
    cache = CountingCache()
    async with make_solver(cache) as solver:
        edges = [const(i) for i in range(5)]
        g = add_up(1, *edges)
        assert await build(solver, g) == 11
    assert not solver.runner.handles
    made: list[Value] = [r for e in (*edges, g) for r in op_of(e).results]
    assert all(r.released == 0 for r in made)
    cache.results.close()  # type: ignore[attr-defined]
    assert all(r.released == 1 for r in made)


@scenario
async def test_unfindable_results_are_not_kept() -> None:
    """A source with a random key is not stored, but what reads it by content is."""
    cache = CountingCache()
    async with make_solver(cache) as solver:
        local = vtx("local-1", "random:aa", "files")
        g = vtx("copy", "copy-seed", "copied", [local], slow=[0])
        assert await build(solver, g) == "copied"
        assert op_of(local).results[0].released == 1
        assert not any(key.startswith("random:") for key in tuple(cache.keys.keys()))
        g2 = vtx("copy-2", "copy-seed", "-", [vtx("local-2", "random:bb", "files")], slow=[0])
        n = count(g2)
        assert await build(solver, g2) == "copied"
        assert (n.execs, n.digests) == (1, 1)


@scenario
async def test_equal_content_merges_running_steps() -> None:
    """Different sources of the same files: the step on top runs once."""
    async with make_solver() as solver:

        def step(name: str) -> Edge:
            return vtx(name, "step", name, [vtx("src-" + name, "src-" + name, "same")], slow=[0], on_exec=nap(0.02))

        a, b = step("a"), step("b")
        n = count(a, b)
        values = await asyncio.gather(build(solver, a), build(solver, b))
        assert values[0] == values[1]
        assert n.execs == 3
