"""Things by name that some wait for before they are there: a client's calls come in any order."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Arrivals(Generic[T]):
    """Who waits, by the name of what is to come. On the loop's thread."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[T]]] = {}

    def come(self, name: str, thing: T) -> None:
        """It is there now."""
        for waiter in self._waiting.pop(name, ()):
            if not waiter.done():
                waiter.set_result(thing)

    async def wait(self, name: str, seconds: float) -> T | None:
        """What comes under a name; None if it does not within so many seconds."""
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, []).append(waiter)
        try:
            return await asyncio.wait_for(waiter, seconds)
        except TimeoutError:
            return None
        finally:
            waiters = self._waiting.get(name, [])
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                self._waiting.pop(name, None)
