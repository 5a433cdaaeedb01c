"""Plans: the same decisions as a build, and nothing done."""

from __future__ import annotations

import asyncio
from typing import Any

from dockc.errors import RegistryError
from dockc.solver.op import OpContext
from dockc.solver.run.plan import plan
from dockc.solver.vertex import Edge, Vertex
from tests.solver.world import CountingCache, build, count, make_solver, vtx


def states(cache: CountingCache, edge: Edge, **options: Any) -> dict[str, str]:
    async def run() -> dict[str, str]:
        said = await plan(lambda vertex: vertex.op, cache, edge, **options)  # type: ignore[arg-type,return-value]
        return {p.vertex.name: p.state.value + ("" if p.needed else " (not needed)") for p in said}

    return asyncio.run(run())


def built(cache: CountingCache, edge: Edge) -> None:
    async def run() -> None:
        async with make_solver(cache) as solver:
            await build(solver, edge)

    asyncio.run(run())


def image(name: str = "base") -> Edge:
    return vtx(name, name + "-seed", "root")


def graph(files: str, run: str = "make", session: str = "s") -> Edge:
    """FROM base, COPY . ., RUN make."""
    context = vtx("context", f"random:{session}", files)
    copy = vtx("copy" + session, "copy", "copied", [image(), context], slow=[1])
    return vtx("run " + run, run, "made", [copy])


def test_everything_runs_on_an_empty_cache() -> None:
    cache = CountingCache()
    g = graph("files")
    n = count(g)
    assert states(cache, g) == {"base": "run", "context": "run", "copys": "run", "run make": "run"}
    assert n.execs == 0
    assert not list(cache.keys.keys())


def test_contents_decide() -> None:
    cache = CountingCache()
    built(cache, graph("files"))
    assert states(cache, graph("files", session="t")) == {
        "base": "cached",
        "context": "run",
        "copyt": "depends",
        "run make": "depends",
    }


def test_allowed_sources_are_read() -> None:
    cache = CountingCache()
    built(cache, graph("files"))

    def local(vertex: Vertex) -> bool:
        return vertex.name == "context"

    assert states(cache, graph("files", session="t"), may_execute=local) == {
        "base": "cached (not needed)",
        "context": "run",
        "copyt": "cached (not needed)",
        "run make": "cached",
    }
    assert states(cache, graph("other files", session="u"), may_execute=local) == {
        "base": "cached",
        "context": "run",
        "copyu": "run",
        "run make": "run",
    }
    assert states(cache, graph("files", "make install", "v"), may_execute=local) == {
        "base": "cached (not needed)",
        "context": "run",
        "copyv": "cached",
        "run make install": "run",
    }


def test_doubt_is_passed_on_but_not_where_an_input_is_new() -> None:
    cache = CountingCache()
    a, b = vtx("a", "a", 1), vtx("b", "b", 2)
    built(cache, vtx("both", "both", 3, [vtx("ca", "c", 1, [a], slow=[0]), b]))
    ca = vtx("ca+", "c", 1, [vtx("a+", "a+", 1)], slow=[0])
    assert states(cache, vtx("both", "both", 3, [ca, b]))["both"] == "depends"
    assert states(cache, vtx("both", "both", 3, [ca, vtx("b+", "b+", 2)]))["both"] == "run"


def test_cached_results_are_loaded_for_content_only_on_demand() -> None:
    cache = CountingCache()
    a = vtx("a", "a", 1)
    built(cache, a)
    built(cache, vtx("ca", "c", 5, [vtx("a1", "a1", 1)], slow=[0]))
    g = vtx("ca+", "c", 5, [a], slow=[0])
    assert states(cache, g) == {"a": "cached", "ca+": "depends"}
    assert cache.loads == 0
    assert states(cache, g, may_load=lambda vertex: True) == {"a": "cached", "ca+": "cached"}
    assert cache.loads == 1


def test_unknown_cache_key() -> None:
    async def offline(ctx: OpContext) -> None:
        raise RegistryError("no route to registry")

    async def run() -> None:
        g = vtx("top", "top", 1, [vtx("base", on_cache_map=offline)])
        said = await plan(lambda vertex: vertex.op, CountingCache(), g)  # type: ignore[arg-type,return-value]
        assert [p.state.value for p in said] == ["depends", "depends"]
        assert said[0].reason == "its cache key is not known: no route to registry"

    asyncio.run(run())


def test_ignore_cache_runs() -> None:
    cache = CountingCache()
    built(cache, vtx("a", "a", 1))
    assert states(cache, vtx("a", "a", 1, ignore_cache=True)) == {"a": "run"}
