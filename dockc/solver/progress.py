"""What happens in a solve, in BuildKit's own shape (`client.SolveStatus`), and how it is fanned out.

Times are integer nanoseconds since the epoch. Events are immutable; a consumer keeps the last `Vertex` event
of each digest.
"""

from __future__ import annotations

from typing import Protocol

from dockc.base.record import Record
from dockc.solver.vertex import ProgressGroup, Vertex


class VertexEvent(Record):
    """State of one step: announced, started, completed; sent again on each change.

    A vertex can start and complete more than once (its cache key is resolved, later it runs).
    """

    digest: str
    name: str
    inputs: tuple[str, ...] = ()
    started: int | None = None
    completed: int | None = None
    cached: bool = False
    error: str = ""
    progress_group: ProgressGroup | None = None


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
    """A batch of things that happened."""

    vertexes: tuple[VertexEvent, ...] = ()
    statuses: tuple[VertexStatus, ...] = ()
    logs: tuple[VertexLog, ...] = ()
    warnings: tuple[VertexWarning, ...] = ()


class StatusSink(Protocol):
    """Where a job's progress goes. Called on the event loop's thread; must not block."""

    def __call__(self, status: SolveStatus, /) -> None:
        """Take one batch."""
        ...


def announce(vertex: Vertex, *, started: int | None = None, completed: int | None = None) -> VertexEvent:
    """The event that makes a vertex known."""
    inputs = tuple(dict.fromkeys(edge.vertex.digest for edge in vertex.inputs))
    group = vertex.options.progress_group
    return VertexEvent(vertex.digest, vertex.name, inputs, started, completed, progress_group=group)
