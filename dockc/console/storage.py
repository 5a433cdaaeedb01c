"""What a store holds, what collection would take, and what was removed, as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dockc.base.units import size_text
from dockc.console import forms
from dockc.console.clean import clean_text
from dockc.console.tables import age_text, table
from dockc.golang.template import Moment, Struct
from dockc.golang.times import Time

if TYPE_CHECKING:
    from dockc.runtime.refs.plan import Census, Plan
    from dockc.runtime.refs.policy import Rule
    from dockc.runtime.refs.prune import Pruned
    from dockc.runtime.refs.types import UsageRecord

_HEADERS = ("ID", "TYPE", "RECLAIMABLE", "SIZE", "LAST USED", "DESCRIPTION")
_COLUMNS = {
    "ID": "ID", "Parents": "PARENTS", "CreatedAt": "CREATED AT", "Mutable": "MUTABLE", "Reclaimable": "RECLAIMABLE",
    "Shared": "SHARED", "Size": "SIZE", "Description": "DESCRIPTION", "UsageCount": "USAGE COUNT",
    "LastUsedAt": "LAST ACCESSED", "Type": "TYPE", "InUse": "IN USE", "Lazy": "LAZY", "HeldBy": "HELD BY",
    "Rule": "RULE", "Bytes": "BYTES",
}  # fmt: skip


# --- du -------------------------------------------------------------------------------------------------


def usage_table(records: Sequence[UsageRecord], now: int, *, width: int = 0) -> str:
    """One line a record, the largest first; times in nanoseconds since the epoch. `width`: see `table`."""
    rows = [
        (
            record.id + "*" * record.mutable,
            str(record.record_type),
            "false" if record.in_use else "true",
            size_text(record.size) + "*" * record.shared,
            age_text(record.last_used_at, now),
            _short(record.description),
        )
        for record in _largest(records)
    ]
    return table(_HEADERS, rows, right=(3,), width=width)


def _largest(records: Iterable[UsageRecord]) -> list[UsageRecord]:
    return sorted(records, key=lambda r: (-r.size, r.id))


def usage_details(records: Sequence[UsageRecord], now: int, fates: Mapping[str, str] | None = None) -> str:
    """Everything about each record, the largest first; `fates` says by id what collection has in mind."""
    return "".join(_details(record, now, (fates or {}).get(record.id, "")) for record in _largest(records))


def _details(record: UsageRecord, now: int, fate: str) -> str:
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
        ("Held by", "; ".join(record.held_by)),
        ("Collected", fate),
        ("Description", record.description),
    ]
    return "".join(f"{name + ':':<13}{clean_text(value)}\n" for name, value in fields if value) + "\n"


def usage_tree(records: Sequence[UsageRecord], now: int, *, width: int = 0) -> str:
    """Each record below the one that it stands on, below the first of several; the oldest first."""
    known = {record.id for record in records}
    below: dict[str, list[UsageRecord]] = {}
    for record in records:
        on = next((parent for parent in record.parents if parent in known), "")
        below.setdefault(on, []).append(record)
    lines: list[tuple[str, ...]] = []
    # Chains of thousands of layers: no recursion.
    todo = [(record, "", "") for record in reversed(below.get("", ()))]
    while todo:
        record, lead, mark = todo.pop()
        lines.append(_leaf(record, f"{lead}{mark}", now))
        under = below.get(record.id, [])
        lead += {"": "", "├─ ": "│  ", "└─ ": "   "}[mark]
        if len(under) == 1:  # a chain stays in its column
            todo.append((under[0], lead, "└─ " if len(lead) < 60 else ""))
            continue
        todo += [
            (child, lead, "└─ " if number == len(under) - 1 else "├─ ")
            for number, child in reversed(list(enumerate(under)))
        ]
    headers = ("ID", "TYPE", "SIZE", "LAST USED", "USES", "HELD BY", "DESCRIPTION")
    return table(headers, lines, right=(2, 4), width=width)


def _leaf(record: UsageRecord, lead: str, now: int) -> tuple[str, ...]:
    return (
        lead + record.id + "*" * record.mutable,
        str(record.record_type),
        size_text(record.size) + "*" * record.shared,
        age_text(record.last_used_at, now),
        str(record.usage_count),
        _short("; ".join(record.held_by), 40) or "-",
        _short(record.description),
    )


def sums(records: Sequence[UsageRecord], census: Census | None = None) -> str:
    """What all records take, and with `census` the whole store, to the last block."""
    shared = sum(record.size for record in records if record.shared)
    total = sum(record.size for record in records)
    free = sum(record.size for record in records if not record.in_use and not record.shared)
    lines = []
    if shared:
        lines += [("Shared:", shared), ("Private:", total - shared)]
    lines.append(("Reclaimable:", free))
    if census is not None:
        others = (("In several:", census.common), ("Documents:", census.loose), ("Databases:", census.rest))
        lines += [("Records:", total), *(line for line in others if line[1])]
        total = census.total
    lines.append(("Total:", total))
    return "".join(f"{name:<13}{size_text(size)}\n" for name, size in lines)


def _yes(value: bool) -> str:
    return "true" if value else "false"


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


# --- rules ----------------------------------------------------------------------------------------------


def fates(plan: Plan, rules: Sequence[Rule]) -> dict[str, str]:
    """What collection has in mind with each record."""
    found = {one.id: f"next, by rule {one.rule + 1} ({rules[one.rule]})" for one in plan.taken}
    return {**{name: f"not now: {why}" for name, why in plan.kept.items()}, **found}


def planned_table(plan: Plan, census: Census, rules: Sequence[Rule], *, width: int = 0) -> str:
    """What a run would take, in its order, then why the rest stays."""
    rows = [(*_planned_row(census, one.id, one.size), f"rule {one.rule + 1}") for one in plan.taken]
    staying = _largest(census.items[name].usage for name in plan.kept)
    rows += [(*_planned_row(census, one.id, one.size), f"stays: {plan.kept[one.id]}") for one in staying]
    text = "".join(f"rule {number}: {rule}\n" for number, rule in enumerate(rules, 1))
    headers = ("ID", "TYPE", "SIZE", "LAST USED", "USES", "DESCRIPTION", "WHAT HAPPENS")
    text += table(headers, rows, right=(2, 4), width=width) if rows else ""
    left = census.in_records - plan.size
    return f"{text}Would free:  {size_text(plan.size)} of {len(plan.taken)} records\nWould stay:  {size_text(left)}\n"


def _planned_row(census: Census, name: str, size: int) -> tuple[str, ...]:
    record = census.items[name].usage
    when = age_text(record.last_used_at, census.at)
    return (
        name,
        str(record.record_type),
        size_text(size),
        when,
        str(record.usage_count),
        _short(record.description, 40),
    )


def pruned_text(pruned: Pruned, now: int, *, verbose: bool = False, width: int = 0) -> str:
    """What was removed, and all that it freed, loose blobs and unfinished downloads included."""
    if verbose:
        text = "".join(_details(record, now, "") for record in pruned.records)
    else:
        rows = [(r.id, str(r.record_type), size_text(r.size), r.description[:60]) for r in pruned.records]
        text = table(("ID", "TYPE", "SIZE", "DESCRIPTION"), rows, right=(2,), width=width) if rows else ""
    return f"{text}Total: {size_text(pruned.size)}\n"


# --- formats --------------------------------------------------------------------------------------------


def json_lines(records: Sequence[UsageRecord], more: Mapping[str, Mapping[str, object]] | None = None) -> str:
    """A JSON object a line, in dockc's own words; `more` adds to each by id."""
    return "".join(
        json.dumps(
            {
                "id": r.id,
                "type": str(r.record_type),
                "description": r.description,
                "size": r.size,
                "created_at": r.created_at,
                "last_used_at": r.last_used_at,
                "usage_count": r.usage_count,
                "in_use": r.in_use,
                "mutable": r.mutable,
                "shared": r.shared,
                "lazy": r.lazy,
                "parents": list(r.parents),
                "held_by": list(r.held_by),
                **((more or {}).get(r.id, {})),
            }
        )
        + "\n"
        for r in records
    )


