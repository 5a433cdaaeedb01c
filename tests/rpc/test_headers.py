"""Header blocks that come again are looked up; whoever reads or writes them must not notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from h2.exceptions import ProtocolError
from hpack import Decoder, Encoder, HeaderTuple
from hpack.exceptions import HPACKError
from hypothesis import given
from hypothesis import strategies as st

from dockc.rpc import headers as blocks
from dockc.rpc.headers import REQUEST, RESPONSE, TRAILERS, Block, BlockDecoder, BlockEncoder

NAMES = st.sampled_from([b"a", b"b", b"grpc-status", b":path", b"x" * 40])
VALUES = st.sampled_from([b"", b"0", b"1", b"y" * 60, b"z" * 1500])
LISTS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
STEPS = st.lists(st.one_of(LISTS, st.integers(0, 6000)), max_size=40)


@given(st.lists(LISTS, min_size=1, max_size=4), STEPS, st.lists(st.integers(0, 50), max_size=60))
def test_blocks_are_those_of_the_library(
    few: list[list[tuple[bytes, bytes]]], steps: list[list[tuple[bytes, bytes]] | int], again: list[int]
) -> None:
    """Any order of headers, some of which come often, and of sizes of the table; bytes and headers are hpack's own."""
    ours, plain = BlockEncoder(), Encoder()
    reads, library = BlockDecoder(1 << 20), Decoder(1 << 20)
    mixed: list[list[tuple[bytes, bytes]] | int] = [*steps, *(few[number % len(few)] for number in again)]
    for one in mixed:
        if isinstance(one, int):
            ours.header_table_size = one
            if min(one, 4096) != plain.header_table_size:
                plain.header_table_size = min(one, 4096)
            continue
        block = ours.encode(one)
        assert block == plain.encode(one, huffman=False)
        found = reads.decode(block, raw=True)
        assert [tuple(pair) for pair in found] == one
        assert list(found) == list(library.decode(block, raw=True))


def test_a_size_that_is_wished_for_twice_is_told_once() -> None:
    writes, reads = BlockEncoder(), BlockDecoder(1 << 20)
    for size in (0, 33, 33):
        writes.header_table_size = size
        if not size:
            reads.decode(writes.encode([]), raw=True)
    for _ in range(2):
        assert [tuple(pair) for pair in reads.decode(writes.encode([(b"a", b"")]), raw=True)] == [(b"a", b"")]


def counted(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> list[None]:
    calls: list[None] = []
    real: Callable[..., object] = getattr(kind, name)

    def call(*arguments: object, **more: object) -> object:
        calls.append(None)
        return real(*arguments, **more)

    monkeypatch.setattr(kind, name, call)
    return calls


def test_what_comes_again_is_coded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    writes, reads = BlockEncoder(), BlockDecoder(1 << 20)
    encoded, decoded = counted(monkeypatch, Encoder, "encode"), counted(monkeypatch, BlockDecoder, "_read")
    headers = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"a", b"b")]
    for _ in range(50):
        reads.decode(writes.encode(headers), raw=True)
    # The first one fills the table, the second one is short; that is the one that stays.
    assert (len(encoded), len(decoded)) == (2, 2)
    reads.decode(writes.encode([(b"new", b"1")]), raw=True)
    reads.decode(writes.encode(headers), raw=True)
    assert (len(encoded), len(decoded)) == (4, 4)


def test_what_is_remembered_is_bounded() -> None:
    writes, reads = BlockEncoder(), BlockDecoder(1 << 20)
    for number in range(1000):  # blocks without an entry in the table, each another
        reads.decode(b"\x00\x01a" + bytes([4]) + b"%04d" % number, raw=True)
    assert len(reads._known) <= blocks._MOST
    reads.decode(b"\x00\x01a\x7f\x81\x03" + b"x" * 512, raw=True)
    assert max(map(len, reads._known)) <= blocks._BLOCK
    # One byte of a block may stand for 4,000 of a header: such lists are not kept.
    bomb = BlockDecoder(1 << 20)
    bomb.decode(b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000, raw=True)
    bomb.decode(b"\xbe" * 100, raw=True)
    assert not bomb._known
    with pytest.raises(HPACKError):
        BlockDecoder(100).decode(b"\x00\x01a\x7f\x81\x03" + b"x" * 512, raw=True)
    for number in range(1000):
        writes.encode([(b"a", b"%04d" % number)])
        writes.encode([(b"a", b"%04d" % number)])
    assert len(writes._known) <= blocks._MOST


@given(st.lists(LISTS, max_size=8), st.binary(max_size=80))
def test_any_block_is_read_as_the_library_does(blocks_before: list[list[tuple[bytes, bytes]]], bytes_: bytes) -> None:
    """With Huffman coding, as peers write, and with bytes that nobody meant."""
    writes, reads, library = Encoder(), BlockDecoder(1 << 20), Decoder(1 << 20)
    for one in blocks_before:
        block = writes.encode(one, huffman=True)
        assert list(reads.decode(block, raw=True)) == list(library.decode(block, raw=True))
    try:
        told = list(library.decode(bytes_, raw=True))
    except HPACKError:
        with pytest.raises(HPACKError):
            reads.decode(bytes_, raw=True)
    else:
        assert list(reads.decode(bytes_, raw=True)) == told


class Counted(bytes):
    """Counts the bytes that are copied of it."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, bytes):
            Counted.copied += len(found)
        return found


def test_a_block_is_copied_once() -> None:
    """The library copies all that is left of a block at each literal."""
    for count in (1000, 10_000):
        Counted.copied = 0
        found = BlockDecoder(1 << 24)._read(Counted(b"\x00\x01x\x01y" * count))
        assert len(found) == count
        assert Counted.copied == 2 * count


def test_headers_without_end_are_refused() -> None:
    many = b"\x40\x01a\x01b" + b"\xbe" * blocks._FIELDS
    for block in (many, b"\x20" * 5000, b"\x7f" + b"\xff" * 100, b"\x00\x01x\x7f\xff\xff\xff\x0f"):
        with pytest.raises(HPACKError):
            BlockDecoder(1 << 24).decode(block, raw=True)
    assert len(list(BlockDecoder(1 << 24).decode(many[:-1], raw=True))) == blocks._FIELDS


def test_space_around_a_value_is_taken_as_go_sends_it() -> None:
    block = Block([HeaderTuple(b"include-patterns", b" a file "), HeaderTuple(b"x", b" ")])
    assert block.texts(TRAILERS) == [("include-patterns", " a file "), ("x", " ")]
    with pytest.raises(ProtocolError):
        Block([HeaderTuple(b"x", b"a\r\nb: c")]).texts(TRAILERS)


def test_each_kind_of_headers_is_checked() -> None:
    block = Block([HeaderTuple(b":status", b"200"), HeaderTuple(b"a", b"\xff")])
    assert block.texts(RESPONSE) == [(":status", "200"), ("a", "\ufffd")]
    for kind in (REQUEST, TRAILERS):
        with pytest.raises(ProtocolError):
            block.texts(kind)
        with pytest.raises(ProtocolError):  # again, too
            block.texts(kind)
    block.texts(RESPONSE).clear()
    assert block.texts(RESPONSE), "who reads a list may change it"
