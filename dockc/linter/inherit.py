"""Stages that lack something, seen through what they build on and what they feed."""

from __future__ import annotations

from dockc.base.record import Record
from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Entry
from dockc.linter.families import image
from dockc.linter.words import alias


class _Stage(Record):
    base: str
    name: str
    entry: Entry


def bad_stages(context: Context, has: set[int]) -> list[Entry]:
    """FROM entries of the stages that lack a thing.

    A stage is good when it builds on a good one, has the thing itself, or a good stage builds on it.

    Args:
        context: the file.
        has: indices of entries that bring the thing.
    """
    good: set[_Stage] = set()
    bad: set[_Stage] = set()
    current: _Stage | None = None
    for entry in context.entries:
        found = entry.instruction
        if isinstance(found, ast.From):
            base = image(found.base.text).name
            current = _Stage(base, alias(found) or base, entry)
            (good if any(stage.name == base for stage in good) else bad).add(current)
        elif current is not None and entry.index in has:
            _mark(current, good, bad)
    return sorted((stage.entry for stage in bad), key=lambda e: e.index)


def _mark(stage: _Stage, good: set[_Stage], bad: set[_Stage]) -> None:
    queue = [stage]
    while queue:
        one = queue.pop()
        bad.discard(one)
        good.add(one)
        queue += [other for other in bad if other.name == one.base]
