"""Numbers as Go reads and refuses them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dockc.golang.numbers import NumberError, parse_int, parse_size, parse_uint


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64", 64), ("64m", 64 << 20), ("1.5 GiB", 3 << 29), (".5k", 512), ("1_000", 1000), ("0x1p4", 16), ("0x_1p1_0k", 1 << 20), ("1e3b", 1000),
        ("9e18", 9 * 10**18), ("1e19", -(1 << 63)), ("inf ", -(1 << 63)), ("nan ", -(1 << 63)),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    """As Go has them: what no 64 bits can hold is their smallest number."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["1__0", "_1", "1_", "1_.5", "1._5", "1_e5", "0x1", "0x.p1", "1e", ".", "", "+", "\u0663", " 1", "infin", "+nan", "1e_1"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text + " ")


@pytest.mark.parametrize("text", ["9223372036854775808", "99999999999999999999z", "-9223372036854775809", "1" * 5000])
def test_too_large_is_told_before_what_follows(text: str) -> None:
    with pytest.raises(NumberError, match="value out of range"):
        parse_int(text)


@given(st.integers(-(1 << 70), 1 << 70), st.sampled_from([8, 10, 16]), st.sampled_from([8, 16, 32, 64]))
@example(-(1 << 63), 10, 64)
@example(1 << 63, 10, 64)
def test_whole_numbers_come_back(number: int, base: int, bits: int) -> None:
    text = format(number, {8: "o", 10: "d", 16: "x"}[base])
    if -(1 << bits - 1) <= number < 1 << bits - 1:
        assert parse_int(text, base=base, bits=bits) == number
    else:
        with pytest.raises(NumberError, match="out of range"):
            parse_int(text, base=base, bits=bits)
    if 0 <= number < 1 << bits:
        assert parse_uint(text, base=base, bits=bits) == number
    else:
        with pytest.raises(NumberError, match="out of range" if number > 0 else "invalid syntax"):
            parse_uint(text, base=base, bits=bits)
