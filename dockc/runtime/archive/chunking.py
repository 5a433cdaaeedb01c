"""Content-defined chunks: a stream is cut where its own bytes say so, so that an insertion moves the cuts near it only.

Places are the ends of lines, which are found with the speed of memchr(3) and are about as frequent in text as in bytes
that look random; a place is a cut when the checksum of the bytes before it ends in enough zero bits. Where a stretch
has no such line, every `e` is a place; where it has none either (zeros), it is cut at the largest size.

Source: the idea is that of FastCDC (Xia et al., USENIX ATC 2016): no cut below a least size, none beyond a largest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from zlib import crc32

LEAST, LARGEST = 64 << 10, 1 << 20
"""Sizes of chunks in bytes; only the last of a stream may be smaller."""
_WINDOW = 48
_PLACES = ((re.compile(rb"\n"), (1 << 9) - 1), (re.compile(rb"e"), (1 << 11) - 1))
"""Where to look, and the bits of the checksum that must be zero: of random bytes one in 128 KiB, of the second 512 KiB.
"""


class Chunker:
    """Cuts what is written into chunks and hands each on; `close` hands on the rest.

    The same bytes are cut in the same places however they are written.
    """

    def __init__(self, out: Callable[[bytes], object]) -> None:
        """Begin a stream.

        Args:
            out: takes the chunks, in order; together they are the stream.
        """
        self._out = out
        self._held = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        """Take in more bytes."""
        self._held += data
        if len(self._held) >= LARGEST:
            self._cut(whole=False)

    def close(self) -> None:
        """The stream ends here."""
        self._cut(whole=True)

    def _cut(self, *, whole: bool) -> None:
        """Hand on the chunks whose ends are certain: those that more bytes would not change."""
        data = bytes(self._held)
        start = 0
        while len(data) - start >= LARGEST or (whole and start < len(data)):
            end = _end(data, start)
            self._out(data[start:end])
            start = end
        self._held = bytearray(data[start:])


def _end(data: bytes, start: int) -> int:
    """Where the chunk that begins at `start` ends; all it can need must be there, or the stream must end with `data`."""
    last = min(start + LARGEST, len(data))
    for places, bits in _PLACES:
        for place in places.finditer(data, start + LEAST, last):
            at = place.end()
            if not crc32(data[at - _WINDOW : at]) & bits:
                return at
    return last
