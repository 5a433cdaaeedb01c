"""Filters of the history's calls: conditions on records, all of one text to hold, one of several texts to do.

    ref~=TEXT, status==running|completed|error|canceled, repository~=TEXT      with ==, != or ~=
    startedAt>=1h, completedAt<2026-01-02T03:04:05Z, duration>10s              with <, <=, > or >=

Source: BuildKit, solver/llbsolver/history/filter.go.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from dockc.golang import csvline
from dockc.golang.durations import parse_duration
from dockc.llb.giturl import parse_or_none
from dockc.rpc.pb import control_pb2
from dockc.rpc.status import INVALID_ARGUMENT, RpcError

Matches = Callable[[control_pb2.BuildHistoryRecord], bool]

_TIMED = re.compile(r"(startedAt|completedAt|duration)(>=|<=|>|<)(.*)", re.S)
_STATIC = re.compile(r'(\w+)(?:(==|!=|~=)(?:"([^"]*)"|([^"\s]*)))?', re.S)
_SECOND = 1_000_000_000
_LONGEST = 4096


def matcher(filters: Iterable[str]) -> Matches:
    """What lets a record through.

    Raises:
        RpcError: a text that is no filter.
    """
    found = [_all(text) for text in filters]
    return lambda record: not found or any(all(holds(record) for holds in one) for one in found)


def _all(text: str) -> list[Matches]:
    try:
        if len(text) > _LONGEST:
            raise ValueError("it is too long")
        return [_timed(field) or _static(field) for field in csvline.fields(text)]
    except (ValueError, re.error) as error:
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
            wanted = int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())

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


def _static(field: str) -> Matches:
    match = _STATIC.fullmatch(field)
    if match is None:
        raise ValueError(f"parse error: {field}")
    key, operator, quoted, bare = match.groups()
    wanted = quoted if quoted is not None else bare or ""
    expression = re.compile(wanted) if operator == "~=" else None

    def holds(record: control_pb2.BuildHistoryRecord) -> bool:
        value = _field(record, key)
        if operator is None:
            return value is not None
        if expression is not None:
            return expression.search(value or "") is not None
        return (value == wanted) == (operator == "==")

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
