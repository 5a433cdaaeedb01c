"""Tables as text: what takes space, what a build would do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dockc.console.clean import clean_text, size_text

if TYPE_CHECKING:
    from dockc.runtime.refs.types import UsageRecord
    from dockc.solver.run.plan import PlannedVertex

_SECOND = 1_000_000_000
_GAP = "   "


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell; those in `right` are aligned to the right.

    Cells are cleaned of control characters. The last column is not padded.
    """
    cells = [list(headers), *([clean_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(_GAP.join(parts).rstrip())
    return "".join(f"{line}\n" for line in lines)


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


def usage_table(records: Sequence[UsageRecord], now: int, *, verbose: bool = False) -> str:
    """`dockc du`: one line a record, the largest first, and the sums.

    Args:
        records: what the store holds; times in nanoseconds since the epoch.
        now: the time to count ages from.
        verbose: with every record's full description and parents.
    """
    ordered = sorted(records, key=lambda r: (-r.size, r.id))
    if verbose:
        text = "".join(_details(record, now) for record in ordered)
    else:
        rows = [
            (
                record.id,
                str(record.record_type),
                "false" if record.in_use else "true",
                size_text(record.size) + ("*" if record.shared else ""),
                age_text(record.last_used_at, now),
                _short(record.description),
            )
            for record in ordered
        ]
        headers = ("ID", "TYPE", "RECLAIMABLE", "SIZE", "LAST USED", "DESCRIPTION")
        text = table(headers, rows, right=(3,)) if rows else ""
    return text + _sums(ordered)


def _sums(records: Sequence[UsageRecord]) -> str:
    total = sum(record.size for record in records)
    shared = sum(record.size for record in records if record.shared)
    free = sum(record.size for record in records if not record.in_use)
    lines = []
    if shared:
        lines += [("Shared:", shared), ("Private:", total - shared)]
    lines += [("Reclaimable:", free), ("Total:", total)]
    return "".join(f"{name:<13}{size_text(size)}\n" for name, size in lines)


def _details(record: UsageRecord, now: int) -> str:
    fields = [
        ("ID", record.id),
        ("Parents", ", ".join(record.parents)),
        ("Type", str(record.record_type)),
        ("Mutable", _yes(record.mutable)),
        ("Reclaimable", _yes(not record.in_use)),
        ("Shared", _yes(record.shared)),
        ("Lazy", _yes(record.lazy)),
        ("Size", size_text(record.size)),
        ("Created", age_text(record.created_at, now)),
        ("Last used", age_text(record.last_used_at, now)),
        ("Usage count", str(record.usage_count)),
        ("Description", record.description),
    ]
    return "".join(f"{name + ':':<13}{clean_text(value)}\n" for name, value in fields if value) + "\n"


def _yes(value: bool) -> str:
    return "true" if value else "false"


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


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
