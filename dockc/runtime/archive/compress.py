"""Compression of layers: gzip, zstd or none; which one a stream uses is told by its first bytes.

Output is a function of input, level and library alone: gzip headers carry no name and no time. Where isal is
installed (with dockc, on machines that it has wheels for), gzip at the default level is written and read by it: several
times the speed for about
a tenth more bytes. The bytes then differ from zlib's, so `gzip_library()` is part of what a build records.

Sources: RFC 1952 (gzip), RFC 8878 (zstd).
"""

from __future__ import annotations

import io
import sys
import threading
import zlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dockc.base.record import Record
from dockc.errors import StoreError, UsageError
from dockc.oci import mediatypes
from dockc.oci.digest import Reader
from dockc.runtime.cancel import check_cancelled

if TYPE_CHECKING:
    from types import ModuleType

CompressionName = Literal["gzip", "zstd", "uncompressed"]
StreamName = Literal["gzip", "zstd", "bzip2", "xz", "uncompressed"]
"""What streams can be read: layers are the first two or plain, archives any."""

_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BZIP2_MAGIC = b"BZh"
_XZ_MAGIC = b"\xfd7zXZ\0"
_XZ_MEMORY = 512 << 20  # xz -9 needs 65 MB; a header may ask for 4 GB
_BLOCK = 256 << 10
_FIRST_BITE = 4 << 10
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
    if kind == "uncompressed" or not level.isdecimal() or len(level) > 2 or int(level) > top:
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

    Args:
        inner: the compressed stream.
        archives: read bzip2 and xz too, which layers never are.
        cancelled: looked at before every piece: a small stream may be of millions of empty members, or be a bomb.
        block: bytes that are made at once. What comes before damage can be read where this is small.

    Attributes:
        name: what the stream turned out to be.

    Raises:
        StoreError: from `read`, when the compressed data is damaged or cut off.
        Cancelled: from `read`, when `cancelled` was set.
    """

    def __init__(
        self,
        inner: Reader,
        *,
        archives: bool = False,
        cancelled: threading.Event | None = None,
        block: int = _BLOCK,
    ) -> None:
        self._inner = inner
        self._block = block
        self._cancelled = cancelled
        head = b""
        while len(head) < 6 and (more := inner.read(6 - len(head))):
            head += more
        self._pending = memoryview(head)
        self._make: Callable[[], _Decoder] | None = None
        self.name: StreamName = "uncompressed"
        if head.startswith(_GZIP_MAGIC):
            self.name, self._make = "gzip", _gzip_decoder
        elif head.startswith(_ZSTD_MAGIC) or _is_skippable(head[:4]):
            self.name, self._make = "zstd", _zstd_decoder
        elif archives and head.startswith(_BZIP2_MAGIC):
            self.name, self._make = "bzip2", _bzip2_decoder
        elif archives and head == _XZ_MAGIC:
            self.name, self._make = "xz", _xz_decoder
        self._decoder = self._make() if self._make else None
        self._bite = _BLOCK
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

    def _take(self) -> bytes:
        """The next compressed bytes; empty at the end of the stream."""
        if not self._pending:
            return self._inner.read(self._bite)
        taken, self._pending = bytes(self._pending[: self._bite]), self._pending[self._bite :]
        return taken

    def _next_block(self) -> bytes:
        """The next bytes of the plain stream, at most a block; empty at its end."""
        check_cancelled(self._cancelled)
        if self._decoder is None:
            return self._take()
        fresh = False
        while True:
            if self._decoder.eof:
                check_cancelled(self._cancelled)
                if not self._next_member():
                    return b""
                fresh = True
            data = self._take() if self._decoder.needs_input else b""
            self._bite = min(2 * self._bite, _BLOCK)
            cut_off = not data and self._decoder.needs_input
            try:
                made = self._decoder.decompress(data, self._block)
            except Exception as error:  # each library raises its own class
                if fresh and self.name in ("bzip2", "xz"):
                    return b""  # what follows is no further member: these tools overlook it
                raise StoreError(f"damaged {self.name} data: {error}") from error
            if made:
                return made
            if cut_off and not self._decoder.eof:
                raise StoreError(f"unexpected end of {self.name} data")

    def _next_member(self) -> bool:
        assert self._decoder is not None
        assert self._make is not None
        # Members may be tiny, and each hands back what follows it as a copy: begin with small bites.
        rest = self._decoder.unused_data
        if self.name in ("gzip", "xz"):
            # Zero bytes after a member are padding, as gzip(1) and xz(1) have it too.
            rest = rest.lstrip(b"\0")
            while not rest and (rest := self._take()):
                rest = rest.lstrip(b"\0")
        else:
            rest = rest or self._take()
        if not rest:
            return False
        self._bite = _FIRST_BITE
        self._pending = memoryview(rest + bytes(self._pending)) if self._pending else memoryview(rest)
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


def _bzip2_decoder() -> _Decoder:
    import bz2

    return bz2.BZ2Decompressor()


def _xz_decoder() -> _Decoder:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


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
