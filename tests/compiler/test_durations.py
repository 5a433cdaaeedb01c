"""Durations."""

from __future__ import annotations

import pytest

from dockc.golang.durations import DurationError, parse_duration


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("5s", 5 * 10**9),
        ("1h2m3.5s", 3723_500_000_000),
        (".5s", 500_000_000),
        ("1.s", 10**9),
        ("1us2µs3μs", 6000),
        ("-1ms", -1_000_000),
        ("+1ns", 1),
        ("9223372036854775807ns", 2**63 - 1),
        ("-9223372036854775808ns", -(2**63)),
        ("0.3333333333333333333h", 1_200_000_000_000),
        ("0.100000000000000000000h", 360_000_000_000),
    ],
)
def test_values(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("s", 'time: invalid duration "s"'),
        (".", 'time: invalid duration "."'),
        ("5", 'time: missing unit in duration "5"'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        ("5s6", 'time: missing unit in duration "5s6"'),
        ("9223372036854775808ns", 'time: invalid duration "9223372036854775808ns"'),
        ("é", 'time: invalid duration "\\xc3\\xa9"'),
        ("1" * 5000 + "s", f'time: invalid duration "{"1" * 5000}s"'),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(DurationError) as caught:
        parse_duration(text)
    assert str(caught.value) == message
