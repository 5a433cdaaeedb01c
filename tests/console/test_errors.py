"""Excerpts of errors: line for line what BuildKit's client shows."""

from __future__ import annotations

import pytest

from dockc.console.errors import excerpt

TEXT = "FROM a\n\nRUN b\nRUN c\nRUN d\n"


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        (((3, 3),), ["D:3", 1, 2, -3, 4, 5]),
        (((1, 1),), ["D:1", -1, 2, 3]),
        (((5, 5),), ["D:5", 3, 4, -5, 6]),
        (((3, 3), (4, 4)), ["D:3", 2, -3, -4, 5]),
        (((3, 4),), ["D:3", 2, -3, -4, 5]),
        (((2, 2), (4, 4)), ["D:2", 1, -2, 3, -4, 5]),
        (((4, 3),), ["D:4", 2, 3, -4, 5, 6]),
        (((5, 90),), ["D:5", 4, -5, -6]),
    ],
)
def test_the_lines_around(ranges: tuple[tuple[int, int], ...], expected: list[object]) -> None:
    lines = TEXT.split("\n")
    wanted = [str(expected[0]), "-" * 20]
    for number in expected[1:]:
        assert isinstance(number, int)
        wanted.append(f" {abs(number):3} | {'>>>' if number < 0 else '   '} {lines[abs(number) - 1]}")
    assert excerpt("D", TEXT, ranges) == "\n".join([*wanted, "-" * 20, ""])


@pytest.mark.parametrize("ranges", [(), ((0, 0),), ((7, 7),)])
def test_places_that_the_text_does_not_have(ranges: tuple[tuple[int, int], ...]) -> None:
    assert excerpt("D", TEXT, ranges) == ""
