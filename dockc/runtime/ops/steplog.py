"""The log of one step, passed on as it comes: nothing of it is held here unless somebody asks for a limit.

The reference ends a log after 2 MiB, and passes 200 KiB a second on; here that is for whoever sets its variables
`BUILDKIT_STEP_LOG_MAX_SIZE` (bytes) and `BUILDKIT_STEP_LOG_MAX_SPEED` (bytes a second), -1 for none.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping

from dockc.base.record import Record
from dockc.errors import UsageError

_SIZE = "BUILDKIT_STEP_LOG_MAX_SIZE"
_SPEED = "BUILDKIT_STEP_LOG_MAX_SPEED"
TAIL_BYTES = 256 << 10


class LogLimits(Record):
    """How much of a step's log is passed on.

    Attributes:
        size: bytes in all.
        speed: bytes for each second that has begun since the first one.
    """

    size: int = sys.maxsize
    speed: int = sys.maxsize


class StepLog:
    """Passes output on up to a limit and keeps the last `TAIL_BYTES` for the case that the step fails.

    What comes too fast is lost until the seconds that go by have made room again; a log that is too long has ended.
    Not thread-safe: both streams of a step are read by one thread.
    """

    def __init__(
        self,
        sink: Callable[[int, bytes], None],
        *,
        limits: LogLimits = LogLimits(),  # noqa: B008 - it cannot change
        tail: int = TAIL_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._limits = limits
        self._clock = clock
        self._began = clock()
        self._tail_limit = tail
        self._written = 0
        self._clipping = False
        self._tail: list[tuple[int, bytes]] = []
        self._tail_size = 0

    def write(self, stream: int, data: bytes) -> None:
        """Take output of stream 1 or 2."""
        limit, said = self._limit()
        room = max(limit - self._written, 0)
        self._written += len(data)  # what is lost counts, too, as in the reference
        if len(data) <= room:
            self._clipping = False
            self._sink(stream, data)
            return
        if not self._clipping:
            self._clipping = True
            self._sink(stream, data[:room] + f"\n[output clipped, log limit {said} reached]\n".encode())
            data = data[room:]
        elif room:
            self._sink(stream, data[:room])
            data = data[room:]
        self._keep(stream, data)

    def _limit(self) -> tuple[int, str]:
        """Bytes that may have been passed on by now, and the limit's name for people."""
        size, speed = self._limits.size, self._limits.speed
        if speed != sys.maxsize:
            by_now = math.ceil(self._clock() - self._began) * speed
            if by_now <= size:
                return by_now, f"{_units(speed)}/s"
        return size, _units(size)

    def _keep(self, stream: int, data: bytes) -> None:
        data = data[-self._tail_limit :]
        self._tail.append((stream, data))
        self._tail_size += len(data)
        while self._tail_size - len(self._tail[0][1]) >= self._tail_limit:
            self._tail_size -= len(self._tail.pop(0)[1])

    def flush_tail(self) -> None:
        """Pass on the end of what was clipped; for a step that failed."""
        for stream, data in self._tail:
            self._sink(stream, data)
        self._tail.clear()
        self._tail_size = 0


def limits_of(environ: Mapping[str, str]) -> LogLimits:
    """The limits that variables ask for.

    Raises:
        UsageError: one is no number.
    """
    return LogLimits(_number(environ, _SIZE, "bytes"), _number(environ, _SPEED, "bytes a second"))


def _number(environ: Mapping[str, str], name: str, what: str) -> int:
    text = environ.get(name, "")
    try:
        limit = int(text or "-1")
    except ValueError:
        raise UsageError(f"{name}: expected a number of {what}, or -1, not {text!r}") from None
    return sys.maxsize if limit < 0 else limit


def _units(count: int) -> str:
    return f"{count / (1 << 20):.2g}MiB"
