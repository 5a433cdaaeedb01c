"""The progress of one build: kept whole for whoever comes late, and handed out without anybody waiting for a slow
reader.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from dockc.base.record import replace
from dockc.solver.progress import SolveStatus, VertexEvent, VertexLog, VertexStatus, VertexWarning

T = TypeVar("T")

PAUSE = 0.1
"""Seconds between two messages to one watcher."""
MAX_LOGS = 16 << 20
"""Bytes of logs that are kept for those who come late; the oldest go first."""
MAX_KEPT = 1 << 20
"""The same for builds that are over."""
MAX_WARNINGS = 64 << 20
"""Bytes of warnings, with the files that they speak of; the first ones stay. A frontend may make any number."""
_MAX_MESSAGE = 1 << 20
_COMPACT = 2000


class Watcher:
    """One reader: what has not been told yet."""

    def __init__(self) -> None:
        self.vertexes: list[VertexEvent] = []
        self.statuses: dict[tuple[str, str], VertexStatus] = {}
        self.logs: list[VertexLog] = []
        self.warnings: list[VertexWarning] = []
        self.size = 0
        self.lost = 0
        self.warned = 0  # bytes of all warnings that were put
        self._most = _COMPACT  # events of which only the last of each step is kept
        self.news = asyncio.Event()

    def put(self, status: SolveStatus) -> None:
        """Take what happened. A reader that is slow gets the last state of each step and the newest logs."""
        self.vertexes += status.vertexes
        if len(self.vertexes) > self._most:
            self.vertexes = list({one.digest: one for one in self.vertexes}.values())
            self._most = max(_COMPACT, 2 * len(self.vertexes))
        for one in status.statuses:
            self.statuses[one.vertex, one.id] = one
        for warning in status.warnings:
            self.warned += _size(warning)
            if self.warned <= MAX_WARNINGS:
                self.warnings.append(warning)
        for log in status.logs:
            self.logs.append(log)
            self.size += len(log.data)
        self.trim(MAX_LOGS)
        self.news.set()

    def trim(self, most: int) -> None:
        """Let go of the oldest logs beyond so many bytes."""
        gone = 0
        while self.size > most:
            self.size -= len(self.logs[gone].data)
            gone += 1
        del self.logs[:gone]
        self.lost += gone

    def take(self) -> list[SolveStatus]:
        """Everything, in messages of which neither logs nor warnings make one that is too long."""
        logs = _parts(self.logs, lambda log: len(log.data))
        warnings = _parts(self.warnings, _size)
        first = SolveStatus(tuple(self.vertexes), tuple(self.statuses.values()), logs[0], warnings[0])
        self.vertexes, self.statuses, self.logs, self.warnings, self.size = [], {}, [], [], 0
        self.news.clear()
        messages = [first, *(SolveStatus(logs=part) for part in logs[1:])]
        messages += [SolveStatus(warnings=part) for part in warnings[1:]]
        return [one for one in messages if one.vertexes or one.statuses or one.logs or one.warnings]


def _parts(found: Sequence[T], size_of: Callable[[T], int]) -> list[tuple[T, ...]]:
    """What was found, so much together as fits into a message; at least one part."""
    parts: list[list[T]] = [[]]
    size = 0
    for one in found:
        if size + size_of(one) > _MAX_MESSAGE and parts[-1]:
            parts.append([])
            size = 0
        parts[-1].append(one)
        size += size_of(one)
    return [tuple(part) for part in parts]


def _size(warning: VertexWarning) -> int:
    return len(warning.short) + sum(map(len, warning.detail)) + len(warning.url) + len(warning.source) + 200


class Progress:
    """All that happened in a build. A sink of the engine; on the loop's thread.

    Attributes:
        warned: how many warnings there were.
    """

    def __init__(self) -> None:
        self._all = Watcher()
        self._last: dict[str, VertexEvent] = {}
        self._watchers: list[Watcher] = []
        self._over = False
        self.warned = 0

    def __call__(self, status: SolveStatus, /) -> None:
        """Take one batch."""
        if self._over:
            return
        for event in status.vertexes:
            self._last[event.digest] = event
        self.warned += len(status.warnings)
        self._all.put(status)
        for one in self._watchers:
            one.put(status)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Steps that were cached, all steps, and those that have ended."""
        steps = [one for one in self._last.values() if not one.name.startswith("[internal]")]
        return sum(one.cached for one in steps), len(steps), sum(one.completed is not None for one in steps)

    def end(self) -> None:
        """Nothing more happens: what is still open was cancelled."""
        if self._over:
            return
        now = time.time_ns()
        left = tuple(
            replace(event, completed=now, error=event.error or "context canceled")
            for event in self._last.values()
            if event.started is not None and event.completed is None
        )
        if left:
            self(SolveStatus(vertexes=left))
        self._over = True
        self._all.trim(MAX_KEPT)
        for one in self._watchers:
            one.news.set()

    async def watch(self) -> AsyncIterator[SolveStatus]:
        """All that happened and happens, from the beginning to the end."""
        watcher = Watcher()
        watcher.put(
            SolveStatus(
                tuple(self._all.vertexes),
                tuple(self._all.statuses.values()),
                tuple(self._all.logs),
                tuple(self._all.warnings),
            )
        )
        self._watchers.append(watcher)
        try:
            while True:
                over = self._over
                for message in watcher.take():
                    yield message
                if over:
                    return
                if not watcher.news.is_set():
                    await watcher.news.wait()
                if not self._over:
                    await asyncio.sleep(PAUSE)
        finally:
            self._watchers.remove(watcher)
