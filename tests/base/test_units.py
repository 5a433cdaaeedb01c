"""Sizes and durations as people type them."""

from __future__ import annotations

import pytest

from dockc.base.units import parse_duration, parse_size
from dockc.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512", 512), ("10kB", 10_000), ("1KiB", 1024), ("1k", 1024), ("2.5GB", 2_500_000_000), ("1TiB", 1 << 40)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "1XB", "-1", "1 000", "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="invalid size"):
        parse_size(text)


def test_durations() -> None:
    assert parse_duration("1h30m") == 5400 * 10**9
    assert parse_duration("7d") == 7 * 86400 * 10**9
    assert parse_duration("1.5s") == 1_500_000_000
    for text in ("", "1", "h", "1x", "1h 2m"):
        with pytest.raises(UsageError, match="invalid duration"):
            parse_duration(text)
