"""Filters of histories: conditions on builds, all of one text to hold, one of several texts to do.

    ref, status (running, completed, error, canceled), repository              as `golang.filters` has them
    startedAt>=1h, completedAt<2026-01-02T03:04:05Z, duration>10s              with <, <=, > or >=

Source: BuildKit, solver/llbsolver/history/filter.go; buildx writes a condition with one = too, which of ref and
repository means that the text is a part of them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from dockc.base.record import Record
from dockc.errors import DockcError, UsageError
from dockc.golang import csvline, filters
from dockc.golang.durations import parse_duration
from dockc.golang.times import Time
from dockc.llb.giturl import parse_or_none

_TIMED = re.compile(r"(startedAt|completedAt|duration)(>=|<=|>|<)(.*)", re.S)
_SHORT = re.compile(r"(\w+)=([^=~].*|)", re.S)
_PART = re.compile(r"(ref|repository)=([^=~].*)", re.S)
_SECOND = 1_000_000_000


class Subject(Record):
    """What filters ask of a build.

    Attributes:
        ref: its name.
        status: `running`, `completed`, `error` or `canceled`.
        repository: where its files are from; None where that is no repository.
        began, ended: nanoseconds since the epoch; None where it has not ended.
    """

    ref: str
    status: str
    repository: str | None
    began: int
    ended: int | None


Matches = Callable[[Subject], bool]


def matcher(texts: Iterable[str]) -> Matches:
    """What lets a build through.

    Raises:
        UsageError: a text that is no filter.
    """
    found = [_all(text) for text in texts]
    return lambda subject: not found or any(all(holds(subject) for holds in one) for one in found)


def repository_of(source: str | None, context: str) -> str | None:
    """The repository of a build, by its options `vcs:source` and `context`."""
    if source is not None:
        return source
    found = parse_or_none(context)
    return None if found is None else found.remote


def _all(text: str) -> list[Matches]:
    try:
        if len(text) > filters.LONGEST:
            raise ValueError("it is too long")
        fields = csvline.fields(text)
        timed = [_timed(field) or _part(field) for field in fields]
        rest = [_long(field) for field, found in zip(fields, timed, strict=True) if found is None]
        return [*(found for found in timed if found is not None), _static(",".join(rest))]
    except (ValueError, DockcError) as error:
        raise UsageError(f"failed to parse history filters {text[:200]}: {error}") from None


def _part(field: str) -> Matches | None:
    match = _PART.fullmatch(field)
    if match is None:
        return None
    key, text = match.groups()
    return lambda subject: text in ((subject.ref if key == "ref" else subject.repository) or "")


def _long(field: str) -> str:
    """A condition with two =, where it was written with one."""
    short = _SHORT.fullmatch(field)
    return f"{short[1]}=={short[2]}" if short else field


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

    def value(subject: Subject) -> int:
        if key == "startedAt":
            return subject.began // _SECOND
        if subject.ended is None:
            return 0
        return subject.ended // _SECOND if key == "completedAt" else subject.ended - subject.began

    tests: dict[str, Matches] = {
        ">=": lambda subject: value(subject) >= wanted,
        "<=": lambda subject: value(subject) <= wanted,
        ">": lambda subject: value(subject) > wanted,
        "<": lambda subject: value(subject) < wanted,
    }
    return tests[operator]


def _static(text: str) -> Matches:
    """Conditions in the grammar of all filters."""
    conditions = filters.parse(text)

    def holds(subject: Subject) -> bool:
        known = {"ref": subject.ref or None, "status": subject.status, "repository": subject.repository}
        return all(one.holds(known.get(one.path[0])) for one in conditions)

    return holds
