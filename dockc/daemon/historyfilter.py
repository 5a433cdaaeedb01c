"""Filters of the history's calls, on records of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dockc.engine import historyfilter
from dockc.engine.historyfilter import Subject
from dockc.errors import UsageError
from dockc.rpc.pb import control_pb2
from dockc.rpc.status import INVALID_ARGUMENT, RpcError

Matches = Callable[[control_pb2.BuildHistoryRecord], bool]
_SECOND = 1_000_000_000


def matcher(texts: Iterable[str]) -> Matches:
    """What lets a record through.

    Raises:
        RpcError: a text that is no filter.
    """
    try:
        holds = historyfilter.matcher(texts)
    except UsageError as error:
        raise RpcError(error.message, code=INVALID_ARGUMENT) from None
    return lambda record: holds(_subject(record))


def _subject(record: control_pb2.BuildHistoryRecord) -> Subject:
    attrs, began, ended, status = record.FrontendAttrs, record.CreatedAt, record.CompletedAt, "running"
    if record.HasField("CompletedAt"):
        failed = "canceled" if "context canceled" in record.error.message else "error"
        status = failed if record.HasField("error") else "completed"
    return Subject(
        record.Ref,
        status,
        historyfilter.repository_of(attrs.get("vcs:source"), attrs.get("context", "")),
        began.seconds * _SECOND + began.nanos,
        ended.seconds * _SECOND + ended.nanos if record.HasField("CompletedAt") else None,
    )
