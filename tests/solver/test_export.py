"""What a cache export hands over."""

from __future__ import annotations

import asyncio

from dockc.solver.cache.export import ExportLink, ExportMode, ExportRecord, export
from dockc.solver.cache.storage.base import CacheLink, CacheResult
from dockc.solver.cache.storage.memory import MemoryKeyStorage
from dockc.solver.core.cachekey import content_key, root_key
from dockc.solver.vertex import Edge
from tests.solver.world import CountingCache, add_up, const, digest_of, make_solver, vtx


def built(cache: CountingCache, edge: Edge) -> tuple[str, ...]:
    async def main() -> tuple[str, ...]:
        async with make_solver(cache) as solver:
            (r,) = await solver.solve(edge)
            r.result.release()
            return r.keys

    return asyncio.run(main())


def exported(cache: CountingCache, keys: tuple[str, ...], **options: object) -> tuple[ExportRecord[str], ...]:
    ready = options.pop("ready", ())

    def resolve(result: CacheResult, make: bool) -> str | None:
        value = str(cache.results.load(result).value)
        return value if make or value in ready else None  # type: ignore[operator]

    return export(cache.keys, keys, resolve, **options)  # type: ignore[arg-type]


def results(records: tuple[ExportRecord[str], ...]) -> list[list[str]]:
    return [[result.remote for result in record.results] for record in records]


def test_cache_exporting() -> None:
    cache = CountingCache()
    g = add_up(1, const(2), const(3))
    for _ in range(2):  # built, then from the cache: the same
        records = exported(cache, built(cache, g), mode=ExportMode.MAX)
        assert [len(record.inputs) for record in records] == [0, 0, 2]
        assert results(records) == [[], [], ["6"]]
        assert [record.digest for record in records] == [
            root_key(digest_of("seed:const-2"), 0),
            root_key(digest_of("seed:const-3"), 0),
            root_key(digest_of("seed:sum-1-2"), 0),
        ]
        assert records[2].inputs == ((ExportLink(0),), (ExportLink(1),))


def test_cache_exporting_mode_min() -> None:
    cache = CountingCache()
    keys = built(cache, add_up(1, add_up(2, const(3)), const(5)))
    assert results(exported(cache, keys)) == [[], [], [], ["11"]]
    assert results(exported(cache, keys, ready=("5",))) == [[], ["5"], [], ["11"]]
    assert results(exported(cache, keys, mode=ExportMode.MAX)) == [[], ["5"], [], ["11"]]
    assert results(exported(cache, keys, mode=ExportMode.MAX, roots=True)) == [["3"], ["5"], ["5"], ["11"]]


def test_cache_exporting_partial_selector() -> None:
    cache = CountingCache()

    def graph(seed: str) -> Edge:
        return vtx("v0", "seed0", "r0", [vtx("v1" + seed, seed, "r1")], selectors={0: "sel0"}, slow=[0])

    keys = built(cache, graph("seed1"))
    records = exported(cache, keys, mode=ExportMode.MAX)
    by_digest = {record.digest: n for n, record in enumerate(records)}
    content = content_key(digest_of("content:r1"))
    assert set(by_digest) == {root_key(digest_of("seed:seed1"), 0), content, root_key(digest_of("seed:seed0"), 0)}
    (names,) = records[2].inputs
    assert set(names) == {ExportLink(by_digest[content]), ExportLink(1 - by_digest[content], digest_of("sel0"))}
    # Another definition of the same content adds one record; the result has three names for its input now.
    records = exported(cache, built(cache, graph("seed1-new")), mode=ExportMode.MAX)
    assert len(records) == 4
    assert len(records[-1].inputs[0]) == 3
    # A step on top adds one more.
    top = vtx("v2", "seed2", "r2", [graph("seed1-new")])
    assert len(exported(cache, built(cache, top), mode=ExportMode.MAX)) == 5


def test_cache_exporting_merged_key() -> None:
    cache = CountingCache()
    a = vtx("v1", "seed1", "r1", [vtx("v2", "seed2", "r2")], slow=[0])
    b = vtx("v1-diff", "seed1", "r1", [vtx("v3", "seed3", "r2")], slow=[0])
    records = exported(cache, built(cache, vtx("v0", "seed0", "r0", [a, b])), mode=ExportMode.MAX)
    # The result, seed1, the content of both inputs, seed2; and seed3, unless its edge was merged before its own key was asked for.
    assert len({record.digest for record in records}) in {4, 5}


def test_lost_results_and_unnamed_inputs() -> None:
    cache = CountingCache()
    keys = built(cache, vtx("top", "top", 1, [vtx("local", "random:x", 2)]))
    assert keys[0].startswith("random:")
    assert exported(cache, keys) == ()
    keys = built(cache, const(7))
    cache.keys.release(cache.keys.results(keys[0])[0].id)
    assert results(exported(cache, keys, roots=True)) == [[]]


def test_steps_can_be_left_out() -> None:
    cache = CountingCache()
    keys = built(cache, add_up(1, add_up(2, const(3), name="secret"), name="top"))
    records = exported(cache, keys, mode=ExportMode.MAX, allow=lambda record: record is None or record.name != "secret")
    assert results(records) == [[], [], ["6"]]


def test_cycles_and_depth() -> None:
    storage = MemoryKeyStorage()
    storage.add_link("k0", CacheLink(0, 0, "sha256:op"), "k0")
    for n in range(5000):
        storage.add_link(f"k{n}", CacheLink(0, 0, "sha256:op"), f"k{n + 1}")
    storage.add_link("k9", CacheLink(0, 0, "sha256:op"), "k3")
    records: tuple[ExportRecord[str], ...] = export(storage, ["k5000"], lambda result, make: None)
    assert records == ()  # k0 stands on nothing but itself
    storage.add_link("root", CacheLink(0, 0, "sha256:op"), "k0")
    records = export(storage, ["k5000"], lambda result, make: None)
    assert len(records) == 5002
    assert all(link.record < n for n, record in enumerate(records) for names in record.inputs for link in names)
