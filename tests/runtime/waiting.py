"""Awaitables, for `asyncio.run`, which takes coroutines only."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable
