"""Did you mean: the nearest name within two edits."""

from __future__ import annotations

from dockc.base.memo import remembered
from dockc.golang.strings import lower, upper

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
    size, letters = len(wanted), _letters(wanted)
    best, distance = "", _LIMIT
    for option in options:
        candidate = lower(option) if ignore_case else option
        if candidate == wanted:
            return ""
        if distance == 1:  # none can be nearer; one may still be the value itself
            continue
        if abs(len(candidate) - size) >= distance or (letters ^ _letters(candidate)).bit_count() >= 2 * distance:
            continue
        edits = _edits(wanted, candidate, distance - 1)
        if edits < distance:
            best, distance = candidate, edits
    if ignore_case and best:
        if value == lower(value):
            return best.lower()
        if value == upper(value):
            return best.upper()
    return best


@remembered(8192)
def _letters(text: str) -> int:
    """Which letters occur, as bits: one edit changes at most two of them."""
    bits = 0
    for char in text:
        bits |= 1 << (ord(char) & 63)
    return bits


def _edits(first: str, second: str, most: int) -> int:
    """The fewest edits from one text to the other, or some number above `most`, which is at most two.

    Equal letters at either end never need an edit; at the first that differ, one of three edits is tried. That is a
    handful of comparisons, whatever the length.
    """
    at, end, other = 0, len(first), len(second)
    if abs(end - other) > most:
        return most + 1
    least = min(end, other)
    while at < least and first[at] == second[at]:
        at += 1
    while end > at < other and first[end - 1] == second[other - 1]:
        end, other = end - 1, other - 1
    here, there = end - at, other - at
    if not here or not there or max(here, there) == 1:
        return max(here, there)
    if most < 2:  # one edit leaves nothing but one letter on either side
        return most + 1
    left, right = first[at:end], second[at:other]
    return 1 + min(_edits(left[1:], right[1:], 1), _edits(left[1:], right, 1), _edits(left, right[1:], 1))
