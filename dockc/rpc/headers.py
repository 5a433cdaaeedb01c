"""Header blocks for `Connection`: hpack's coding, with blocks that come again remembered.

The calls of one peer have nearly the same headers, which HPACK then writes as a few bytes that point into its table. As
long as nothing enters that table, equal headers are equal bytes, in both directions: so a block is coded and checked
once, and looked up after that. Only blocks that leave the table as it is are remembered, and all are forgotten as soon
as it changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from h2.utilities import HeaderValidationFlags, validate_headers
from hpack import Decoder, Encoder, HeaderTuple
from hpack.table import HeaderTable

REQUEST, RESPONSE, TRAILERS, LATER = (
    HeaderValidationFlags(is_client=False, is_trailer=False, is_response_header=False, is_push_promise=False),
    HeaderValidationFlags(is_client=True, is_trailer=False, is_response_header=True, is_push_promise=False),
    HeaderValidationFlags(is_client=True, is_trailer=True, is_response_header=False, is_push_promise=False),
    HeaderValidationFlags(is_client=False, is_trailer=True, is_response_header=False, is_push_promise=False),
)
"""What headers may hold: those of a request, of an answer, and what ends an answer or a request."""

_MOST = 64
"""Blocks that are remembered."""
_BLOCK, _LIST = 512, 16384
"""Bytes of a block, and of its headers, beyond which it is not."""
_TABLE = 4096
_FIELD = 200
"""Bytes that a field takes besides its name and value: a pair and two texts."""


class _Table(HeaderTable):
    """hpack's table of headers, which counts its changes."""

    def __init__(self) -> None:
        self.changes = 0
        super().__init__()

    def add(self, name: bytes, value: bytes) -> None:
        """Take an entry."""
        self.changes += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        """Bytes that it may hold."""
        return self._maxsize

    @maxsize.setter
    def maxsize(self, value: int) -> None:
        self.changes += 1
        # What hpack's own setter does; a property of a parent cannot be called by `super`.
        HeaderTable.maxsize.__set__(self, value)  # type: ignore[attr-defined]


class BlockEncoder:
    """The encoder of a connection, without Huffman coding, which hpack does in quadratic time: a large error would stop
    everything for seconds.
    """

    def __init__(self) -> None:
        self._inner = Encoder()
        self._table = self._inner.header_table = _Table()
        self._known: dict[tuple[tuple[bytes, bytes], ...], bytes] = {}
        self._changes = 0

    def encode(self, headers: Iterable[tuple[bytes, bytes]], huffman: bool = True) -> bytes:
        """A header block. The wish for Huffman coding is not heard."""
        key = tuple(headers)
        if self._table.changes == self._changes:
            found = self._known.get(key)
            if found is not None:
                return found
        else:
            self._known.clear()
        self._changes = self._table.changes
        resized = self._table.resized
        block = self._inner.encode(key, huffman=False)
        if self._table.changes == self._changes and not resized and len(block) <= _BLOCK:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = block
        return block

    @property
    def header_table_size(self) -> int:
        """Bytes of the peer's table that we use."""
        return self._inner.header_table_size

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        # Not a second time: hpack would forget that the peer has not been told yet of the first.
        if min(value, _TABLE) != self._inner.header_table_size:
            self._inner.header_table_size = min(value, _TABLE)


class Block:
    """A header block that was decoded.

    Attributes:
        headers: names and values.
        size: bytes that they take in memory, roughly.
    """

    __slots__ = ("_texts", "headers", "size")

    def __init__(self, headers: list[HeaderTuple]) -> None:
        self.headers = headers
        self.size = sum(len(name) + len(value) + _FIELD for name, value in headers)
        self._texts: dict[HeaderValidationFlags, tuple[tuple[str, str], ...]] = {}

    def texts(self, kind: HeaderValidationFlags) -> list[tuple[str, str]]:
        """Names and values, if headers of that kind may be so.

        Raises:
            ProtocolError: they may not.
        """
        found = self._texts.get(kind)
        if found is None:
            checked: Iterable[Any] = validate_headers(self.headers, kind)
            found = self._texts[kind] = tuple(
                (bytes(key).decode("utf-8", "replace"), bytes(value).decode("utf-8", "replace"))
                for key, value in checked
            )
        return list(found)


class BlockDecoder(Decoder):
    """The decoder of a connection.

    Args:
        most: bytes of the headers of one block, at most.

    Attributes:
        block: what was decoded last.
    """

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._table = self.header_table = _Table()
        self.max_allowed_table_size = _TABLE
        self.block = Block([])
        self._known: dict[bytes, Block] = {}
        self._changes = 0

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """The headers of a block, as bytes.

        Raises:
            HPACKError: it is malformed, or too large.
        """
        key = bytes(data)
        if self._table.changes == self._changes:
            found = self._known.get(key)
            if found is not None:
                self.block = found
                return found.headers
        else:
            self._known.clear()
        self._changes = self._table.changes
        headers = list(super().decode(key, raw=True))
        self.block = Block(headers)
        if self._table.changes == self._changes and len(key) <= _BLOCK and self.block.size <= _LIST:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = self.block
        return headers
