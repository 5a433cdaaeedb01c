"""Tables as text: what a build would do, and the writer of all tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dockc.console.clean import clean_text

if TYPE_CHECKING:
    from dockc.solver.run.plan import PlannedVertex

_SECOND = 1_000_000_000
_GAP = "   "
_TIGHT = " "
_ENOUGH, _LEAST = 30, 16
"""Characters of the last column: where fewer than the first are left, columns move together; where fewer than the
second are left then, it goes below its row."""
_BELOW = "  "


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), *, width: int = 0) -> str:
    """Columns as wide as their widest cell; those in `right` are aligned to the right.

    Cells are cleaned of control characters. The last column is not padded; on a terminal of a known `width` it ends in
    an ellipsis where it would not fit, and goes below its row where hardly anything of it would be seen.
    """
    cells = [list(headers), *([clean_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    gap, below = _GAP, False
    if width:
        left, last = width - sum(widths[:-1]), widths.pop()
        columns = len(widths)
        if left - columns * len(_GAP) < min(last, _ENOUGH):
            gap = _TIGHT
        below = left - columns * len(gap) < min(last, _LEAST)
        room = width - len(_BELOW) if below else left - columns * len(gap)
        for row in cells:
            row[-1] = _cut(row[-1], max(room, 1))
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        if below:
            lines += [gap.join(parts).rstrip(), _BELOW + row[-1]]
        else:
            lines.append(gap.join((*parts, *row[len(parts) :])).rstrip())
    return "".join(f"{line}\n" for line in lines)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def age_text(then: int | None, now: int) -> str:
    """`5 seconds ago`, `3 hours ago`, or `never`; times in nanoseconds since the epoch."""
    if then is None:
        return "never"
    seconds = max(0, now - then) // _SECOND
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count != 1 else ''} ago"
    return f"{seconds} second{'s' if seconds != 1 else ''} ago"


def plan_table(planned: Sequence[PlannedVertex]) -> str:
    """What a build would do: one line a step, inputs first, and the count."""
    words = {"cached": "CACHED", "run": "RUN", "depends": "DEPENDS"}
    rows = [(words[p.state.value], p.vertex.name or p.vertex.digest, p.reason) for p in planned]
    count = {state: sum(p.state.value == state for p in planned) for state in words}
    text = "".join(
        f"{word:<8} {clean_text(name)}{f'  ({clean_text(reason)})' if reason else ''}\n" for word, name, reason in rows
    )
    parts = [f"{count['cached']} cached", f"{count['run']} to run"]
    if count["depends"]:
        parts.append(f"{count['depends']} depending on contents")
    return f"{text}{', '.join(parts)}\n"
