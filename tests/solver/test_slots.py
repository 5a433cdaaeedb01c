"""Places for operations: so many at once, builds in turn, and one of each build whatever the others do."""

from __future__ import annotations

import asyncio

from dockc.solver.run.slots import Slots


class Running:
    """Operations of builds, and the order in which they got their places."""

    def __init__(self, limit: int, *, strict: bool = False) -> None:
        self.slots = Slots(limit, strict=strict)
        self.order: list[int] = []
        self.tasks: dict[int, list[asyncio.Task[None]]] = {}
        self.go: dict[int, asyncio.Semaphore] = {}

    def begin(self, build: int, count: int = 1) -> None:
        self.go.setdefault(build, asyncio.Semaphore(0))
        self.tasks.setdefault(build, []).extend(asyncio.create_task(self._work(build)) for _ in range(count))

    async def _work(self, build: int) -> None:
        async with self.slots.of(build):
            self.order.append(build)
            await self.go[build].acquire()

    async def end(self, build: int, count: int = 1) -> list[int]:
        """Let some end; who came by that."""
        self.order.clear()
        for _ in range(count):
            self.go[build].release()
        return await self.settled()

    async def settled(self) -> list[int]:
        for _ in range(20):
            await asyncio.sleep(0)
        return list(self.order)


def test_each_build_has_one() -> None:
    async def go() -> None:
        run = Running(3)
        run.begin(1, 10)
        assert await run.settled() == [1, 1, 1]
        run.begin(2, 3)
        run.begin(3, 2)
        assert await run.settled() == [1, 1, 1, 2, 3]
        assert await run.end(2) == [2]  # its own next one, in its place
        assert await run.end(1) == []  # more run than places are
        assert await run.end(1) == []
        assert await run.end(1) == [1]  # it has none now, and what was its due

    asyncio.run(go())


def test_builds_take_turns() -> None:
    async def go() -> None:
        run = Running(4)
        run.begin(1, 10)
        run.begin(2, 10)
        await run.settled()
        assert run.order == [1, 1, 1, 1, 2]
        assert [await run.end(1), await run.end(1), await run.end(1), await run.end(1)] == [[], [1], [2], [1]]

    asyncio.run(go())


def test_a_strict_limit_is_one_of_all_builds() -> None:
    async def go() -> None:
        run = Running(1, strict=True)
        run.begin(1, 3)
        run.begin(2, 1)
        assert await run.settled() == [1]
        assert await run.end(1) == [1]
        assert await run.end(1) == [2]

    asyncio.run(go())


def test_who_is_cancelled_keeps_no_place() -> None:
    async def go() -> None:
        run = Running(1, strict=True)
        run.begin(1, 4)
        await run.settled()
        first, second, third, fourth = run.tasks[1]
        second.cancel()  # waits
        await run.settled()
        run.go[1].release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        third.cancel()  # has perhaps just been given its place
        await run.settled()
        run.go[1].release()
        run.go[1].release()
        await run.settled()
        assert all(one.done() for one in (first, second, third, fourth))
        assert fourth.exception() is None
        run.begin(2)
        assert 2 in await run.settled()

    asyncio.run(go())
