"""The log of one step, passed on as it comes: nothing of it is held here unless somebody asks for a limit.

The reference ends a log after 2 MiB; here that is for whoever sets its variable `BUILDKIT_STEP_LOG_MAX_SIZE` (bytes, -1
for none).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from dockc.errors import UsageError

_VARIABLE = "BUILDKIT_STEP_LOG_MAX_SIZE"
TAIL_BYTES = 256 << 10


class StepLog:
    """Passes output on up to a limit and keeps the last `TAIL_BYTES` for the case that the step fails.

    Not thread-safe: both streams of a step are read by one thread.
    """

    def __init__(self, sink: Callable[[int, bytes], None], *, limit: int = sys.maxsize, tail: int = TAIL_BYTES) -> None:
        self._sink = sink
        self._limit = limit
        self._tail_limit = tail
        self._passed = 0
        self._clipped = False
        self._tail: list[tuple[int, bytes]] = []
        self._tail_size = 0

    def write(self, stream: int, data: bytes) -> None:
        """Take output of stream 1 or 2."""
        room = self._limit - self._passed
        if len(data) <= room:
            self._passed += len(data)
            self._sink(stream, data)
            return
        if not self._clipped:
            self._clipped = True
            self._passed = self._limit
            limit = f"{self._limit / (1 << 20):.2g}MiB"
            self._sink(stream, data[:room] + f"\n[output clipped, log limit {limit} reached]\n".encode())
            data = data[room:]
        self._keep(stream, data)

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


def limit_of(environ: Mapping[str, str]) -> int:
    """The limit that a variable asks for, in bytes.

    Raises:
        UsageError: it is no number.
    """
    text = environ.get(_VARIABLE, "")
    try:
        limit = int(text or "-1")
    except ValueError:
        raise UsageError(f"{_VARIABLE}: expected a number of bytes, or -1, not {text!r}") from None
    return sys.maxsize if limit < 0 else limit
