"""Tables as people read them."""

from __future__ import annotations

import pytest

from dockc.console.tables import age_text, plan_table, table
from dockc.solver.run.plan import PlannedVertex, PlanState
from tests.solver.world import vtx

S = 1_000_000_000
NOW = 2_000_000_000 * S


def test_table() -> None:
    assert table(("NAME", "N"), [("a", "10"), ("longer\x1b[1m", "7")], right=(1,)) == (
        "NAME      N\na        10\nlonger    7\n"
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


def test_the_last_column_fits_a_terminal() -> None:
    rows = [("1", "short"), ("22", "a name that is longer than there is room for")]
    assert max(map(len, table(("N", "NAME"), rows).splitlines())) > 30
    lines = table(("N", "NAME"), rows, width=30).splitlines()
    assert lines == ["N  NAME", "1  short", "22 a name that is longer than…"]
    assert table(("N", "NAME"), rows, width=15).splitlines() == ["N", "  NAME", "1", "  short", "22", "  a name that …"]


@pytest.mark.parametrize("width", [25, 30, 31, 40, 41, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_the_last_column_is_seen(width: int) -> None:
    rows = [("43.02kB", "41.94MB", "20.97MB", "RUN make install"), ("1B", "0B", "0B", "COPY . ."), ("1B", "0B", "0B", "RUN " + "x" * 300)]
    shown = table(("SIZE", "FILES", "WASTED", "LINE"), rows, (0, 1, 2), width=width)
    assert max(map(len, shown.splitlines())) <= width
    for seen in ("RUN make instal", "COPY . .", "RUN xxxxxxxxx", "41.94MB"):
        assert seen in shown
