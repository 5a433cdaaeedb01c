"""Why a step ran, in words."""

from __future__ import annotations

import time

from dockc.console.clean import clean_text
from dockc.errors import HIDDEN
from dockc.solver.keydiff import FileChange, KeyDiff, Missed, MissReason

_LONG = 120


def miss_line(miss: Missed) -> str:
    """One line for the progress of a build; "" where there is nothing to say: the step follows from another, or nothing
    like it was ever built.
    """
    if not miss.first or miss.diff.reason is MissReason.UNKNOWN:
        return ""
    first, *rest = why_lines(miss.diff)
    return f"cache miss: {first}" + (f" (and {len(rest)} more)" if rest else "")


def why_lines(diff: KeyDiff) -> list[str]:
    """What is another, a line each; the first word tells the kind."""
    changes = diff.changes
    match diff.reason:
        case MissReason.UNKNOWN:
            return ["new: no step like it was built here"]
        case MissReason.IMPORT:
            names = ", ".join(clean_text(one.path) for one in changes)
            return [f"new: no step like it was built here, and the imported cache has none ({names})"]
        case MissReason.TOLD:
            return ["told: it runs whatever the cache has (no cache)"]
        case MissReason.INSTRUCTION:
            return [f"instruction: {_said(one.old)} -> {_said(one.new)}" for one in changes]
        case MissReason.ARGUMENT:
            return [_value("argument", one.path, one.old, one.new) for one in changes]
        case MissReason.ENVIRONMENT:
            return [_value("environment", one.path, one.old, one.new) for one in changes]
        case MissReason.BASE:
            word = "source" if "://" in diff.source else "base"  # a download or a commit is nobody's base
            return [f"{word}: {_text(one.path)} {_text(one.old)} -> {_text(one.new)}" for one in changes]
        case MissReason.MOUNT:
            return [_value("mount", one.path, one.old, one.new) for one in changes]
        case MissReason.OPERATION:
            return [_value("option", _last(one.path), one.old, one.new) for one in changes]
        case MissReason.CONTENT:
            lines = [f"file {file_words(one)}" for one in diff.files]
            if diff.more:
                lines.append(f"file: {diff.more} more have changed")
            return lines or [f"file: what it reads from {_text(diff.source) or 'an input'} has changed"]
        case MissReason.INPUT:
            return [f"input: it stands on {_text(diff.source) or 'another input'}, which is another"]
        case MissReason.RESULT:
            rule = f" by {_text(changes[0].old)}" if changes else ""
            when = f" at {_time(diff.at)}" if diff.at else ""
            return [
                f"removed: its result was taken from the cache{rule}{when}"
                if rule or when
                else "no result: the same step failed before, or its result is gone"
            ]


def file_words(one: FileChange) -> str:
    """`app.py: content`, `run.sh: mode 0644 -> 0755`."""
    arrow = f" {one.old} -> {one.new}" if one.old or one.new else ""
    return f"{_text(one.path)}: {one.what}{arrow}"


def _value(kind: str, name: str, old: object, new: object) -> str:
    if old == new == HIDDEN:
        return f"{kind} {_text(name)} has another value"
    return f"{kind} {_text(name)}: {_text(old)} -> {_text(new)}"


def _last(path: str) -> str:
    """What people call a field of an operation."""
    parts = [part for part in path.split(".") if part not in {"Exec", "meta"}]
    return ".".join(parts) or path


def _said(value: object) -> str:
    return f"`{_text(value)}`"


def _text(value: object) -> str:
    if value is None:
        return "(none)"
    text = " ".join(clean_text(str(value)).split())
    return text if len(text) <= _LONG else text[: _LONG - 3] + "..."


def _time(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(nanoseconds // 1_000_000_000))
