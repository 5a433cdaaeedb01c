"""Progress: `SolveStatus` to `StatusResponse` and back."""

from __future__ import annotations

from dockc.rpc.pb import common_pb2, control_pb2
from dockc.solver.progress import (
    SolveStatus,
    SourceRange,
    VertexEvent,
    VertexLog,
    VertexStatus,
    VertexWarning,
)
from dockc.solver.vertex import ProgressGroup

_BILLION = 1_000_000_000


def time_of(value: common_pb2.Time) -> int:
    """Nanoseconds since 1970."""
    return value.seconds * _BILLION + value.nanos


def to_time(nanoseconds: int) -> common_pb2.Time:
    """The message of a time."""
    seconds, nanos = divmod(nanoseconds, _BILLION)
    return common_pb2.Time(seconds=seconds, nanos=nanos)


def _maybe(message: control_pb2.Vertex | control_pb2.VertexStatus, name: str) -> int | None:
    return time_of(getattr(message, name)) if message.HasField(name) else None


def from_wire(response: control_pb2.StatusResponse) -> SolveStatus:
    """What a daemon tells, as events."""
    return SolveStatus(
        vertexes=tuple(
            VertexEvent(
                one.digest,
                one.name,
                tuple(one.inputs),
                _maybe(one, "started"),
                _maybe(one, "completed"),
                one.cached,
                one.error,
                ProgressGroup(one.progressGroup.id, one.progressGroup.name, one.progressGroup.weak)
                if one.HasField("progressGroup")
                else None,
            )
            for one in response.vertexes
        ),
        statuses=tuple(
            VertexStatus(
                one.ID,
                one.vertex,
                one.name,
                one.current,
                one.total,
                time_of(one.timestamp),
                _maybe(one, "started"),
                _maybe(one, "completed"),
            )
            for one in response.statuses
        ),
        logs=tuple(VertexLog(one.vertex, one.stream, one.msg, time_of(one.timestamp)) for one in response.logs),
        warnings=tuple(_warning(one) for one in response.warnings),
    )


def _warning(one: control_pb2.VertexWarning) -> VertexWarning:
    return VertexWarning(
        one.vertex,
        one.level,
        one.short.decode("utf-8", "replace"),
        tuple(text.decode("utf-8", "replace") for text in one.detail),
        one.url,
        one.info.filename,
        one.info.data,
        tuple(
            SourceRange((span.start.line, span.start.character), (span.end.line, span.end.character))
            for span in one.ranges
        ),
    )


def to_wire(status: SolveStatus) -> control_pb2.StatusResponse:
    """Events in a daemon's words."""
    out = control_pb2.StatusResponse()
    for event in status.vertexes:
        vertex = out.vertexes.add(
            digest=event.digest,
            inputs=event.inputs,
            name=_text(event.name),
            cached=event.cached,
            error=_text(event.error),
        )
        _put_time(vertex.started, event.started)
        _put_time(vertex.completed, event.completed)
        if event.progress_group is not None:
            group = event.progress_group
            vertex.progressGroup.id, vertex.progressGroup.name, vertex.progressGroup.weak = (
                group.id,
                group.name,
                group.weak,
            )
    for part in status.statuses:
        made = out.statuses.add(
            ID=_text(part.id), vertex=part.vertex, name=_text(part.name), current=part.current, total=part.total
        )
        _put_time(made.timestamp, part.timestamp)
        _put_time(made.started, part.started)
        _put_time(made.completed, part.completed)
    for log in status.logs:
        line = out.logs.add(vertex=log.vertex, stream=log.stream, msg=log.data)
        _put_time(line.timestamp, log.timestamp)
    for warning in status.warnings:
        told = out.warnings.add(
            vertex=warning.vertex,
            level=warning.level,
            short=warning.short.encode("utf-8", "replace"),
            detail=[text.encode("utf-8", "replace") for text in warning.detail],
            url=_text(warning.url),
        )
        if warning.filename or warning.source:
            told.info.filename, told.info.data, told.info.language = (
                _text(warning.filename),
                warning.source,
                "Dockerfile",
            )
        for span in warning.ranges:
            place = told.ranges.add()
            place.start.line, place.start.character = span.start
            place.end.line, place.end.character = span.end
    return out


def _text(text: str) -> str:
    """Text that goes into a message: bytes that were no UTF-8 are replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _put_time(message: common_pb2.Time, nanoseconds: int | None) -> None:
    if nanoseconds is not None:
        message.seconds, message.nanos = divmod(nanoseconds, _BILLION)
        message.SetInParent()
