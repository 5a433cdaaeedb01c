"""Archives on their way to a client: in order, some megabytes ahead, never more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dockc.daemon.outflow import AHEAD, PIECE, Outflow
from dockc.daemon.sessions import Caller, SessionGone
from dockc.errors import DockcError
from dockc.rpc.status import ALREADY_EXISTS, INTERNAL, UNAVAILABLE, RpcError
from dockc.rpc.transports import payload


class Slow:
    """A call to a client that takes a message only when it is let. State: what it has taken, and how it ended."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.room = asyncio.Semaphore(0)
        self.failure: RpcError | None = None
        self.ended = self.cancelled = False

    async def send(self, message: bytes) -> None:
        await self.room.acquire()
        if self.failure is not None:
            raise self.failure
        self.taken.append(payload(message))

    def end(self) -> None:
        self.ended = True

    async def drained(self) -> None:
        if self.failure is not None:
            raise self.failure

    def cancel(self) -> None:
        self.cancelled = True

    def let(self, count: int) -> None:
        for _ in range(count):
            self.room.release()


def flow(work: Callable[[Outflow, Slow, Callable[[Callable[[], object]], None]], None]) -> Slow:
    """Run `work` in a thread, beside a loop; it is given a way to do something on the loop."""

    async def run() -> Slow:
        loop = asyncio.get_running_loop()
        call = Slow()
        caller = Caller("name", "", (), None)  # type: ignore[arg-type]

        def on_loop(do: Callable[[], object]) -> None:
            async def done() -> None:
                do()

            work: Coroutine[Any, Any, None] = done()
            asyncio.run_coroutine_threadsafe(work, loop).result(20)

        async with asyncio.timeout(60):
            await asyncio.to_thread(work, Outflow(caller, call), call, on_loop)  # type: ignore[arg-type]
        return call

    return asyncio.run(run())


def test_bytes_go_out_in_order_and_the_writer_is_a_window_ahead() -> None:
    data = bytes(range(256)) * (PIECE // 128)

    def work(stream: Outflow, call: Slow, on_loop: Callable[[Callable[[], object]], None]) -> None:
        written = 0
        blocked = threading.Event()

        def write() -> None:
            nonlocal written
            for _ in range(8):
                stream.write(data)
                written += len(data)
            blocked.set()

        thread = threading.Thread(target=write)
        thread.start()
        while written < AHEAD - len(data):
            pass
        assert not blocked.wait(0.2), "the client has taken nothing"
        assert written <= AHEAD
        on_loop(lambda: call.let(100))
        thread.join()
        stream.finish()

    call = flow(work)
    assert b"".join(call.taken) == data * 8
    assert max(map(len, call.taken)) == PIECE
    assert (call.ended, call.cancelled) == (True, False)


@pytest.mark.parametrize(("code", "kind"), [(INTERNAL, DockcError), (UNAVAILABLE, SessionGone), (ALREADY_EXISTS, DockcError)])
def test_what_the_client_says_comes_out_of_the_writer(code: int, kind: type[DockcError]) -> None:
    def work(stream: Outflow, call: Slow, on_loop: Callable[[Callable[[], object]], None]) -> None:
        call.failure = RpcError("no room", code=code)
        on_loop(lambda: call.let(1))
        with pytest.raises(kind, match="no room"):
            for _ in range(100):  # the first ones may be on their way
                stream.write(b"x" * PIECE)
        with pytest.raises(kind, match="no room"):
            stream.finish()
        stream.break_off()

    call = flow(work)
    assert (call.ended, call.cancelled) == (False, True)


def test_what_is_broken_off_is_not_ended() -> None:
    def work(stream: Outflow, call: Slow, on_loop: Callable[[Callable[[], object]], None]) -> None:
        stream.write(b"x" * PIECE * 3)
        stream.break_off()
        on_loop(lambda: call.let(100))
        with pytest.raises(DockcError):
            stream.write(b"more")

    call = flow(work)
    assert (len(call.taken) <= 1, call.ended, call.cancelled) == (True, False, True)
