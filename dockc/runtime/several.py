"""Work at several things at once: blobs that are fetched, made, copied and sent."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from dockc.base.threads import wish, working_for
from dockc.runtime.cancel import AnyOf, Cancelled, check_cancelled

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE = 0.5
TRANSFERS = 4
"""How many blobs are under way at once, where the network or the disk is what takes time."""


def workers() -> int:
    """How many blobs are read, hashed and compressed at once: C code that needs a core each, and waits for the disk."""
    return max(TRANSFERS, min(len(os.sched_getaffinity(0)), 16))


def several(
    work: Callable[[T, threading.Event], R],
    items: Iterable[T],
    at_once: int,
    *,
    cancelled: threading.Event | None = None,
    name: str = "several",
) -> list[R]:
    """What `work` makes of each item, in the order of the items; blocks. The first error ends all.

    Args:
        work: gets an item and an event that is set when `cancelled` is, or another item has failed.
        items: each once.
        at_once: how many threads; a single item is worked at in the caller's.
        cancelled: looked at before each item.
        name: of the threads.

    Raises:
        Cancelled: `cancelled` was set before an item was begun.
    """
    with one_by_one(work, items, at_once, cancelled=cancelled, name=name) as results:
        return list(results)


@contextmanager
def one_by_one(
    work: Callable[[T, threading.Event], R],
    items: Iterable[T],
    at_once: int,
    *,
    cancelled: threading.Event | None = None,
    name: str = "several",
) -> Iterator[Iterator[R]]:
    """What `several` gives, each result as soon as it and those before it are there: the block uses the first ones
    while later items are worked at. An error shows where the next result is asked for; leaving the block ends all.
    """
    todo = list(items)
    stop = AnyOf(cancelled or wish())
    failed: list[BaseException] = []

    def one(item: T) -> R:
        check_cancelled(stop)
        try:
            with working_for(stop):
                return work(item, stop)
        except BaseException as error:
            failed.append(error)
            stop.set()
            raise

    if len(todo) < 2 or at_once < 2:
        yield map(one, todo)
        return
    with ThreadPoolExecutor(min(at_once, len(todo)), thread_name_prefix=name) as pool:
        running = [pool.submit(one, item) for item in todo]
        try:
            yield _results(running, failed)
        finally:
            stop.set()
            for job in running:
                job.cancel()


def _results(running: Sequence[Future[R]], failed: Sequence[BaseException]) -> Iterator[R]:
    for job in running:
        # Never for long: a signal that comes just before a wait begins is noticed when the wait ends.
        while not wait((job,), _PATIENCE).done:
            pass
        error = job.exception()
        if error is not None:  # where that is only because another has failed, the other's counts
            raise failed[0] if failed and isinstance(error, Cancelled) else error
        yield job.result()
