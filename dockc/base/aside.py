"""Work beside whoever waits for it, threads beside a loop and a loop beside threads: it is never left behind.

`asyncio.to_thread` goes on when whoever waits for it is cancelled, and its thread then works with files that are being
closed; a thread that no longer waits for the loop closes files that are in use there. Here the end is waited for first.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from typing import Any, BinaryIO, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_LOOK = 0.2
"""Seconds between two looks of a thread whether a loop is still there."""


async def outlast(future: asyncio.Future[T]) -> None:
    """Wait until something has ended, however often this task is cancelled meanwhile. Its error is nobody's matter any
    more.
    """
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()


def _begun(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    # No task: those are all cancelled where a loop ends, and a thread cannot be.
    context = contextvars.copy_context()
    return asyncio.get_running_loop().run_in_executor(None, lambda: context.run(fn, *args, **kwargs))


async def aside(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Do it in a thread. When this is cancelled, the thread is waited for; what it has made is lost then."""
    work = _begun(fn, *args, **kwargs)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await outlast(work)
        raise


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """Do it to its end. When this is cancelled, that is still waited for; what it has made is lost then."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await outlast(task)
        raise


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Do all of it at once. Where one fails, or this is cancelled, the others are cancelled, and have ended when this does."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        for task in tasks:
            await outlast(task)
        raise


class OnLoop(Generic[T]):
    """Something that runs on a loop for a thread, which waits for it. State: its task, on the loop's thread."""

    def __init__(self, work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[T] | None = None
        self._over = threading.Event()

        def begin() -> None:
            self._task = loop.create_task(work)
            self._task.add_done_callback(lambda _: self._over.set())

        loop.call_soon_threadsafe(begin)

    def wait(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        return self._over.wait(seconds)

    def end(self) -> None:
        """Cancel it, and wait for its end."""

        def cancel() -> None:
            if self._task is not None:
                self._task.cancel()

        with suppress(RuntimeError):  # the loop is closed, and nothing runs there
            self._loop.call_soon_threadsafe(cancel)
            while not self.wait(_LOOK) and not self._loop.is_closed():
                pass

    def result(self) -> T:
        """What it gave, or raised; once it is over."""
        assert self._task is not None
        return self._task.result()


@asynccontextmanager
async def entered(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """A context manager that blocks: entered and left in threads. One that was entered is left, whatever is cancelled."""
    entering = _begun(manager.__enter__)
    try:
        found = await asyncio.shield(entering)
    except asyncio.CancelledError as error:
        await outlast(entering)
        if not entering.cancelled() and entering.exception() is None:
            await aside(manager.__exit__, type(error), error, error.__traceback__)
        raise
    try:
        yield found
    except BaseException as error:
        if not await aside(manager.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await aside(manager.__exit__, None, None, None)


def opened(make: Callable[[], BinaryIO]) -> AbstractAsyncContextManager[BinaryIO]:
    """A file that is opened and closed in threads."""
    return entered(_opened(make))


@contextmanager
def _opened(make: Callable[[], BinaryIO]) -> Iterator[BinaryIO]:
    with make() as file:
        yield file
