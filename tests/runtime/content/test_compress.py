"""Compression: deterministic, verified to the end, bounded in memory, whatever library does it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import subprocess
import threading
import tracemalloc
import zlib
from typing import Any

import pytest

from dockc.errors import StoreError, UsageError
from dockc.runtime.archive import compress
from dockc.runtime.archive.compress import Compression, CompressionName, Decompressor, compress_bytes
from dockc.runtime.cancel import Cancelled

RNG = random.Random(1)
DATA = b"".join(RNG.choice([b"hello ", b"world\n", RNG.randbytes(50)]) for _ in range(40000)) + bytes(3_000_000)
KINDS = [
    Compression("gzip"),
    Compression("gzip", 9),
    Compression("gzip", 0),
    Compression("zstd"),
    Compression("zstd", 19),
]
ALL = [*KINDS, Compression("uncompressed")]


@pytest.fixture(params=["isal", "zlib"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setattr(compress, "_isal", lambda: None)
    return str(request.param)


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_round_trip(library: str, kind: Compression) -> None:
    packed = compress_bytes(DATA, kind)
    assert compress_bytes(DATA, kind) == packed
    stream = Decompressor(io.BytesIO(packed))
    assert stream.name == kind.name
    assert stream.read() == DATA
    assert stream.read(10) == b""
    stream = Decompressor(io.BytesIO(packed))
    assert b"".join(iter(lambda: stream.read(70001), b"")) == DATA


def test_other_programs_read_it(library: str) -> None:
    assert gzip.decompress(compress_bytes(DATA, Compression())) == DATA
    done = subprocess.run(["gzip", "-dc"], input=compress_bytes(DATA, Compression()), capture_output=True, check=True)
    assert done.stdout == DATA
    assert compress_bytes(b"", Compression())[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_members_one_after_another(library: str, kind: Compression) -> None:
    one, two = compress_bytes(b"one" * 1000, kind), compress_bytes(b"two" * 1000, kind)
    empty = compress_bytes(b"", kind)
    padding = bytes(600_000) if kind.name == "gzip" else b""
    assert Decompressor(io.BytesIO(one + empty + two + padding)).read() == b"one" * 1000 + b"two" * 1000


def test_zstd_skippable_frames() -> None:
    frame = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    assert Decompressor(io.BytesIO(frame + compress_bytes(b"data", Compression("zstd")) + frame)).read() == b"data"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_cut_off_and_damaged(library: str, kind: Compression) -> None:
    packed = compress_bytes(DATA, kind)
    for cut in (5, len(packed) // 2, len(packed) - 1, len(packed) - 5):
        with pytest.raises(StoreError, match=rf"unexpected end of {kind.name} data"):
            Decompressor(io.BytesIO(packed[:cut])).read()
    broken = bytearray(packed)
    broken[len(packed) // 2] ^= 0x55
    broken[-6] ^= 0x55
    with pytest.raises(StoreError, match=rf"damaged {kind.name} data"):
        Decompressor(io.BytesIO(bytes(broken))).read()
    with pytest.raises(StoreError):
        Decompressor(io.BytesIO(packed + b"garbage!")).read()


def test_a_bomb_takes_no_memory(library: str) -> None:
    for kind in (Compression("gzip", 9), Compression("zstd", 19)):
        packed = compress_bytes(bytes(64 << 20), kind)
        assert len(packed) < 100_000
        stream = Decompressor(io.BytesIO(packed))
        tracemalloc.start()
        total = 0
        while data := stream.read(1 << 16):
            total += len(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == 64 << 20
        assert peak < 8 << 20


def test_options() -> None:
    assert compress.parse("zstd", "22", True) == Compression("zstd", 22, True)
    assert compress.parse("gzip") == Compression()
    with pytest.raises(UsageError, match="unsupported compression 'xz'"):
        compress.parse("xz")
    for name, level in (("gzip", "10"), ("zstd", "23"), ("gzip", "x"), ("uncompressed", "1")):
        with pytest.raises(UsageError, match="invalid compression level"):
            compress.parse(name, level)


@pytest.mark.parametrize("name", ["bzip2", "xz"])
def test_archives_have_two_formats_more_than_layers(name: str) -> None:
    pack = bz2.compress if name == "bzip2" else lzma.compress
    data = os.urandom(3000) * 300
    for packed, plain in (
        (pack(data), data),
        (pack(data) + pack(b"more"), data + b"more"),
        (pack(data) + (bytes(8) + pack(b"more") if name == "xz" else b""), data + (b"more" if name == "xz" else b"")),
        (pack(data) + b"what these tools overlook", data),
    ):
        stream = Decompressor(io.BytesIO(packed), archives=True)
        assert (stream.name, stream.read()) == (name, plain)
    assert Decompressor(io.BytesIO(pack(data))).name == "uncompressed"
    for broken in (pack(data)[:-9], pack(data)[:-20], pack(data)[:100]):
        with pytest.raises(StoreError, match=f"(unexpected end of|damaged) {name} data"):
            Decompressor(io.BytesIO(broken), archives=True).read()


def test_an_xz_stream_that_asks_for_all_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    packed = bytearray(lzma.compress(b"x", filters=filters, check=lzma.CHECK_CRC32))
    at = packed.index(b"\x21\x01") + 2  # filter id and size of its properties; then the dictionary's size
    packed[at] = 40  # 4 GiB less one byte
    header = packed[12 : 12 + (packed[12] + 1) * 4]
    packed[12 + len(header) - 4 : 12 + len(header)] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    with pytest.raises(StoreError, match="damaged xz data: Memory usage limit exceeded"):
        Decompressor(io.BytesIO(bytes(packed)), archives=True).read()


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_millions_of_empty_members_listen(name: CompressionName) -> None:
    empty = compress_bytes(b"", Compression(name))
    stop = threading.Event()

    class Watching(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 100_000:
                stop.set()
            return super().read(size)

    with pytest.raises(Cancelled):
        Decompressor(Watching(empty * 100_000), cancelled=stop).read()


def test_what_follows_a_tiny_member_is_not_copied_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each member hands back a copy of what follows it: small bites keep that linear."""
    fed = 0
    inner = compress._ZlibDecoder.decompress

    def counted(self: Any, data: bytes, max_length: int = 0, /) -> bytes:
        nonlocal fed
        fed += len(data)
        return inner(self, data, max_length)

    monkeypatch.setattr(compress, "_isal", lambda: None)
    monkeypatch.setattr(compress._ZlibDecoder, "decompress", counted)
    packed = compress_bytes(b"", Compression("gzip", 9)) * 20_000
    assert Decompressor(io.BytesIO(packed)).read() == b""
    assert fed < 220 * len(packed)
