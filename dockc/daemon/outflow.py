"""Bytes that a thread writes and the event loop sends: some megabytes are on their way while the next ones are made."""

from __future__ import annotations

import asyncio
import io
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dockc.base.threads import waiting
from dockc.rpc.status import CANCELLED, RpcError
from dockc.rpc.transports import packed

if TYPE_CHECKING:
    from dockc.daemon.sessions import Caller
    from dockc.rpc.calls import Call

PIECE = 1 << 20
"""Bytes of a message; Go's clients take no more than four times as many."""
AHEAD = 8 << 20
"""Bytes that may wait for the client; then the thread does."""
_LOOK = 0.2
"""Seconds between two looks of a thread that waits whether anybody still wants the output."""


class Outflow(io.RawIOBase):
    """A stream whose bytes go out as messages of a call, in their order.

    State: what waits to be sent and how much that is, under `_change`; whether a task of the loop is at it. Errors of
    the call come out of the next `write`, or of `finish`.
    """

    def __init__(self, caller: Caller, call: Call) -> None:
        super().__init__()
        self._caller, self._call = caller, call
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._pumping = False
        self._error: BaseException | None = None
        self._change = threading.Condition()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any, /) -> int:
        """Take bytes, once there is room for them.

        Raises:
            DockcError: the client has refused what was written before, or has gone.
            Cancelled: the build has been given up.
        """
        view = memoryview(data).cast("B")
        for at in range(0, len(view), PIECE):
            self._put(packed(view[at : at + PIECE]))
        return len(view)

    def _put(self, message: bytes) -> None:
        with self._change:
            self._wait(lambda: self._waiting < AHEAD)
            if self._error is None:
                self._pieces.append(message)
                self._waiting += len(message)
                if not self._pumping:
                    self._pumping = True
                    self._caller.begin(self._pump)
        if self._error is not None:
            raise self._caller.told(self._error)

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Until it holds or the call has failed; with `_change` held."""
        if condition() or self._error is not None:
            return
        with waiting():
            while not self._change.wait_for(lambda: condition() or self._error is not None, _LOOK):
                self._caller.check()

    async def _pump(self) -> None:
        """Send what waits; on the loop."""
        error: BaseException | None = None
        while True:
            with self._change:
                if error is not None:
                    self._error = self._error or error
                    self._pieces.clear()
                if not self._pieces:
                    self._pumping = False
                    self._change.notify_all()
                    return
                message = self._pieces.popleft()
            try:
                await self._call.send(message)
            except (RpcError, asyncio.CancelledError) as exc:
                error = exc
            with self._change:
                self._waiting -= len(message)
                self._change.notify_all()

    def finish(self) -> None:
        """Wait until the client has taken everything.

        Raises:
            DockcError: it has not.
            Cancelled: the build has been given up.
        """
        with self._change:
            self._wait(lambda: not self._pumping)
        if self._error is not None:
            raise self._caller.told(self._error)
        self._caller.wait(self._finish())

    async def _finish(self) -> None:
        self._call.end()
        await self._call.drained()

    def break_off(self) -> None:
        """Send nothing more: what has come is not whole."""
        with self._change:
            self._error = self._error or RpcError("the output was broken off", code=CANCELLED)
            self._pieces.clear()
            self._change.notify_all()
        self._caller.begin(self._cancel)

    async def _cancel(self) -> None:
        self._call.cancel()
