"""Filters of the history's calls: conditions on records, all of one text to hold, one of several texts to do.

    ref, status (running, completed, error, canceled), repository              as `golang.filters` has them
    startedAt>=1h, completedAt<2026-01-02T03:04:05Z, duration>10s              with <, <=, > or >=

Source: BuildKit, solver/llbsolver/history/filter.go.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from dockc.errors import DockcError
from dockc.golang import csvline, filters
from dockc.golang.durations import parse_duration
from dockc.golang.times import Time
from dockc.llb.giturl import parse_or_none
from dockc.rpc.pb import control_pb2
from dockc.rpc.status import INVALID_ARGUMENT, RpcError

Matches = Callable[[control_pb2.BuildHistoryRecord], bool]

_TIMED = re.compile(r"(startedAt|completedAt|duration)(>=|<=|>|<)(.*)", re.S)
_SECOND = 1_000_000_000


def matcher(texts: Iterable[str]) -> Matches:
    """What lets a record through.

    Raises:
        RpcError: a text that is no filter.
    """
    found = [_all(text) for text in texts]
    return lambda record: not found or any(all(holds(record) for holds in one) for one in found)


def _all(text: str) -> list[Matches]:
    try:
        if len(text) > filters.LONGEST:
            raise ValueError("it is too long")
        fields = csvline.fields(text)
        timed = [_timed(field) for field in fields]
        rest = [field for field, found in zip(fields, timed, strict=True) if found is None]
        return [*(found for found in timed if found is not None), _static(",".join(rest))]
    except (ValueError, DockcError) as error:
        raise RpcError(f"failed to parse history filters {text[:200]}: {error}", code=INVALID_ARGUMENT) from None


def _timed(field: str) -> Matches | None:
    match = _TIMED.fullmatch(field)
    if match is None:
        return None
    key, operator, text = match.groups()
    if key == "duration":
        wanted = parse_duration(text)
    else:
        try:
            wanted = int(time.time()) - parse_duration(text) // _SECOND
        except ValueError:
            wanted = Time.parse(text).seconds

    def value(record: control_pb2.BuildHistoryRecord) -> int:
        if key == "startedAt":
            return record.CreatedAt.seconds
        if not record.HasField("CompletedAt"):
            return 0
        if key == "completedAt":
            return record.CompletedAt.seconds
        began, ended = record.CreatedAt, record.CompletedAt
        return (ended.seconds - began.seconds) * _SECOND + ended.nanos - began.nanos

    tests: dict[str, Matches] = {
        ">=": lambda record: value(record) >= wanted,
        "<=": lambda record: value(record) <= wanted,
        ">": lambda record: value(record) > wanted,
        "<": lambda record: value(record) < wanted,
    }
    return tests[operator]


def _static(text: str) -> Matches:
    """Conditions in the grammar of all filters."""
    conditions = filters.parse(text)

    def holds(record: control_pb2.BuildHistoryRecord) -> bool:
        return all(one.holds(_field(record, one.path[0])) for one in conditions)

    return holds


def _field(record: control_pb2.BuildHistoryRecord, key: str) -> str | None:
    match key:
        case "ref":
            return record.Ref or None
        case "status":
            if not record.HasField("CompletedAt"):
                return "running"
            if not record.HasField("error"):
                return "completed"
            return "canceled" if "context canceled" in record.error.message else "error"
        case "repository":
            source = record.FrontendAttrs.get("vcs:source")
            if source is not None:
                return source
            return _remote(record.FrontendAttrs.get("context", ""))
    return None


def _remote(context: str) -> str | None:
    """The repository of a context that is one."""
    found = parse_or_none(context)
    return None if found is None else found.remote
