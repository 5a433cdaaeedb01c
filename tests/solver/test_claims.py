"""Names that a source only claims: looked up from the start, kept and taken for equal when there is proof."""

from __future__ import annotations

import asyncio

from tests.solver.test_scenarios import scenario
from tests.solver.world import CountingCache, add_up, build, claiming, count, make_solver, nap, op_of


def never() -> bool:
    return False


def always() -> bool:
    return True


@scenario
async def test_what_others_kept_under_a_claimed_name_is_found() -> None:
    cache = CountingCache()
    async with make_solver(cache) as solver:
        assert await build(solver, add_up(1, claiming("honest", "manifest-1", "chain", 1, always))) == 2
        top = add_up(1, claiming("other", "manifest-2", "chain", 1, never))
        n = count(top)
        assert await build(solver, top) == 2
        assert n.execs == 0


@scenario
async def test_nothing_is_kept_under_a_name_that_is_a_mere_claim() -> None:
    """A source that lies about its name gives what is built on it to nobody."""
    cache = CountingCache()
    async with make_solver(cache) as solver:
        assert await build(solver, add_up(1, claiming("liar", "manifest-1", "chain", 100, never))) == 101
        top = add_up(1, claiming("honest", "manifest-2", "chain", 1, never))
        assert await build(solver, top) == 2


@scenario
async def test_who_claims_a_name_that_was_proven_elsewhere_gets_what_is_known_by_it() -> None:
    async with make_solver() as solver:
        assert await build(solver, add_up(5, claiming("proven", "manifest-3", "chain", 1, always))) == 6
        assert await build(solver, add_up(7, claiming("liar", "manifest-4", "chain", 200, never))) == 8
        assert await build(solver, add_up(7, claiming("honest", "manifest-5", "chain", 1, never))) == 8


@scenario
async def test_a_claim_that_is_proven_while_a_step_runs_is_kept() -> None:
    cache = CountingCache()
    seen: list[object] = []
    async with make_solver(cache) as solver:
        base = claiming("base", "manifest-1", "chain", 1, lambda: bool(seen))
        top = add_up(1, base)

        async def read(ctx: object) -> None:
            seen.append(ctx)

        op_of(top).on_exec = read
        assert await build(solver, top) == 2
        assert not solver.runner.claims, "nothing is remembered of sources that no build has"
        other = add_up(1, claiming("other", "manifest-2", "chain", 1, never))
        n = count(other)
        assert await build(solver, other) == 2
        assert n.execs == 0


@scenario
async def test_sources_that_claim_the_same_are_two_while_they_run() -> None:
    async with make_solver() as solver:
        liar = claiming("liar", "manifest-1", "chain", 100, never)
        honest = claiming("honest", "manifest-2", "chain", 1, never)
        for source in (liar, honest):
            op_of(source).on_exec = nap(0.02)
        assert [*await asyncio.gather(build(solver, add_up(1, liar)), build(solver, add_up(1, honest)))] == [101, 2]
