"""What a build has told so far, kept in a compact form: whoever watches late, twice or after the end sees it from the
start.

Of each step and each part of a step the last state is kept, of logs everything up to a limit. A watcher that is slow
gets states
less often; it costs no memory of its own and never holds up the build.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from dockc.solver.progress import SolveStatus, VertexEvent, VertexLog, VertexStatus, VertexWarning

#: Bytes of logs that are kept of one build; of more, the oldest go.
LOG_LIMIT = 16 << 20
#: Warnings that are kept of one build.
WARNINGS = 1000
#: Seconds between two messages to one watcher.
INTERVAL = 0.1
#: Bytes of logs in one message.
LOG_PART = 1 << 20


class Events:
    """A sink that remembers. To be used on one loop's thread.

    Mutable: the tables below; every change wakes the watchers.
    """

    def __init__(self, *, log_limit: int = LOG_LIMIT) -> None:
        self._vertexes: dict[str, VertexEvent] = {}
        self._statuses: dict[tuple[str, str], VertexStatus] = {}
        self._warnings: list[VertexWarning] = []
        self._logs: list[VertexLog] = []
        self._head = 0  # of those, how many at the front have been given up
        self._first_log = 0  # the number that the log at the front has
        self._log_bytes = 0
        self._log_limit = log_limit
        self._watchers: set[_Watcher] = set()
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether anything may still come."""
        return self._ended

    def __call__(self, status: SolveStatus, /) -> None:
        """Take one batch."""
        for event in status.vertexes:
            self._vertexes[event.digest] = event
        for part in status.statuses:
            self._statuses[part.vertex, part.id] = part
        self._warnings += status.warnings[: max(0, WARNINGS - len(self._warnings))]
        for log in status.logs:
            self._logs.append(log)
            self._log_bytes += len(log.data)
        self._forget()
        for watcher in self._watchers:
            watcher.vertexes.update(dict.fromkeys(event.digest for event in status.vertexes))
            watcher.statuses.update(dict.fromkeys((part.vertex, part.id) for part in status.statuses))
            watcher.wake.set()

    def _forget(self) -> None:
        while self._log_bytes > self._log_limit:
            self._log_bytes -= len(self._logs[self._head].data)
            self._head += 1
        if self._head > len(self._logs) // 2:
            del self._logs[: self._head]
            self._first_log += self._head
            self._head = 0

    def end(self) -> None:
        """Nothing comes any more: watchers end when they have seen all."""
        self._ended = True
        for watcher in self._watchers:
            watcher.wake.set()

    async def watch(self, *, interval: float = INTERVAL) -> AsyncGenerator[SolveStatus, None]:
        """Everything from the start, then what comes, until the end.

        Args:
            interval: seconds to the next message at least; what happens meanwhile comes in one.
        """
        watcher = _Watcher(self._vertexes, self._statuses)
        self._watchers.add(watcher)
        try:
            while True:
                await watcher.wake.wait()
                ended = self._ended
                watcher.wake.clear()
                while (status := self._news(watcher)) is not None:
                    yield status
                if ended:
                    return
                await asyncio.sleep(interval)
        finally:
            self._watchers.discard(watcher)

    def all(self) -> SolveStatus:
        """Everything at once."""
        return SolveStatus(
            tuple(self._vertexes.values()),
            tuple(self._statuses.values()),
            tuple(self._logs[self._head :]),
            tuple(self._warnings),
        )

    def _news(self, watcher: _Watcher) -> SolveStatus | None:
        """What a watcher has not seen, not too much of it at once; None if there is nothing."""
        vertexes = tuple(self._vertexes[digest] for digest in watcher.vertexes)
        statuses = tuple(self._statuses[key] for key in watcher.statuses)
        warnings = tuple(self._warnings[watcher.warnings :])
        watcher.vertexes.clear()
        watcher.statuses.clear()
        watcher.warnings += len(warnings)
        at = max(self._head, watcher.log - self._first_log)
        logs: list[VertexLog] = []
        size = 0
        while at + len(logs) < len(self._logs) and size < LOG_PART:
            logs.append(self._logs[at + len(logs)])
            size += len(logs[-1].data)
        watcher.log = self._first_log + at + len(logs)
        if not (vertexes or statuses or warnings or logs):
            return None
        return SolveStatus(vertexes, statuses, tuple(logs), warnings)


class _Watcher:
    """How far one watcher has come: what changed since, and the number of its next log."""

    __slots__ = ("log", "statuses", "vertexes", "wake", "warnings")

    def __init__(self, vertexes: dict[str, VertexEvent], statuses: dict[tuple[str, str], VertexStatus]) -> None:
        self.vertexes = dict.fromkeys(vertexes)
        self.statuses = dict.fromkeys(statuses)
        self.warnings = 0
        self.log = 0
        self.wake = asyncio.Event()
        self.wake.set()
