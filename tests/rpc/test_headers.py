"""Header blocks that come again are looked up; whoever reads or writes them must not notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from h2.exceptions import ProtocolError
from hpack import Decoder, Encoder
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
    encoded, decoded = counted(monkeypatch, Encoder, "encode"), counted(monkeypatch, Decoder, "decode")
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


def test_each_kind_of_headers_is_checked() -> None:
    from hpack import HeaderTuple

    block = Block([HeaderTuple(b":status", b"200"), HeaderTuple(b"a", b"\xff")])
    assert block.texts(RESPONSE) == [(":status", "200"), ("a", "\ufffd")]
    for kind in (REQUEST, TRAILERS):
        with pytest.raises(ProtocolError):
            block.texts(kind)
        with pytest.raises(ProtocolError):  # again, too
            block.texts(kind)
    block.texts(RESPONSE).clear()
    assert block.texts(RESPONSE), "who reads a list may change it"
