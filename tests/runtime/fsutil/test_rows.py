"""Tables of rows as bytes."""

from __future__ import annotations

import tracemalloc

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dockc.runtime.fsutil.rows import pack, unpack

ROWS = st.lists(st.tuples(st.text(), st.integers(-(1 << 63), (1 << 64) - 1), st.binary(), st.booleans()))


@given(ROWS)
def test_rows_come_back(rows: list[tuple[str, int, bytes, bool]]) -> None:
    data = pack(iter(rows))
    assert msgspec.msgpack.decode(data, type=list[tuple[str, int, bytes, bool]]) == rows, "an array as any other"
    found = unpack(data, tuple[str, int, bytes, bool])
    assert found is not None
    assert list(found) == rows


@given(st.binary())
def test_other_bytes_are_no_rows(data: bytes) -> None:
    found = unpack(data, tuple[str, int])
    assert found is None or list(found) == msgspec.msgpack.decode(data)


def test_one_row_at_a_time() -> None:
    """What is made of rows takes the place of the rows."""
    count = 20_000
    tracemalloc.start()
    try:
        data = pack((f"a file of the tree, the number {n:09}", n) for n in range(count))
        _, peak = tracemalloc.get_traced_memory()
        assert peak < 3 * len(data)
        found = unpack(data, tuple[str, int])
        assert found is not None
        before, _ = tracemalloc.get_traced_memory()
        kept = [next(found)[0]]
        tracemalloc.reset_peak()
        kept += [name for name, _ in found]
        _, peak = tracemalloc.get_traced_memory()
        assert peak < before + 20 * count, "the list of names, as the tuples go"
        assert len(kept) == count
    finally:
        tracemalloc.stop()
