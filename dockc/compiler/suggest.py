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
    """The fewest edits from one text to the other, or some number above `most`.

    Equal letters at the start never need an edit; at the first that differ, one of three edits is tried. As `most` is
    at most two, that is a handful of comparisons, whatever the length.
    """
    if abs(len(first) - len(second)) > most:
        return most + 1
    at = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        at += 1
    else:
        return abs(len(first) - len(second))
    if most == 0:
        return 1
    here, there = first[at:], second[at:]
    best = most
    for shorter, other in ((here[1:], there[1:]), (here[1:], there), (here, there[1:])):
        best = min(best, _edits(shorter, other, best - 1)) if best else 0
    return 1 + best
