"""Threads for what blocks: whether what they work for is still wanted, and how many of them work at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_MOST = 10_000
"""Threads that may wait: each belongs to a build that does."""


class _Here(threading.local):
    """What this thread is at."""

    wanted: threading.Event | None = None
    threads: Threads | None = None


_here = _Here()


@contextmanager
def working_for(cancelled: threading.Event) -> Iterator[None]:
    """What this thread does meanwhile is given up when the event is set."""
    before, _here.wanted = _here.wanted, cancelled
    try:
        yield
    finally:
        _here.wanted = before


def given_up() -> bool:
    """Whether nobody wants any more what this thread works for."""
    return _here.wanted is not None and _here.wanted.is_set()


def wish() -> threading.Event | None:
    """The event that is set when this thread's work is given up, to be handed to other threads; None where there is none."""
    return _here.wanted


@contextmanager
def waiting() -> Iterator[None]:
    """This thread waits for somebody outside, who may never come: others work meanwhile."""
    threads = _here.threads
    if threads is None:
        yield
        return
    threads.leave()
    try:
        yield
    finally:
        threads.come_back()


class Threads:
    """So many threads at work at once; those that are `waiting` are not counted. What comes first is begun first.

    Mutable under `_lock`: what waits to be begun, and how many more threads may work; less than 0 when some have come
    back from waiting.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(_MOST, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._queue: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._free = limit

    def submit(self, fn: Callable[[], T]) -> Future[T]:
        """Run it, as soon as a thread may."""
        future: Future[T] = Future()
        with self._lock:
            self._queue.append((future, fn))
            begun = self._next()
        self._begin(begun)
        return future

    def shutdown(self) -> None:
        """Wait for all threads to end."""
        self._pool.shutdown()

    def leave(self) -> None:
        """A thread is about to wait."""
        with self._lock:
            self._free += 1
            begun = self._next()
        self._begin(begun)

    def come_back(self) -> None:
        """It goes on, with the others that work now."""
        with self._lock:
            self._free -= 1

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        """What is to be begun now, and has its place; with the lock held."""
        if self._free <= 0 or not self._queue:
            return None
        self._free -= 1
        return self._queue.popleft()

    def _begin(self, work: tuple[Future[Any], Callable[[], Any]] | None) -> None:
        if work is not None:
            self._pool.submit(self._run, *work)

    def _run(self, future: Future[Any], fn: Callable[[], Any]) -> None:
        """Work at this, and then at what waits."""
        _here.threads = self
        following: tuple[Future[Any], Callable[[], Any]] | None = (future, fn)
        while following is not None:
            _work(*following)
            with self._lock:
                self._free += 1
                following = self._next()


def _work(future: Future[Any], fn: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = fn()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
