"""Why a step ran."""

from __future__ import annotations

import asyncio
from typing import Any

from dockc.solver.cache.miss import explain
from dockc.solver.cache.storage.base import KeyRecord
from dockc.solver.keydiff import Change, KeyDiff, MissReason
from dockc.solver.run.runner import Miss
from dockc.solver.vertex import Edge
from tests.solver.world import CountingCache, make_solver, vtx


def misses(cache: CountingCache, edge: Edge) -> dict[str, KeyDiff]:
    async def main() -> dict[str, KeyDiff]:
        async with make_solver(cache) as solver, solver.job(explains=True) as job:
            (r,) = await job.build(edge)
            r.result.release()
            return {diff.name: diff for diff in map(explain, job.misses)}

    return asyncio.run(main())


def graph(files: str, make: str = "make", base: str = "base") -> Edge:
    copy = vtx("COPY . ." , "copy", "copied" + files, [vtx("FROM", base, base), vtx("context", "random:s", files)],
               slow=[1], digest="copy" + files + base)  # fmt: skip
    return vtx("RUN", make, "made", [copy], digest="run" + files + make + base)


def test_reasons() -> None:
    cache = CountingCache()
    first = misses(cache, graph("one"))
    assert {name: diff.reason for name, diff in first.items()} == dict.fromkeys(
        ("FROM", "context", "COPY . .", "RUN"), MissReason.UNKNOWN
    )
    assert set(misses(cache, graph("one"))) == {"context"}

    files = misses(cache, graph("two"))
    assert files["COPY . ."].reason is MissReason.CONTENT
    assert files["COPY . ."].inputs == (1,)
    assert files["RUN"].reason is MissReason.INPUT

    command = misses(cache, graph("one", "make install"))["RUN"]
    assert command.reason is MissReason.OPERATION
    assert command.changes == (Change("seed", "make", "make install"),)
    assert command.nearest is not None
    assert command.nearest.preimage == {"seed": "make"}

    base = misses(cache, graph("one", base="base-2"))
    assert base["COPY . ."].reason is MissReason.INPUT
    assert base["COPY . ."].inputs == (0,)


def test_removed_result() -> None:
    cache = CountingCache()
    misses(cache, vtx("a", "a", 1, ignore_cache=True))
    assert misses(cache, vtx("a", "a", 1, ignore_cache=True))["a"].reason is MissReason.RESULT


def record(preimage: dict[str, Any], key: str = "k", at: int = 0) -> KeyRecord:
    return KeyRecord(key, str(preimage), 0, "v", "RUN", preimage, (), at)


def test_changes_are_located() -> None:
    old = record({"args": ["sh", "-c", "a"], "env": ["A=1", "B=2", "C=3"], "cwd": "/", "mounts": [{"dest": "/"}]})
    new = record({"args": ["sh", "-c", "b"], "env": ["A=1", "C=3"], "user": "me", "mounts": [{"dest": "/x"}]})
    diff = explain(Miss("v", new, (old,)))
    assert diff.changes == (
        Change("args[2]", "a", "b"),
        Change("cwd", "/", None),
        Change("env[1]", "B=2", None),
        Change("mounts[0].dest", "/", "/x"),
        Change("user", None, "me"),
    )


def test_the_nearest_is_compared() -> None:
    new = record({"a": 1, "b": 2, "c": 3})
    far, near, newer = (
        record({"a": 9, "b": 9, "c": 3}, "far", 9),
        record({"a": 1, "b": 9, "c": 3}, "near", 1),
        record({"a": 9, "b": 2, "c": 3}, "newer", 2),
    )
    diff = explain(Miss("v", new, (far, near, newer)))
    assert diff.nearest is newer
    assert diff.changes == (Change("a", 9, 1),)


def test_many_changes_are_cut() -> None:
    diff = explain(Miss("v", record({"l": list(range(1000))}), (record({"l": [-1] * 999}),)))
    assert len(diff.changes) == 50
