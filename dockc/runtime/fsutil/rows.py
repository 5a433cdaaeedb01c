"""Tables of many small rows as bytes (MessagePack: one array of arrays), of which only one row at a time is an object:
a tree of a hundred thousand files shall not be in memory three times while it is read or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

_ARRAY = b"\xdd"
"""Begins an array whose length follows in four bytes, the highest first (MessagePack specification, array 32)."""


def pack(rows: Iterable[tuple[Any, ...]]) -> bytes:
    """Rows as bytes."""
    import msgspec

    encoder = msgspec.msgpack.Encoder()
    data = bytearray(_ARRAY + bytes(4))
    count = 0
    for row in rows:
        encoder.encode_into(row, data, -1)
        count += 1
    data[1:5] = count.to_bytes(4, "big")
    return bytes(data)


def unpack(data: bytes, row: Any) -> Iterator[Any] | None:
    """The rows of `pack`, each of the type `row`, a tuple; None where the bytes are anything else."""
    import msgspec

    try:
        rows: list[Any] = msgspec.msgpack.decode(data, type=list[row])
    except msgspec.MsgspecError:
        return None
    return _given_up(rows)


def _given_up(rows: list[Any]) -> Iterator[Any]:
    """Each row once: it goes when it has been read."""
    rows.reverse()
    while rows:
        yield rows.pop()
