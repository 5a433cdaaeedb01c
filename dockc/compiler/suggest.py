"""Did you mean: the nearest name within two edits."""

from __future__ import annotations

from dockc.grammar.gostr import lower, upper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LIMIT = 3


def nearest(value: str, options: Iterable[str], *, ignore_case: bool = False) -> str:
    """The option with the fewest edits to `value`, at most two; "" when there is none.

    An option that equals the value means that the spelling was not the problem: no suggestion. Of equally near
    options the first is taken.
    """
    wanted = lower(value) if ignore_case else value
    best, distance = "", _LIMIT
    for option in options:
        candidate = lower(option) if ignore_case else option
        if candidate == wanted:
            return ""
        if abs(len(candidate) - len(wanted)) >= distance:
            continue
        edits = _distance(wanted, candidate, distance)
        if edits < distance:
            best, distance = candidate, edits
    if ignore_case and best:
        if value == lower(value):
            return best.lower()
        if value == upper(value):
            return best.upper()
    return best


def _distance(first: str, second: str, limit: int) -> int:
    """Levenshtein distance, or some number of at least `limit` once it is sure to be that large."""
    if len(first) > len(second):
        first, second = second, first
    row = list(range(len(first) + 1))
    for line, char in enumerate(second, 1):
        previous, row[0] = row[0], line
        for column, other in enumerate(first, 1):
            cost = previous if char == other else 1 + min(previous, row[column], row[column - 1])
            previous, row[column] = row[column], cost
        if min(row) >= limit:
            return limit
    return row[-1]
