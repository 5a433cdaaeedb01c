"""Several processes, one cache; and processes that die."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dockc.solver.cache.storage.base import CacheLink, CacheResult
from dockc.solver.cache.storage.sqlite import SqliteKeyStorage
from dockc.solver.run.flights import Flights

REPO = Path(__file__).resolve().parents[2]
LINK = CacheLink(0, 0, "sha256:op")


def spawn(script: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, args)],
        cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


WRITER = """
    import sys
    from pathlib import Path
    from dockc.solver.cache.storage.base import CacheLink, CacheResult
    from dockc.solver.cache.storage.sqlite import SqliteKeyStorage
    storage = SqliteKeyStorage(Path(sys.argv[1]))
    name, i = sys.argv[2], 0
    while i < int(sys.argv[3]):
        for j in range(5):
            storage.add_link(f"{name}-{i}-{j}", CacheLink(0, 0, "sha256:op"), f"{name}-{i}")
        storage.add_result(f"{name}-{i}", CacheResult(f"r-{name}-{i}", i))
        storage.flush()
        print(i, flush=True)
        i += 1
    storage.close()
"""


def test_kill_while_writing(tmp_path: Path) -> None:
    """After SIGKILL everything that was flushed is there, nothing is there by halves, and writing goes on."""
    path = tmp_path / "cache.db"
    for round_ in range(4):
        name = f"w{round_}"
        process = spawn(WRITER, path, name, 10**9)
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(30 + 7 * round_)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout if line.strip().isdigit()]
        process.wait()
        process.stdout.close()
        storage = SqliteKeyStorage(path)
        assert storage.verify() == ()
        for i in range(max(said) + 3):
            links = [storage.has_link(f"{name}-{i}-{j}", LINK, f"{name}-{i}") for j in range(5)]
            results = storage.results(f"{name}-{i}")
            assert len(set(links)) == 1
            assert links[0] == bool(results)
            if i <= max(said):
                assert results == (CacheResult(f"r-{name}-{i}", i),)
        storage.close()


def test_many_writers(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    processes = [spawn(WRITER, path, f"p{n}", 40) for n in range(4)]
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out
    storage = SqliteKeyStorage(path)
    assert storage.verify() == ()
    assert len(storage.result_ids()) == 160
    storage.close()


BUILDER = """
    import asyncio, json, os, sys, time
    from pathlib import Path
    from dockc.solver.cache.cachemanager import LocalCache
    from dockc.solver.run.flights import Flights
    from dockc.solver.run.jobs import Solver
    from dockc.solver.run.runner import RunnerOptions
    from dockc.solver.cache.storage.base import CacheResult, NotFound
    from dockc.solver.cache.storage.sqlite import SqliteKeyStorage
    from tests.solver.world import Value, vtx, build

    root = Path(sys.argv[1])

    class Files:
        def save(self, result, created_at):
            (root / "results" / result.id).write_text(str(result.value))
            return CacheResult(result.id, created_at)
        def load(self, result):
            try:
                return Value((root / "results" / result.id).read_text(), result.id)
            except FileNotFoundError:
                raise NotFound(result.id) from None
        def exists(self, result_id):
            return (root / "results" / result_id).exists()

    async def work(ctx):
        with open(root / "ran", "a") as ran:
            ran.write(ctx.vertex.name + "\\n")
        await asyncio.sleep(0.15)

    async def main():
        base = vtx("base", "base", "b", on_exec=work)
        layer = [vtx(f"step{i}", f"step{i}", f"s{i}", [base], on_exec=work) for i in range(3)]
        top = vtx("top", "top", "done", layer, on_exec=work)
        for v in (base, *layer, top):
            op = v.vertex.op
            give = op.give
            op.give = lambda values, give=give: give(values)
        cache = LocalCache(SqliteKeyStorage(root / "cache.db"), Files())
        options = RunnerOptions(flights=Flights(root / "flights.lock"), check=True)
        async with Solver(lambda v: v.op, cache, options=options) as solver:
            print(await build(solver, top))

    import tests.solver.world as world, itertools
    world._ids = itertools.count(os.getpid() * 1000)
    asyncio.run(main())
"""


def test_equal_vertices_run_once_in_two_processes(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    processes = [spawn(BUILDER, tmp_path) for _ in range(3)]
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out
        assert out.strip() == "done"
    ran = (tmp_path / "ran").read_text().split()
    assert sorted(ran) == ["base", "step0", "step1", "step2", "top"]


def test_a_killed_process_gives_its_flight_back(tmp_path: Path) -> None:
    path = tmp_path / "flights.lock"
    process = spawn(
        """
        import asyncio, sys, time
        from pathlib import Path
        from dockc.solver.run.flights import Flights
        async def main():
            flight = await Flights(Path(sys.argv[1])).take("work")
            print("taken", flush=True)
            time.sleep(600)
        asyncio.run(main())
        """,
        path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"

    async def main() -> None:
        flights = Flights(path)
        other = await asyncio.wait_for(flights.take("other work"), 60)
        waited: list[str] = []
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flights.take("work", lambda: waited.append("once")), 1.2)
        assert waited == ["once"]
        os.kill(process.pid, signal.SIGKILL)
        mine = await asyncio.wait_for(flights.take("work"), 60)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flights.take("work"), 0.1)  # in this process too
        mine.land()
        mine.land()
        (await asyncio.wait_for(flights.take("work"), 60)).land()
        other.land()

    asyncio.run(main())
    process.wait()
    process.stdout.close()


def test_few_descriptors_stay_open_however_many_there_were_at_once(tmp_path: Path) -> None:
    async def go() -> None:
        flights = Flights(tmp_path / "flights.lock")
        for flight in [await flights.take(f"{number}") for number in range(40)]:
            flight.land()
        assert len(flights._free) <= 4
        again = await flights.take("1")  # nobody holds what has landed
        again.land()
        flights.close()

    asyncio.run(go())
