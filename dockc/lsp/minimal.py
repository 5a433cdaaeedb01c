"""Edits that change only what differs, so that cursors and folds stay where they are."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from dockc.grammar.diagnostic import Edit
from dockc.grammar.source import Span

#: Differences of more lines than this are one edit: comparing them takes time with their square.
_MANY = 2000


def edits(before: str, after: str) -> tuple[Edit, ...]:
    """Edits by whole lines that make one text of the other; none where they are equal."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    left, right = old[head : len(old) - tail], new[head : len(new) - tail]
    if not left and not right:
        return ()
    at = sum(map(len, old[:head]))
    if len(left) > _MANY or len(right) > _MANY:
        return (Edit(Span(at, at + sum(map(len, left))), "".join(right)),)
    return tuple(_changed(left, right, at))


def _changed(left: list[str], right: list[str], at: int) -> Iterator[Edit]:
    places = [at]
    for line in left:
        places.append(places[-1] + len(line))
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag != "equal":
            yield Edit(Span(places[a], places[b]), "".join(right[c:d]))
