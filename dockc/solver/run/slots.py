"""Which operations run at once: a number of all builds together, and fair shares of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """Places for operations that run. Those of one build come in their order, builds take turns.

    Unless it is `strict`, each build has one operation running whatever the others do: steps that never end, or wait
    for a client that never answers, keep nobody else's from running.

    Mutable, on the loop's thread: how many run, of each build, too; who waits, by build, those that had a turn last at
    the end.
    """

    def __init__(self, limit: int, *, strict: bool) -> None:
        self._limit, self._strict = limit, strict
        self._count = 0
        self._running: dict[int, int] = {}
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def of(self, build: int) -> AsyncIterator[None]:
        """A place for an operation of a build, for as long as the block runs."""
        await self._take(build)
        try:
            yield
        finally:
            self._leave(build)

    async def _take(self, build: int) -> None:
        if self._free_for(build):
            self._grant(build)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(build, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # it had just been given one
                self._leave(build)
            raise

    def _free_for(self, build: int) -> bool:
        return self._count < self._limit or not (self._strict or self._running.get(build))

    def _grant(self, build: int) -> None:
        self._count += 1
        self._running[build] = self._running.get(build, 0) + 1

    def _leave(self, build: int) -> None:
        """Whoever may have the place now gets it."""
        self._count -= 1
        self._running[build] -= 1
        if not self._running[build]:
            del self._running[build]
        if self._free_for(build) and self._count >= self._limit:
            self._wake(build)
        while self._count < self._limit and self._waiting:
            self._wake(next(iter(self._waiting)))

    def _wake(self, build: int) -> None:
        """Give a place to the first of a build that still waits for one."""
        waiting = self._waiting.pop(build, deque())
        while waiting:
            waiter = waiting.popleft()
            if not waiter.done():
                self._grant(build)
                waiter.set_result(None)
                break
        if waiting:
            self._waiting[build] = waiting  # at the end
