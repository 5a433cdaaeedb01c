"""Blocking work beside a loop: whoever is cancelled goes on only when its thread has ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dockc.base.aside import aside, entered, finished, together


class _Slow:
    """Work that begins, and ends when it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun, self.let = threading.Event(), threading.Event()
        self.ended = False
        self._error = error

    def __call__(self) -> str:
        self.begun.set()
        assert self.let.wait(10)
        self.ended = True
        if self._error is not None:
            raise self._error
        return "made"


async def _begun(work: _Slow) -> None:
    while not work.begun.is_set():
        await asyncio.sleep(0.001)


async def _cancelled_while(work: _Slow, task: asyncio.Task[object], *, times: int = 1) -> bool:
    """Cancel a task in the middle of its work; whether it waited for the work's end."""
    await _begun(work)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.01)
    early = task.done()
    work.let.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    return not early


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_who_is_cancelled_waits_for_the_thread(times: int, error: Exception | None) -> None:
    async def run() -> None:
        work = _Slow(error)
        assert await _cancelled_while(work, asyncio.ensure_future(aside(work)), times=times)
        assert work.ended

    asyncio.run(run())


def test_the_end_of_a_loop_waits_for_the_thread() -> None:
    work = _Slow()

    async def run() -> None:
        task = asyncio.ensure_future(aside(work))
        task.add_done_callback(lambda _: None)
        await _begun(work)
        asyncio.get_running_loop().call_later(0.05, work.let.set)

    asyncio.run(run())
    assert work.ended


def test_results_errors_and_the_context_are_those_of_the_work() -> None:
    async def run() -> None:
        assert await aside(int, "17") == 17
        with pytest.raises(ValueError, match="invalid literal"):
            await aside(int, "x")

    asyncio.run(run())


@contextmanager
def _thing(log: list[str], enter: _Slow | None = None, leave: _Slow | None = None) -> Iterator[str]:
    if enter is not None:
        enter()
    try:
        yield "thing"
    except BaseException as error:
        log.append(type(error).__name__)
        raise
    else:
        if leave is not None:
            leave()
        log.append("whole")


def test_what_was_entered_is_left_however_it_ends() -> None:
    async def run() -> list[str]:
        log: list[str] = []
        async with entered(_thing(log)) as found:
            assert found == "thing"
        with pytest.raises(KeyError):
            async with entered(_thing(log)):
                raise KeyError
        return log

    assert asyncio.run(run()) == ["whole", "KeyError"]


def test_what_is_entered_while_it_is_cancelled_is_left() -> None:
    async def run() -> list[str]:
        log: list[str] = []
        slow = _Slow()

        async def use() -> None:
            async with entered(_thing(log, slow)):
                raise AssertionError("it was cancelled before")

        assert await _cancelled_while(slow, asyncio.ensure_future(use()), times=2)
        return log

    assert asyncio.run(run()) == ["CancelledError"]


def test_what_is_cancelled_at_its_good_end_ends_well() -> None:
    async def run() -> list[str]:
        log: list[str] = []
        slow = _Slow()

        async def use() -> None:
            async with entered(_thing(log, None, slow)):
                pass

        assert await _cancelled_while(slow, asyncio.ensure_future(use()))
        return log

    assert asyncio.run(run()) == ["whole"]


def test_what_is_to_be_finished_is() -> None:
    async def run() -> None:
        done = asyncio.Event()

        async def work() -> None:
            await asyncio.sleep(0.05)
            done.set()

        task = asyncio.ensure_future(finished(work()))
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done.is_set()

    asyncio.run(run())


def test_one_that_fails_ends_the_others_first() -> None:
    async def run() -> list[str]:
        log: list[str] = []

        async def slow(name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)
                log.append(name)

        async def fail() -> None:
            await asyncio.sleep(0.01)
            raise KeyError

        with pytest.raises(KeyError):
            await together(slow("a"), fail(), slow("b"))
        log.append("over")
        both = asyncio.ensure_future(together(slow("c"), slow("d")))
        await asyncio.sleep(0.01)
        both.cancel()
        with pytest.raises(asyncio.CancelledError):
            await both
        return log

    assert asyncio.run(run()) == ["a", "b", "over", "c", "d"]


def test_results_come_in_the_order_of_the_work() -> None:
    async def run() -> list[int]:
        async def give(number: int) -> int:
            await asyncio.sleep(0.01 / (number + 1))
            return number

        return await together(*map(give, range(5)))

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]
