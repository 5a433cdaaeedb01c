"""What happens in a solve, in BuildKit's own shape (`client.SolveStatus`), and how it is fanned out.

Times are integer nanoseconds since the epoch. Events are immutable; a consumer keeps the last `Vertex` event
of each digest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from dockc.base.record import Record
from dockc.solver.keydiff import Missed
from dockc.solver.vertex import ProgressGroup, Vertex

PAUSE = 100_000_000
"""Nanoseconds between two reports on the same part of a step."""


class VertexEvent(Record):
    """State of one step: announced, started, completed; sent again on each change.

    A vertex can start and complete more than once (its cache key is resolved, later it runs).

    Attributes:
        waiting: completed for now: its content comes when a step first needs it, and the vertex then starts again. Only
            in this process; BuildKit's protocol has no word for it.
        coming: started, or completed, only because files come that it is to read: what it needs of its inputs is not
            known yet. Only in this process, too.
    """

    digest: str
    name: str
    inputs: tuple[str, ...] = ()
    started: int | None = None
    completed: int | None = None
    cached: bool = False
    error: str = ""
    progress_group: ProgressGroup | None = None
    waiting: bool = False
    coming: bool = False


class VertexStatus(Record):
    """Progress of a part of a step, such as one layer; `current` and `total` in bytes, total 0 if unknown."""

    id: str
    vertex: str
    name: str = ""
    current: int = 0
    total: int = 0
    timestamp: int = 0
    started: int | None = None
    completed: int | None = None


class VertexLog(Record):
    """Raw output of a step; stream 1 is stdout, 2 stderr. Bytes are not decoded and not trusted."""

    vertex: str
    stream: int
    data: bytes
    timestamp: int = 0


class SourceRange(Record):
    """Positions `(line, character)` from 1 and 0, as in `pb.Range`."""

    start: tuple[int, int]
    end: tuple[int, int]


class VertexWarning(Record):
    """A warning about a step, with the lines it speaks of where known."""

    vertex: str
    level: int = 1
    short: str = ""
    detail: tuple[str, ...] = ()
    url: str = ""
    filename: str = ""
    source: bytes = b""
    ranges: tuple[SourceRange, ...] = ()


class SolveStatus(Record):
    """A batch of things that happened; `misses` is no part of BuildKit's."""

    vertexes: tuple[VertexEvent, ...] = ()
    statuses: tuple[VertexStatus, ...] = ()
    logs: tuple[VertexLog, ...] = ()
    warnings: tuple[VertexWarning, ...] = ()
    misses: tuple[Missed, ...] = ()


class StatusSink(Protocol):
    """Where a job's progress goes. Called on the event loop's thread; must not block."""

    def __call__(self, status: SolveStatus, /) -> None:
        """Take one batch."""
        ...


class Parts:
    """Progress of the parts of one vertex, as often as people can read it: the first and the last report of each part,
    and those in between that lie `PAUSE` after the one before.

    Mutable: `_starts` and `_told`, by part. From any thread; each part by one at a time.
    """

    def __init__(self, vertex: str, send: Callable[[SolveStatus], None]) -> None:
        """Report on the vertex of this digest to `send`, which must not block."""
        self._vertex = vertex
        self._send = send
        self._starts: dict[str, int] = {}
        self._told: dict[str, int] = {}

    def status(self, part: str, *, name: str = "", current: int = 0, total: int = 0, done: bool = False) -> None:
        """How far a part is, in bytes."""
        now = time.time_ns()
        told = self._told.get(part)
        if told is not None and not done and 0 <= now - told < PAUSE:
            return
        self._told[part] = now
        started = self._starts.setdefault(part, now)
        ended = now if done else None
        status = VertexStatus(part, self._vertex, name or part, current, total, now, started, ended)
        self._send(SolveStatus(statuses=(status,)))


def announce(vertex: Vertex, *, started: int | None = None, completed: int | None = None) -> VertexEvent:
    """The event that makes a vertex known."""
    inputs = tuple(dict.fromkeys(edge.vertex.digest for edge in vertex.inputs))
    group = vertex.options.progress_group
    return VertexEvent(vertex.digest, vertex.name, inputs, started, completed, progress_group=group)