def formatted(records: Sequence[UsageRecord], form: str, now: int, said: Mapping[str, str] | None = None) -> str:
    """The records by a template of buildx's fields, one line each; `json` stands for `{{json .}}`, and `table ...`
    makes a table of templates between tabs.

    Raises:
        UsageError: the form is none.
    """

    def rows(as_table: bool) -> list[Struct]:
        return [_struct(record, now, (said or {}).get(record.id, ""), as_table=as_table) for record in records]

    return forms.formatted(rows, form, _COLUMNS, "Such as '{{.ID}}: {{.Size}}', json, or 'table {{.ID}}\\t{{.Type}}'.")


def _struct(record: UsageRecord, now: int, said: str, *, as_table: bool) -> Struct:
    fields: dict[str, Any] = {
        "CreatedAt": go_time(record.created_at),
        "Description": record.description,
        "ID": record.id + "*" * (as_table and record.mutable),
        "LastUsedAt": age_text(record.last_used_at, now) if record.last_used_at is not None else "",
        "Mutable": record.mutable,
        "Parents": list(record.parents),
        "Reclaimable": not record.in_use,
        "Shared": record.shared,
        "Size": size_text(record.size) + "*" * (as_table and record.shared),
        "Type": str(record.record_type),
        "UsageCount": record.usage_count,
        "InUse": record.in_use,
        "Lazy": record.lazy,
        "HeldBy": list(record.held_by),
        "Rule": said,
        "Bytes": record.size,
    }
    return Struct(fields)


def go_time(nanoseconds: int) -> Moment:
    """A moment as Go prints a time in UTC."""
    text = str(Time.from_ns(nanoseconds))
    return Moment(text.replace("T", " ").removesuffix("Z") + " +0000 UTC", text)
