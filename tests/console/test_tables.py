"""Tables as people read them."""

from __future__ import annotations

import pytest

from dockc.console.tables import age_text, plan_table, table, usage_table
from dockc.runtime.refs.types import RecordType, UsageRecord
from dockc.solver.run.plan import PlannedVertex, PlanState
from tests.solver.world import vtx

S = 1_000_000_000
NOW = 2_000_000_000 * S


def record(name: str, size: int, **more: object) -> UsageRecord:
    fields = {
        "id": name,
        "record_type": RecordType.REGULAR,
        "description": f"RUN {name}",
        "size": size,
        "created_at": NOW - 7200 * S,
        "last_used_at": NOW - 90 * S,
        "usage_count": 3,
        "in_use": False,
        "mutable": False,
        "shared": False,
        "lazy": False,
    }
    return UsageRecord(**{**fields, **more})  # type: ignore[arg-type]


def test_table() -> None:
    assert table(("NAME", "N"), [("a", "10"), ("longer\x1b[1m", "7")], right=(1,)) == (
        "NAME      N\na        10\nlonger    7\n"
    )


def test_usage() -> None:
    records = [
        record("small", 1200, last_used_at=None),
        record("large", 5_000_000, shared=True),
        record("held", 10, in_use=True, record_type=RecordType.EXEC_CACHE_MOUNT, description="x" * 80),
    ]
    assert usage_table(records, NOW) == (
        "ID      TYPE              RECLAIMABLE      SIZE   LAST USED      DESCRIPTION\n"
        "large   regular           true          5.00MB*   1 minute ago   RUN large\n"
        "small   regular           true           1.20kB   never          RUN small\n"
        f"held    exec.cachemount   false             10B   1 minute ago   {'x' * 57}...\n"
        "Shared:      5.00MB\n"
        "Private:     1.21kB\n"
        "Reclaimable: 5.00MB\n"
        "Total:       5.00MB\n"
    )


def test_usage_of_an_empty_store() -> None:
    assert usage_table([], NOW) == "Reclaimable: 0B\nTotal:       0B\n"


def test_usage_in_full() -> None:
    text = usage_table([record("a", 10, parents=("p", "q"), lazy=True)], NOW, verbose=True)
    assert text == (
        "ID:          a\n"
        "Parents:     p, q\n"
        "Type:        regular\n"
        "Mutable:     false\n"
        "Reclaimable: true\n"
        "Shared:      false\n"
        "Lazy:        true\n"
        "Size:        10B\n"
        "Created:     2 hours ago\n"
        "Last used:   1 minute ago\n"
        "Usage count: 3\n"
        "Description: RUN a\n"
        "\n"
        "Reclaimable: 10B\n"
        "Total:       10B\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 seconds ago"), (1, "1 second ago"), (61, "1 minute ago"), (7300, "2 hours ago"), (90000, "1 day ago")],
)
def test_ages(seconds: int, text: str) -> None:
    assert age_text(NOW - seconds * S, NOW) == text


def test_plan() -> None:
    planned = [
        PlannedVertex(vtx("FROM a").vertex, PlanState.CACHED, needed=False),
        PlannedVertex(vtx("COPY . .").vertex, PlanState.DEPENDS, reason="depends on the result of context"),
        PlannedVertex(vtx("RUN\nx").vertex, PlanState.RUN),
    ]
    assert plan_table(planned) == (
        "CACHED   FROM a\n"
        "DEPENDS  COPY . .  (depends on the result of context)\n"
        "RUN      RUN x\n"
        "1 cached, 1 to run, 1 depending on contents\n"
    )
