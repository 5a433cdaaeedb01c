"""Threads that wait for somebody keep nobody else from working."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable

import pytest

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


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def burst(threads: Threads, count: int) -> None:
    """So many threads that work at the same time."""
    together = threading.Barrier(count + 1)
    done = [threads.submit(lambda: together.wait(60)) for _ in range(count)]
    together.wait(60)
    for one in done:
        one.result(60)


def test_threads_of_a_burst_end() -> None:
    threads = Threads(30, "bursting", idle=0.05)
    burst(threads, 30)
    for thread in named("bursting"):
        thread.join(60)
        assert not thread.is_alive()
    burst(threads, 30)  # and there are new ones when they are needed
    threads.shutdown()
    assert named("bursting") == []
    with pytest.raises(RuntimeError, match="takes no more work"):
        threads.submit(lambda: None)


def test_the_thread_that_worked_last_works_next() -> None:
    """So the others have nothing to do, and end."""
    threads = Threads(10, "last", idle=600)
    burst(threads, 10)
    seen = set()
    for _ in range(50):
        seen.add(threads.submit(threading.get_ident).result(60))
    assert len(seen) <= 2  # the result is there a moment before its thread is idle
    assert len(named("last")) == 10
    threads.shutdown()  # wakes the idle ones
    assert named("last") == []


def test_nothing_is_lost_between_idle_and_ended() -> None:
    threads = Threads(4, "eager", idle=0.0001)
    for n in range(2000):
        assert threads.submit(lambda n=n: n).result(60) == n  # type: ignore[misc]
    futures = [threads.submit(lambda n=n: n) for n in range(2000)]  # type: ignore[misc]
    assert [future.result(60) for future in futures] == list(range(2000))
    threads.shutdown()
    assert named("eager") == []


def test_where_no_thread_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ones that there are do all; without any it is said."""
    start: Callable[[threading.Thread], None] = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "scarce" and (refusing or named("scarce")):
            raise RuntimeError("can't start new thread")
        start(thread)

    refusing = True
    monkeypatch.setattr(threading.Thread, "start", refuse)
    threads = Threads(3, "scarce")
    with pytest.raises(RuntimeError, match="no thread can be made"):
        threads.submit(lambda: None)
    refusing = False
    go = threading.Event()

    def wait() -> None:
        with waiting():
            go.wait(60)

    futures = [threads.submit(wait), *(threads.submit(lambda n=n: n) for n in range(20))]  # type: ignore[misc]
    go.set()
    assert [future.result(60) for future in futures] == [None, *range(20)]
    assert len(named("scarce")) == 1
    threads.shutdown()


def script(text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_was_submitted_is_done_before_the_interpreter_ends() -> None:
    """And idle threads do not keep it: the script ends long before they would."""
    said = script(
        """
        import os, time
        from dockc.base.threads import Threads, waiting
        threads, more = Threads(2, "a", idle=3600), Threads(3, "b", idle=3600)
        more.submit(lambda: None).result()
        def work(n):
            with waiting():
                time.sleep(0.01)
            os.write(1, b"%d\\n" % n)
        for n in range(40):
            threads.submit(lambda n=n: work(n))
        """
    )
    assert sorted(map(int, said.split())) == list(range(40))


def test_a_forked_process_begins_with_nothing() -> None:
    said = script(
        """
        import os, threading, time, warnings
        from dockc.base.threads import Threads
        warnings.simplefilter("ignore", DeprecationWarning)    # since Python 3.12: forking with threads is what this is about
        threads = Threads(2, "a", idle=3600)
        go, held = threading.Event(), threading.Event()
        threads.submit(lambda: None).result()                  # one is idle
        busy = [threads.submit(lambda: (held.set(), go.wait(30))) for _ in range(2)]
        queued = threads.submit(lambda: print("queued", flush=True))
        held.wait(30)
        for _ in range(2):
            pid = os.fork()
            if not pid:
                try:
                    assert threads.submit(lambda: 5).result(10) == 5
                    threads.shutdown()
                    os._exit(7)
                finally:
                    os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        within = threads.submit(lambda: None)                  # a thread that forks, and goes on in the child
        go.set()
        queued.result(10)
        def fork():
            pid = os.fork()
            return pid or threads.submit(lambda: 6).result(10) == 6 and os._exit(8)
        pid = threads.submit(fork).result(10)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 8
        """
    )
    assert said == "queued\n"
