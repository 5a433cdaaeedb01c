"""Progress as JSON, one status a line, in the shape that BuildKit's clients print with `--progress=rawjson`.

Log data and warning texts are base64, times RFC 3339 with nanoseconds in UTC, empty fields are left out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from dockc.solver.progress import SolveStatus, SourceRange, VertexEvent, VertexLog, VertexStatus, VertexWarning
from dockc.solver.vertex import ProgressGroup

_SECOND = 1_000_000_000


class RawJsonProgress:
    """A status sink that writes JSON lines."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, status: SolveStatus) -> None:
        """Write one line; what BuildKit has no words for is left out."""
        if status.misses and status == SolveStatus(misses=status.misses):
            return
        self._out.write(line_of(status))
        self._out.flush()

    def finish(self, error: BaseException | None = None, *, logs: bool = True) -> None:
        """Nothing is left to write."""


def line_of(status: SolveStatus) -> str:
    """One status as a line."""
    return json.dumps(to_json(status), separators=(",", ":"), ensure_ascii=False) + "\n"


def to_json(status: SolveStatus) -> dict[str, object]:
    """The JSON value of one status."""
    return _filled(
        vertexes=[_vertex(v) for v in status.vertexes],
        statuses=[_status(s) for s in status.statuses],
        logs=[_log(log) for log in status.logs],
        warnings=[_warning(w) for w in status.warnings],
    )


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with as many decimals as needed."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{rest:09d}".rstrip("0") if rest else "") + "Z"


def _vertex(v: VertexEvent) -> dict[str, object]:
    return _filled(
        digest=v.digest,
        inputs=list(v.inputs),
        name=v.name,
        started=_time(v.started),
        completed=_time(v.completed),
        cached=v.cached,
        error=v.error,
        progressGroup=_group(v.progress_group),
    )


def _group(group: ProgressGroup | None) -> dict[str, object] | None:
    return None if group is None else _filled(id=group.id, name=group.name, weak=group.weak)


def _status(s: VertexStatus) -> dict[str, object]:
    return {
        "id": s.id,
        **_filled(vertex=s.vertex, name=s.name, total=s.total),
        "current": s.current,
        "timestamp": timestamp(s.timestamp),
        **_filled(started=_time(s.started), completed=_time(s.completed)),
    }


def _log(log: VertexLog) -> dict[str, object]:
    return {
        **_filled(vertex=log.vertex, stream=log.stream),
        "data": _base64(log.data),
        "timestamp": timestamp(log.timestamp),
    }


def _warning(w: VertexWarning) -> dict[str, object]:
    source = _filled(filename=w.filename, data=_base64(w.source)) if w.filename else None
    return _filled(
        vertex=w.vertex,
        level=w.level,
        short=_base64(w.short.encode()),
        detail=[_base64(line.encode()) for line in w.detail],
        url=w.url,
        sourceInfo=source,
        range=[_range(r) for r in w.ranges],
    )


def _range(r: SourceRange) -> dict[str, object]:
    return {
        "start": _filled(line=r.start[0], character=r.start[1]),
        "end": _filled(line=r.end[0], character=r.end[1]),
    }


def _time(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else timestamp(nanoseconds)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _filled(**fields: object) -> dict[str, object]:
    """The fields that are not empty."""
    return {name: value for name, value in fields.items() if value or isinstance(value, Mapping)}
