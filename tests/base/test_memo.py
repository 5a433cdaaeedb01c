"""Answers that are kept."""

from __future__ import annotations

import inspect

import pytest

from dockc.base.memo import remembered


def test_each_is_asked_once_until_there_are_too_many() -> None:
    asked: list[int] = []

    @remembered(3)
    def double(number: int) -> int:
        """Twice the number."""
        asked.append(number)
        return 2 * number

    assert [double(n) for n in (1, 2, 3, 1, 2, 3)] == [2, 4, 6, 2, 4, 6]
    assert asked == [1, 2, 3]
    assert [double(n) for n in (4, 1)] == [8, 2]
    assert asked == [1, 2, 3, 4, 1]
    assert double.__name__ == "double"
    assert double.__doc__ == "Twice the number."
    assert list(inspect.signature(double).parameters) == ["number"]


def test_an_answer_may_be_nothing() -> None:
    asked: list[str] = []

    @remembered(8)
    def none(text: str) -> None:
        asked.append(text)

    none("a")
    none("a")
    assert asked == ["a"]


def test_an_error_is_no_answer() -> None:
    asked: list[str] = []

    @remembered(8)
    def fails(text: str) -> str:
        asked.append(text)
        raise ValueError(text)

    for _ in range(2):
        with pytest.raises(ValueError, match="a"):
            fails("a")
    assert asked == ["a", "a"]
