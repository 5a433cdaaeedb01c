"""Work that blocks, beside an event loop: it is never left behind.

`asyncio.to_thread` goes on when whoever waits for it is cancelled, and its thread then works with files that are being
closed. Here the thread is waited for first, so that what comes after finds it ended.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import BinaryIO, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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
