"""Threads that wait for somebody keep nobody else from working."""

from __future__ import annotations

import threading

from dockc.base.threads import Threads, given_up, waiting, working_for


def test_so_many_work_at_once_and_those_that_wait_are_not_counted() -> None:
    threads = Threads(2, "test")
    go, begun = threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        with waiting():
            begun.release()
            go.wait(60)

    def work() -> None:
        begun.release()
        go.wait(60)

    waiters = [threads.submit(wait) for _ in range(50)]
    for _ in waiters:
        assert begun.acquire(timeout=60)
    workers = [threads.submit(work) for _ in range(3)]
    for _ in range(2):
        assert begun.acquire(timeout=60)
    assert not begun.acquire(timeout=0.1)  # the third has no place
    never = threads.submit(work)
    assert never.cancel()
    go.set()
    assert begun.acquire(timeout=60)
    for one in (*waiters, *workers):
        one.result(60)
    # All places are free again, and no more than there were.
    go.clear()
    workers = [threads.submit(work) for _ in range(3)]
    for _ in range(2):
        assert begun.acquire(timeout=60)
    assert not begun.acquire(timeout=0.1)
    go.set()
    for one in workers:
        one.result(60)
    threads.shutdown()


def test_a_failure_is_the_work_s_own() -> None:
    threads = Threads(1, "test")

    def fail() -> None:
        with waiting():
            raise KeyError("x")

    assert isinstance(threads.submit(fail).exception(60), KeyError)
    assert threads.submit(lambda: 5).result(60) == 5
    threads.shutdown()


def test_whether_it_is_wanted() -> None:
    wanted = threading.Event()
    assert not given_up()
    with working_for(wanted):
        assert not given_up()
        wanted.set()
        assert given_up()
        with working_for(threading.Event()):
            assert not given_up()
        assert given_up()
    assert not given_up()
