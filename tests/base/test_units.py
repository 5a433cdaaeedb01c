"""Sizes and durations as people type them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dockc.base.units import duration_text, parse_duration, parse_memory, parse_size
from dockc.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("10kB", 10_000),
        ("1KiB", 1024),
        ("1k", 1024),
        ("2.5GB", 2_500_000_000),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "1XB", "-1", "1 000", "1e3", "\u0663GB", "9" * 19, "9" * 400, "9" * 5000, "8388608TiB"]
)
@pytest.mark.parametrize("read", [parse_size, parse_memory])
def test_what_is_no_size(read: Callable[[str], int], text: str) -> None:
    with pytest.raises(UsageError, match="invalid size"):
        read(text)


def test_durations() -> None:
    assert parse_duration("1h30m") == 5400 * 10**9
    assert parse_duration("7d") == 7 * 86400 * 10**9
    assert parse_duration("1.5s") == 1_500_000_000
    for text in ("", "1", "h", "1x", "1h 2m", "\u0663s", "9" * 400 + "s", "107000d", "1h1"):
        with pytest.raises(UsageError, match="invalid duration"):
            parse_duration(text)


POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


@given(
    st.integers(0, 10**9), st.from_regex("[0-9]{0,6}", fullmatch=True), st.sampled_from(sorted(POWERS)), st.booleans()
)
@example(9007199254740993, "", "k", True)
def test_sizes_are_not_rounded(whole: int, fraction: str, unit: str, thousands: bool) -> None:
    text = f"{whole}.{fraction}" if fraction else str(whole)
    exact = int(f"{whole}{fraction}") * (1000 if thousands else 1024) ** POWERS[unit] // 10 ** len(fraction)
    if exact >= 1 << 63:
        with pytest.raises(UsageError, match="too large"):
            parse_size(text + unit + "B" * thousands)
    else:
        assert parse_size(text + unit + "B" * thousands) == exact


@given(st.integers(0, 10**18))
@example(1)
@example(1_001_000_000)
def test_a_duration_that_is_shown_can_be_written(nanoseconds: int) -> None:
    assert parse_duration(duration_text(nanoseconds)) == nanoseconds
