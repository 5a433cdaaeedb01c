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
from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hpack.exceptions import HPACKDecodingError, InvalidTableSizeError, OversizedHeaderListError
from hpack.huffman_table import decode_huffman
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
_FIELDS = 100_000
"""Headers of one block, at most: each takes a microsecond or two, in which nobody else has his turn."""
_UPDATES = 1000
"""Sizes of the table that one block may wish for; two would do, but hpack's encoder writes all that there were."""
_OVERHEAD = 32
"""Bytes that a header counts besides its own (RFC 7541, 4.1)."""
_DIGITS = 5
"""Bytes that a number goes on at most, as in the library."""
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
            # Space around a value breaks HTTP's rules, but Go's gRPC sends file names as they are.
            bare = [one.__class__(one[0], bytes(one[1]).strip(b" \t")) for one in self.headers]
            checked: Iterable[Any] = validate_headers(bare, kind)
            found = self._texts[kind] = tuple(
                (bytes(key).decode("utf-8", "replace"), bytes(value).decode("utf-8", "replace"))
                for (key, value), _ in zip(self.headers, checked, strict=True)
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
        headers = self._read(key)
        self.block = Block(headers)
        if self._table.changes == self._changes and len(key) <= _BLOCK and self.block.size <= _LIST:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = self.block
        return headers

    def _read(self, data: bytes) -> list[HeaderTuple]:
        """The library's own way copies all that is left of a block at each literal (RFC 7541, 6)."""
        headers: list[HeaderTuple] = []
        table, at, updates, left = self._table, 0, 0, self.max_header_list_size
        while at < len(data):
            first = data[at]
            if first & 0xE0 == 0x20:  # the table is to be of another size (4.2)
                size, at = _integer(data, at, 5)
                updates += 1
                if headers or updates > _UPDATES:
                    raise HPACKDecodingError("Table size update not at the start of the block")
                if size > self.max_allowed_table_size:
                    raise InvalidTableSizeError("Encoder exceeded max allowable table size")
                self.header_table_size = size
                continue
            if first & 0x80:
                index, at = _integer(data, at, 7)
                header = HeaderTuple(*table.get_by_index(index))
            else:
                index, at = _integer(data, at, 6 if first & 0x40 else 4)
                name, at = _text(data, at) if not index else (bytes(table.get_by_index(index)[0]), at)
                value, at = _text(data, at)
                header = NeverIndexedHeaderTuple(name, value) if first & 0xF0 == 0x10 else HeaderTuple(name, value)
                if first & 0x40:
                    table.add(name, value)
            headers.append(header)
            left -= len(header[0]) + len(header[1]) + _OVERHEAD
            if left < 0 or len(headers) > _FIELDS:
                raise OversizedHeaderListError("more headers than are taken")
        self._assert_valid_table_size()
        return headers


def _integer(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """A number in the last bits of a byte and those that follow, and where it ends (RFC 7541, 5.1)."""
    most = (1 << bits) - 1
    found, at = data[at] & most, at + 1
    if found < most:
        return found, at
    for shift in range(0, _DIGITS * 7, 7):
        if at >= len(data):
            break
        byte, at = data[at], at + 1
        found += (byte & 127) << shift
        if byte < 128:
            return found, at
    raise HPACKDecodingError("a number without an end")


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    """A text, and where it ends (5.2)."""
    if at >= len(data):
        raise HPACKDecodingError("Truncated header block")
    coded = data[at] & 0x80
    size, at = _integer(data, at, 7)
    if size > len(data) - at:
        raise HPACKDecodingError("Truncated header block")
    found = data[at : at + size]
    return decode_huffman(found) if coded else found, at + size
