"""Compression of layers: gzip, zstd or none; which one a stream uses is told by its first bytes.

Output is a function of input, level and library alone: gzip headers carry no name and no time. With the extra
`fast` (isal) installed, gzip at the default level is written and read by it: several times the speed for about
a tenth more bytes. The bytes then differ from zlib's, so `gzip_library()` is part of what a build records.

Sources: RFC 1952 (gzip), RFC 8878 (zstd).
"""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dockc.base.record import Record
from dockc.errors import StoreError, UsageError
from dockc.oci import mediatypes
from dockc.oci.digest import Reader

if TYPE_CHECKING:
    from types import ModuleType

CompressionName = Literal["gzip", "zstd", "uncompressed"]

_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCK = 256 << 10
_GZIP_LEVEL = 6  # zlib's default
_ZSTD_LEVEL = 3  # zstd's default
_ISAL_LEVEL = 2
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no flags, no time, unknown system

_NAMES: dict[str, CompressionName] = {"gzip": "gzip", "zstd": "zstd", "uncompressed": "uncompressed"}


class Compression(Record):
    """A choice of compression.

    Attributes:
        name: the algorithm.
        level: 0-9 for gzip, 0-22 for zstd; None is the library's default.
        force: compress again what is already there in another form.
    """

    name: CompressionName = "gzip"
    level: int | None = None
    force: bool = False

    @property
    def media_type(self) -> str:
        """OCI media type of a layer of this compression."""
        return mediatypes.layer_type(self.name)


def parse(name: str, level: str = "", force: bool = False) -> Compression:
    """A compression from option values; raises UsageError with what is possible."""
    kind = _NAMES.get(name)
    if kind is None:
        raise UsageError(f"unsupported compression {name!r}", hint="Use gzip, zstd or uncompressed.")
    if not level:
        return Compression(kind, None, force)
    top = 22 if kind == "zstd" else 9
    if kind == "uncompressed" or not level.isdecimal() or int(level) > top:
        raise UsageError(f"invalid compression level {level!r} for {name}", hint=f"Use 0 to {top}.")
    return Compression(kind, int(level), force)


