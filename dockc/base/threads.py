"""Threads for what blocks: whether what they work for is still wanted, and how many of them work at once."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakSet

T = TypeVar("T")

_MOST = 10_000
"""Threads that may wait: each belongs to a build that does."""
_IDLE = 10.0
"""Seconds after which a thread that has no work ends."""
_Task = tuple[Future[Any], Callable[[], Any]]
"""A function, and where its result goes."""


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


class _Worker:
    """A thread and what it is given. Under the lock of its `Threads`, but for `woken`.

    Attributes:
        work: what it works at next; None while it is idle, and when it shall end.
        woken: set when it is not to be idle any longer.
    """

    __slots__ = ("woken", "work")

    def __init__(self, work: _Task) -> None:
        self.work: _Task | None = work
        self.woken = threading.Event()


class Threads:
    """So many threads at work at once; those that are `waiting` are not counted. What comes first is begun first. A thread
    ends when nothing has come for it for a while, so that a burst leaves none behind.

    At the interpreter's end all that was submitted is still done. A process that is forked begins with nothing: what its
    parent's threads are at is the parent's.

    Mutable under `_lock`: what waits to be begun; how many more threads may work, less than 0 when some have come back from
    waiting; the threads, those that take no more work and are about to end, and those that are idle, the one that worked
    last at the end.

    Args:
        limit: threads at work at once.
        name: what the threads are called.
        idle: seconds after which a thread without work ends.
    """

    def __init__(self, limit: int, name: str, *, idle: float = _IDLE) -> None:
        self._limit, self._name, self._idle_for = limit, name, idle
        self._begin_anew()
        _all.add(self)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[_Task] = deque()
        self._free = self._limit
        self._alive: set[threading.Thread] = set()
        self._ending: list[threading.Thread] = []
        self._idle: dict[_Worker, None] = {}
        self._closed = False

    def submit(self, fn: Callable[[], T]) -> Future[T]:
        """Run it, as soon as a thread may.

        Raises:
            RuntimeError: after `shutdown`, or there is no thread and none can be made.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError(f"{self._name} takes no more work")
            self._queue.append((future, fn))
            self._begin_next()
            if not self._alive:
                self._queue.pop()
                raise RuntimeError(f"{self._name}: no thread can be made")
        return future

    def shutdown(self) -> None:
        """Wait until all that was submitted is done and all threads have ended."""
        self.close()
        while True:
            with self._lock:
                left = [*self._alive, *self._ending]
                self._ending = []
            if not left:
                return
            for thread in left:
                thread.join()

    def close(self) -> None:
        """Take no more work; threads end when there is none left."""
        with self._lock:
            self._closed = True
            idle, self._idle = list(self._idle), {}
            for worker in idle:
                worker.woken.set()

    def leave(self) -> None:
        """A thread is about to wait."""
        with self._lock:
            self._free += 1
            self._begin_next()

    def come_back(self) -> None:
        """It goes on, with the others that work now."""
        with self._lock:
            self._free -= 1

    def _next(self) -> _Task | None:
        """What is to be begun now, and has its place; with the lock held."""
        if self._free <= 0 or not self._queue:
            return None
        self._free -= 1
        return self._queue.popleft()

    def _begin_next(self) -> None:
        """Give the next work to a thread; with the lock held. Where no thread can be made it stays the next, for whichever
        ends its work first.
        """
        work = self._next()
        if work is None:
            return
        if self._idle:
            worker, _ = self._idle.popitem()
            worker.work = work
            worker.woken.set()
            return
        thread = threading.Thread(target=self._run, args=(_Worker(work), self._alive), name=self._name)
        try:
            if len(self._alive) >= _MOST:
                raise RuntimeError
            thread.start()
        except RuntimeError:  # the machine's limit, ours, or the interpreter ends
            self._free += 1
            self._queue.appendleft(work)
        else:
            self._alive.add(thread)

    def _run(self, worker: _Worker, alive: set[threading.Thread]) -> None:
        """A thread: work at what it was given, then at what waits, then wait for more."""
        _here.threads = self
        while worker.work is not None:
            work, worker.work = worker.work, None
            _work(*work)
            del work
            with self._lock:
                if self._alive is not alive:
                    return  # this has forked: nothing here is ours any more
                self._free += 1
                worker.work = self._next()
                if worker.work is not None:
                    continue
                if self._closed:
                    self._end()
                    return
                worker.woken.clear()
                self._idle[worker] = None
            worker.woken.wait(self._idle_for)
            with self._lock:
                if worker.work is None:  # nothing has come, or nothing will
                    self._idle.pop(worker, None)
                    self._end()

    def _end(self) -> None:
        """This thread takes no more work; with the lock held."""
        thread = threading.current_thread()
        self._alive.discard(thread)
        self._ending = [*(one for one in self._ending if one.is_alive()), thread]


_all: WeakSet[Threads] = WeakSet()


def _at_end() -> None:
    for threads in list(_all):
        threads.close()


def _forked() -> None:
    for threads in list(_all):
        threads._begin_anew()  # noqa: SLF001 - of this module


# Where the library's own pools are told that the interpreter ends: before it waits for threads, which `atexit` is not.
threading._register_atexit(_at_end)  # type: ignore[attr-defined]  # noqa: SLF001
if sys.platform != "win32":  # which has no fork
    os.register_at_fork(after_in_child=_forked)


def _work(future: Future[Any], fn: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = fn()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
