"""What a build has told is seen by everybody who watches, from the start, in a compact form."""

from __future__ import annotations

import asyncio

from dockc.engine.events import LOG_PART, WARNINGS, Events
from dockc.solver.progress import SolveStatus, VertexEvent, VertexLog, VertexStatus, VertexWarning


def _told(events: Events) -> None:
    events(SolveStatus(vertexes=(VertexEvent("a", "step a"), VertexEvent("b", "step b"))))
    events(SolveStatus(vertexes=(VertexEvent("a", "step a", started=1),)))
    for n in range(1000):
        events(SolveStatus(statuses=(VertexStatus("layer", "a", current=n, total=999),)))
    events(SolveStatus(logs=(VertexLog("a", 1, b"one\n"), VertexLog("a", 2, b"two\n"))))
    events(SolveStatus(vertexes=(VertexEvent("a", "step a", started=1, completed=2),)))
    events(SolveStatus(warnings=(VertexWarning("a", short="look"),)))


async def _watch(events: Events) -> list[SolveStatus]:
    return [status async for status in events.watch(interval=0)]


def _merged(seen: list[SolveStatus]) -> tuple[dict[str, VertexEvent], list[bytes], int]:
    vertexes = {event.digest: event for status in seen for event in status.vertexes}
    return vertexes, [log.data for status in seen for log in status.logs], sum(len(status.warnings) for status in seen)


def test_early_and_late_watchers_see_the_same_end() -> None:
    async def main() -> None:
        events = Events()
        early = asyncio.ensure_future(_watch(events))
        await asyncio.sleep(0)
        _told(events)
        middle = asyncio.ensure_future(_watch(events))
        await asyncio.sleep(0)
        events(SolveStatus(vertexes=(VertexEvent("b", "step b", started=2, completed=3),), logs=(VertexLog("b", 1, b"three\n"),)))
        events.end()
        late, twice = await _watch(events), await _watch(events)
        expected = {"a": VertexEvent("a", "step a", started=1, completed=2), "b": VertexEvent("b", "step b", started=2, completed=3)}
        for seen in (await early, await middle, late, twice, [events.all()]):
            vertexes, logs, warnings = _merged(seen)
            assert vertexes == expected
            assert logs == [b"one\n", b"two\n", b"three\n"]
            assert warnings == 1
        assert len(late) == 1, "a late watcher gets the last states, not the story"
        assert [part.current for status in late for part in status.statuses] == [999]

    asyncio.run(main())


def test_a_slow_watcher_gets_states_not_all_their_changes() -> None:
    async def main() -> None:
        events = Events()
        watching = events.watch(interval=0)
        _told(events)
        first = await anext(watching)
        for n in range(500):
            events(SolveStatus(statuses=(VertexStatus("layer", "a", current=n, total=999),)))
        second = await anext(watching)
        assert len(first.statuses) == 1
        assert [part.current for part in second.statuses] == [499]
        events.end()
        assert [status async for status in watching] == []

    asyncio.run(main())


def test_of_many_logs_the_newest_are_kept_and_sent_in_parts() -> None:
    async def main() -> None:
        events = Events(log_limit=5 * LOG_PART)
        block = b"x" * (LOG_PART // 4)
        watching = events.watch(interval=0)
        for n in range(100):
            events(SolveStatus(logs=(VertexLog("a", 1, block, n),)))
        events.end()
        assert len(events._logs) <= 40, "what is forgotten takes no room"
        for seen in ([status async for status in watching], await _watch(events)):
            times = [log.timestamp for status in seen for log in status.logs]
            assert times == list(range(80, 100))
            assert max(sum(len(log.data) for log in status.logs) for status in seen) <= LOG_PART
        assert len(events.all().logs) == 20

    asyncio.run(main())


def test_a_watcher_reads_on_while_old_logs_are_forgotten() -> None:
    async def main() -> None:
        events = Events(log_limit=100)
        watching = events.watch(interval=0)
        got: list[bytes] = []
        for n in range(200):
            events(SolveStatus(logs=(VertexLog("a", 1, f"{n:>9}\n".encode()),)))
            if n % 7 == 0:
                got += [log.data for log in (await anext(watching)).logs]
        events.end()
        got += [log.data for status in [status async for status in watching] for log in status.logs]
        assert [int(one) for one in got] == list(range(200))

    asyncio.run(main())


def test_warnings_have_a_limit_and_watchers_that_leave_are_forgotten() -> None:
    async def main() -> None:
        events = Events()
        watching = events.watch(interval=0)
        for n in range(WARNINGS + 50):
            events(SolveStatus(warnings=(VertexWarning("a", short=str(n)),)))
        await anext(watching)
        assert len(events._watchers) == 1
        await watching.aclose()
        assert not events._watchers
        assert len(events.all().warnings) == WARNINGS

    asyncio.run(main())
