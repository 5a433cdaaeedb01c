"""Did you mean: the nearest name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.compiler.suggest import nearest


def plain_distance(first: str, second: str) -> int:
    row = list(range(len(second) + 1))
    for line, char in enumerate(first, 1):
        above, row = row, [line]
        for column, other in enumerate(second, 1):
            row.append(min(above[column] + 1, row[-1] + 1, above[column - 1] + (char != other)))
    return row[-1]


_names = st.text(alphabet="abcd", max_size=7)


@given(_names, st.lists(_names, max_size=6))
def test_it_is_the_first_with_the_fewest_edits(value: str, options: list[str]) -> None:
    found = nearest(value, options)
    if value in options:
        assert found == ""
        return
    distances = [plain_distance(value, option) for option in options]
    least = min(distances, default=3)
    assert found == (options[distances.index(least)] if least < 3 else "")


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        ("VERSOIN", ["VERSION"], "VERSION"),
        ("A" * 10000 + "B", ["A" * 10000 + "C"], "A" * 10000 + "C"),
        ("verson", ["VERSION"], "version"),
        ("VERSON", ["version"], "VERSION"),
    ],
)
def test_names(value: str, options: list[str], expected: str) -> None:
    assert nearest(value, options, ignore_case=True) == (expected if value[0] != "A" else expected.upper())