class Compressor:
    """Compresses what is written and hands it on; `close` writes the end."""

    def __init__(self, compression: Compression, out: Callable[[bytes], object]) -> None:
        self._out = out
        self._compress: Callable[[bytes | memoryview], bytes]
        self._flush: Callable[[], bytes]
        self._crc: Callable[[bytes | memoryview, int], int] | None = None
        self._checksum = self._size = 0
        if compression.name == "gzip":
            self._begin_gzip(compression.level)
        elif compression.name == "zstd":
            zstd = _zstd()
            level = _ZSTD_LEVEL if compression.level is None else compression.level
            encoder = zstd.ZstdCompressor(level=level)
            self._compress, self._flush = encoder.compress, encoder.flush
        else:
            self._compress, self._flush = bytes, bytes

    def _begin_gzip(self, level: int | None) -> None:
        fast = _isal() if level is None else None
        encoder: Any
        if fast is not None:
            encoder = fast.compressobj(level=_ISAL_LEVEL, wbits=-15)
            self._crc = fast.crc32
        else:
            encoder = zlib.compressobj(_GZIP_LEVEL if level is None else level, zlib.DEFLATED, -15)
            self._crc = zlib.crc32
        self._compress, self._flush = encoder.compress, encoder.flush
        self._out(_GZIP_HEADER)

    def write(self, data: bytes | memoryview) -> int:
        """Take in more bytes."""
        if self._crc is not None:
            self._checksum = self._crc(data, self._checksum)
            self._size += len(data)
        if made := self._compress(data):
            self._out(made)
        return len(data)

    def close(self) -> None:
        """Write what is held back and the trailer."""
        if made := self._flush():
            self._out(made)
        if self._crc is not None:
            self._out(self._checksum.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little"))


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class Decompressor:
    """Reads a stream that may be gzip, zstd or plain, told by its first bytes.

    Memory is bounded by the block size however well the stream compresses. Several members or frames one after
    another are one stream (as pigz, eStargz and zstd:chunked make them).

    Attributes:
        name: what the stream turned out to be.

    Raises:
        StoreError: from `read`, when the compressed data is damaged or cut off.
    """

    def __init__(self, inner: Reader) -> None:
        self._inner = inner
        head = b""
        while len(head) < 4 and (more := inner.read(4 - len(head))):
            head += more
        self._pending = head
        self._make: Callable[[], _Decoder] | None = None
        self.name: CompressionName = "uncompressed"
        if head.startswith(_GZIP_MAGIC):
            self.name, self._make = "gzip", _gzip_decoder
        elif head == _ZSTD_MAGIC or _is_skippable(head):
            self.name, self._make = "zstd", _zstd_decoder
        self._decoder = self._make() if self._make else None
        self._buffer = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes (all with -1); fewer only at the end."""
        parts: list[memoryview] = []
        wanted = sys.maxsize if size < 0 else size
        while wanted > 0:
            if not self._buffer:
                self._buffer = memoryview(self._next_block())
                if not self._buffer:
                    break
            part = self._buffer[:wanted]
            self._buffer = self._buffer[len(part) :]
            wanted -= len(part)
            parts.append(part)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def _next_block(self) -> bytes:
        """The next bytes of the plain stream, at most a block; empty at its end."""
        if self._decoder is None:
            taken, self._pending = self._pending, b""
            return taken or self._inner.read(_BLOCK)
        while True:
            if self._decoder.eof and not self._next_member():
                return b""
            data, self._pending = self._pending, b""
            if not data and self._decoder.needs_input:
                data = self._inner.read(_BLOCK)
            cut_off = not data and self._decoder.needs_input
            try:
                made = self._decoder.decompress(data, _BLOCK)
            except Exception as error:  # each library raises its own class
                raise StoreError(f"damaged {self.name} data: {error}") from error
            if made:
                return made
            if cut_off and not self._decoder.eof:
                raise StoreError(f"unexpected end of {self.name} data")

    def _next_member(self) -> bool:
        assert self._decoder is not None
        assert self._make is not None
        rest = self._decoder.unused_data or self._inner.read(_BLOCK)
        if self.name == "gzip":
            # Zero bytes after the last member are padding, as gzip(1) has it too.
            while rest and not (rest := rest.lstrip(b"\0")):
                rest = self._inner.read(_BLOCK)
        if not rest:
            return False
        self._pending = rest
        self._decoder = self._make()
        return True


class _ZlibDecoder:
    """zlib's decompressor with the shape of zstd's: it keeps input that has not been used yet."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)
        self._kept = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._kept

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        made = self._inner.decompress(self._kept + data if self._kept else data, max_length)
        self._kept = self._inner.unconsumed_tail
        return made


def _gzip_decoder() -> _Decoder:
    if _isal() is not None:
        from isal import igzip_lib

        decoder: _Decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        return decoder
    return _ZlibDecoder()


def _zstd_decoder() -> _Decoder:
    decoder: _Decoder = _zstd().ZstdDecompressor()
    return decoder


def _is_skippable(head: bytes) -> bool:
    return len(head) == 4 and head[1:] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F


@cache
def _isal() -> ModuleType | None:
    try:
        from isal import isal_zlib
    except ImportError:
        return None
    module: ModuleType = isal_zlib
    return module


@cache
def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def gzip_library() -> str:
    """Which library writes gzip at the default level: `isal` or `zlib`."""
    return "isal" if _isal() is not None else "zlib"


def compress_bytes(data: bytes, compression: Compression) -> bytes:
    """The data, compressed at once."""
    out = io.BytesIO()
    encoder = Compressor(compression, out.write)
    encoder.write(data)
    encoder.close()
    return out.getvalue()
