"""`Content-Encoding` undone: some servers and proxies send objects so whatever was asked (RFC 9110, 8.4).

Memory is bounded however well an answer compresses; what the bytes must be is for the caller to check.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from dockc.errors import RegistryError, StoreError

#: What requests say: as it is. Servers may still do otherwise.
IDENTITY = "identity"
_BLOCK = 1 << 18


class _Raw:
    """A function that reads, as a stream."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes."""
        return self._read(size)


class _Deflate:
    """zlib's format, or the bare one that some servers mean by `deflate`."""

    def __init__(self, raw: _Raw) -> None:
        self._raw = raw
        self._decoder: zlib._Decompress | None = None
        self._kept = b""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, empty at the end."""
        while True:
            data = self._kept or self._raw.read(_BLOCK)
            if self._decoder is None:
                zlib_header = len(data) > 1 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
                self._decoder = zlib.decompressobj(zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS)
            if not data:
                if not self._decoder.eof:
                    raise StoreError("unexpected end of deflate data")
                return b""
            try:
                made = self._decoder.decompress(data, size if size > 0 else _BLOCK)
            except zlib.error as error:
                raise StoreError(f"damaged deflate data: {error}") from error
            self._kept = self._decoder.unconsumed_tail
            if made:
                return made
            if self._decoder.eof:
                return b""


class _Unknown:
    """A coding that nobody asked for and that is not known here; heads have no body, so it matters only to who
    reads.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def read(self, size: int) -> bytes:
        """Say so."""
        raise StoreError(f"{self._name!r} is not known")


def decoded(coding: str, read: Callable[[int], bytes]) -> Callable[[int], bytes] | None:
    """A function that reads what an answer means.

    Args:
        coding: the header's value; several codings were applied in their order.
        read: gives the bytes that are sent, at most as many as asked for.

    Returns:
        None where nothing was encoded.

    Raises:
        RegistryError: from the function: damaged data, or a coding that is not known here.
    """
    names = [name for part in coding.lower().split(",") if (name := part.strip()) not in ("", IDENTITY)]
    if not names:
        return None
    stream: _Raw | _Deflate = _Raw(read)
    for name in reversed(names):
        stream = _layer(name, stream)
    return _guarded(stream.read)


def _layer(name: str, stream: _Raw | _Deflate) -> _Raw | _Deflate:
    if name == "deflate":
        return _Deflate(_Raw(stream.read))
    if name not in ("gzip", "x-gzip", "zstd"):
        return _Raw(_Unknown(name[:40]).read)
    wanted = name.removeprefix("x-")
    opened: list[Callable[[int], bytes]] = []

    def read(size: int) -> bytes:
        if not opened:
            from dockc.runtime.archive.compress import Decompressor

            inner = Decompressor(stream)
            if inner.name not in (wanted, "uncompressed"):
                raise StoreError(f"{inner.name} data where {wanted} was said")
            opened.append(inner.read)
        return opened[0](size if size > 0 else _BLOCK)

    return _Raw(read)


def _guarded(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def reading(size: int) -> bytes:
        try:
            return read(size)
        except StoreError as error:
            raise RegistryError(f"the answer's content encoding: {error.message}") from error

    return reading
