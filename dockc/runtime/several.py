"""Work at several things at once: blobs that are fetched, made, copied and sent."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from dockc.runtime.cancel import AnyOf, check_cancelled

T = TypeVar("T")
R = TypeVar("R")

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
    todo = list(items)
    stop = AnyOf(cancelled)

    def one(item: T) -> R:
        check_cancelled(stop)
        return work(item, stop)

    if len(todo) < 2 or at_once < 2:
        return [one(item) for item in todo]
    with ThreadPoolExecutor(min(at_once, len(todo)), thread_name_prefix=name) as pool:
        running = [pool.submit(one, item) for item in todo]
        try:
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
            for job in running:
                if job in done:
                    job.result()
            return [job.result() for job in running]
        except BaseException:
            stop.set()
            for job in running:
                job.cancel()
            raise
