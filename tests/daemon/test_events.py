"""Progress for whoever watches: late, slow, or after the end."""

from __future__ import annotations

import asyncio

from dockc.daemon import events
from dockc.daemon.events import Progress, Watcher
from dockc.solver.progress import SolveStatus, VertexEvent, VertexLog, VertexStatus, VertexWarning


def step(digest: str, *, started: int | None = 1, completed: int | None = None, cached: bool = False) -> SolveStatus:
    return SolveStatus(vertexes=(VertexEvent(digest, f"RUN {digest}", (), started, completed, cached),))


def log(data: bytes) -> SolveStatus:
    return SolveStatus(logs=(VertexLog("a", 1, data),))


async def everything(progress: Progress) -> list[SolveStatus]:
    return [status async for status in progress.watch()]


def test_who_comes_late_hears_it_all() -> None:
    async def run() -> None:
        progress = Progress()
        progress(step("a"))
        progress(log(b"one"))
        early = asyncio.create_task(everything(progress))
        await asyncio.sleep(0)
        progress(log(b"two"))
        progress(step("a", completed=2))
        progress.end()
        late = await everything(progress)
        for heard in (await early, late):
            assert b"".join(log.data for status in heard for log in status.logs) == b"onetwo"
            assert [event.completed for status in heard for event in status.vertexes][-1] == 2

    asyncio.run(run())


def test_what_is_open_at_the_end_was_cancelled() -> None:
    async def run() -> None:
        progress = Progress()
        progress(step("a"))
        progress(step("b", completed=3))
        progress(step("c", started=None))
        progress.end()
        progress.end()
        (status,) = await everything(progress)
        last = {event.digest: event for event in status.vertexes}
        assert last["a"].completed is not None
        assert last["a"].error == "context canceled"
        assert last["b"].error == ""
        assert last["c"].completed is None
        progress(step("d"))  # nothing happens after the end
        assert await everything(progress) == [status]

    asyncio.run(run())


def test_a_slow_reader_gets_the_last_states_and_bounded_logs() -> None:
    async def run() -> None:
        watcher = Watcher()
        for number in range(10_000):
            watcher.put(SolveStatus(statuses=(VertexStatus("layer", "a", current=number),)))
            watcher.put(step("a", completed=number))
        for _ in range(40):
            watcher.put(log(b"x" * (1 << 20)))
        assert len(watcher.vertexes) <= events._COMPACT + 1
        assert watcher.size <= events.MAX_LOGS
        messages = watcher.take()
        assert messages[0].statuses[-1].current == 9999
        assert messages[0].vertexes[-1].completed == 9999
        assert all(sum(len(one.data) for one in message.logs) <= 1 << 20 for message in messages)
        assert watcher.take() == []

    asyncio.run(run())


def test_a_message_is_no_longer_than_clients_take() -> None:
    watcher = Watcher()
    for number in range(10):
        warning = VertexWarning("a", 1, f"{number}", source=bytes(400 << 10))
        watcher.put(SolveStatus(logs=(VertexLog("a", 1, bytes(400 << 10)),), warnings=(warning,)))
    messages = watcher.take()
    assert [one.short for message in messages for one in message.warnings] == [f"{number}" for number in range(10)]
    assert {sum(len(one.source) for one in message.warnings) for message in messages} <= {0, 800 << 10}
    assert {sum(len(one.data) for one in message.logs) for message in messages} <= {0, 800 << 10}


def test_counts() -> None:
    async def run() -> None:
        progress = Progress()
        progress(SolveStatus(vertexes=(VertexEvent("i", "[internal] load", started=1, completed=2),)))
        progress(step("a", completed=2, cached=True))
        progress(step("b", completed=2))
        progress(step("c"))
        assert progress.counts == (1, 3, 2)

    asyncio.run(run())


def test_nobody_waits_for_a_watcher_that_left() -> None:
    async def run() -> None:
        progress = Progress()
        progress(step("a"))
        watching = progress.watch()
        await anext(watching)
        await watching.aclose()  # type: ignore[attr-defined]  # a generator has it
        assert progress._watchers == []
        progress(step("a", completed=1))

    asyncio.run(run())
