"""The connection without I/O: any split of the bytes, hostile peers, windows."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.stream import H2Stream
from h2.utilities import HeaderValidationFlags
from hpack import Decoder, Encoder
from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st

from dockc.rpc import connection as wire
from dockc.rpc.connection import PREFACE, Connection, Stream
from dockc.rpc.status import (
    CANCELLED,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    UNKNOWN,
    RpcError,
    error_of,
    trailers_of,
)

REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/t/Echo"),
    (":authority", "x"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


class Told(Stream):
    """A stream that keeps what happens."""

    def __init__(self, connection: Connection, number: int) -> None:
        super().__init__(connection, number)
        self.messages: list[bytes] = []
        self.take = True

    def arrived(self, message: bytes) -> None:
        self.messages.append(message)
        if self.take:
            self.taken(len(message))

    def changed(self) -> None:
        pass

    def waiting(self) -> bool:
        return not self.take and bool(self.messages)


class End(Connection):
    """One end; `said` is everything that it wrote."""

    def __init__(self, *, server: bool, max_message: int = wire.MAX_MESSAGE) -> None:
        self.all: list[Told] = []
        self.error: RpcError | None = None
        self.now = 0.0
        super().__init__(server=server, max_message=max_message, clock=lambda: self.now)

    def opened(self, number: int, headers: list[tuple[str, str]]) -> Stream | None:
        stream = Told(self, number)
        self.all.append(stream)
        return stream

    def refused(self, stream: Stream, error: RpcError) -> None:
        self.finish(
            stream, [(":status", "200"), ("content-type", "application/grpc"), *trailers_of(error.code, error.message)]
        )

    def gone(self, error: RpcError) -> None:
        self.error = error

    def request(self) -> Told:
        stream = self.open(REQUEST, Told)
        assert isinstance(stream, Told)
        self.all.append(stream)
        return stream


def meet(client: End, server: End) -> None:
    """Carry bytes until both have nothing to say."""
    while True:
        there, back = client.take_output(), server.take_output()
        if not there and not back:
            return
        server.feed(there)
        client.feed(back)


def pair() -> tuple[End, End]:
    client, server = End(server=False), End(server=True)
    meet(client, server)
    return client, server


def happened(end: End) -> list[object]:
    return [
        (s.id, s.headers, s.messages, s.trailers, s.ended, s.error and (s.error.code, s.error.message)) for s in end.all
    ] + [
        end.closed,
        end.error and end.error.message,
    ]


def frame(kind: int, flags: int = 0, number: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, number) + payload


SETTINGS = frame(4)
BLOCK = Encoder().encode([(k.encode(), v.encode()) for k, v in REQUEST], huffman=False)
HELLO = PREFACE + SETTINGS
OPEN = HELLO + frame(1, 4, 1, BLOCK)


# --- any split of the bytes ------------------------------------------------------------------------------


def conversation() -> tuple[bytes, bytes]:
    """What a client and a server say in three calls: one large message, many small ones, an error without messages."""
    client, server = End(server=False), End(server=True)
    there, back = b"", b""

    def carry() -> None:
        nonlocal there, back
        for _ in range(4):
            a, b = client.take_output(), server.take_output()
            there, back = there + a, back + b
            server.feed(a)
            client.feed(b)

    carry()
    calls = [client.request() for _ in range(3)]
    carry()
    for size in (0, 1, 40_000, 3):
        view = memoryview(bytes(size))
        at = 0
        while at < size + 5:
            at += calls[0].put_part(view, at)
    for size in range(50):
        assert calls[1].put_message(bytes(size))
    for call in calls:
        client.end(call)
    carry()
    first, second, third = server.all
    server.put_headers(first.id, [(":status", "200"), ("content-type", "application/grpc")])
    assert first.put_message(b"answer")
    server.finish(first, trailers_of(0))
    server.put_headers(second.id, [(":status", "200"), ("content-type", "application/grpc")])
    server.finish(second, trailers_of(5, "größer\n100%", [("a/b+json", b"{}" * 12_000)]))
    server.finish(third, [(":status", "200"), ("content-type", "application/grpc"), *trailers_of(7, "no")])
    carry()
    return there, back


THERE, BACK = conversation()


def replayed(there: list[bytes], back: list[bytes]) -> tuple[list[object], list[object]]:
    client, server = End(server=False), End(server=True)
    for _ in range(3):
        client.request()
    for piece in there:
        server.feed(piece)
    for piece in back:
        client.feed(piece)
    return happened(client), happened(server)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({p % (len(data) + 1) for p in places}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


WHOLE = replayed([THERE], [BACK])


@given(st.lists(st.integers(0, 1 << 20), max_size=40), st.lists(st.integers(0, 1 << 20), max_size=40))
def test_the_same_happens_however_the_bytes_are_split(there: list[int], back: list[int]) -> None:
    assert replayed(cut(THERE, there), cut(BACK, back)) == WHOLE


def test_the_same_happens_byte_by_byte() -> None:
    one = [BACK[i : i + 1] for i in range(len(BACK))]
    assert replayed([THERE[i : i + 1] for i in range(len(THERE))], one) == WHOLE


def test_what_the_conversation_was() -> None:
    client, server = WHOLE
    assert [len(m) for m in server[0][2]] == [0, 1, 40_000, 3]  # type: ignore[index]
    assert [len(m) for m in server[1][2]] == list(range(50))  # type: ignore[index]
    error = error_of(client[1][3])  # type: ignore[index]
    assert error is not None
    assert (error.code, error.message, error.details) == (5, "größer\n100%", (("a/b+json", b"{}" * 12_000),))
    refused = error_of(client[2][1])  # type: ignore[index]
    assert refused is not None
    assert (refused.code, refused.message) == (7, "no")


def test_nothing_is_lost_by_a_reset_after_the_trailers() -> None:
    # Go's server ends a call of which the client has not finished sending in this way; RFC 9113, 8.1.
    for seed in range(100):
        client, server = pair()
        call = client.request()
        call.put_message(b"first")
        meet(client, server)
        peer = server.all[0]
        server.put_headers(peer.id, [(":status", "200"), ("content-type", "application/grpc")])
        for size in range(30):
            peer.put_message(bytes(size))
        server.finish(peer, trailers_of(0))
        data = server.take_output()
        for piece in cut(data, [random.Random(seed).randrange(len(data)) for _ in range(3)]):
            client.feed(piece)
        assert [len(m) for m in call.messages] == list(range(30))
        assert call.error is None
        assert call.ended and call.ended_here
        assert dict(call.trailers or ()) == {"grpc-status": "0"}


# --- windows ---------------------------------------------------------------------------------------------


def pump(sender: Told, client: End, server: End, message: bytes) -> int:
    """Send a message through the windows; how many bytes went before nothing went any more."""
    view, at = memoryview(message), 0
    while at < len(message) + 5:
        sent = sender.put_part(view, at)
        at += sent
        if not sent:
            meet(client, server)
            if sender.put_part(view, at) == 0:
                break
            raise AssertionError("a part went that was not counted")
    meet(client, server)
    return at


def test_a_message_larger_than_the_window_arrives_whole() -> None:
    client, server = pair()
    call = client.request()
    meet(client, server)
    message = random.Random(1).randbytes(1 << 20) * 64
    view, at = memoryview(message), 0
    while at < len(message) + 5:
        sent = call.put_part(view, at)
        at += sent
        if not sent:
            meet(client, server)
    meet(client, server)
    (got,) = server.all[0].messages
    assert got == message
    assert server.queued == 0
    assert not client.closed and not server.closed


def test_a_reader_that_does_not_take_stops_the_sender() -> None:
    client, server = pair()
    call = client.request()
    meet(client, server)
    server.all[0].take = False
    sent = 0
    while call.put_message(b"x" * 16_000):
        sent += 16_005
        meet(client, server)
    assert wire.STREAM_WINDOW - 16_005 < sent <= wire.STREAM_WINDOW
    for message in server.all[0].messages:
        server.all[0].taken(len(message))
    meet(client, server)
    assert call.put_message(b"more")


def test_large_messages_that_nobody_takes_stop_the_sender_too() -> None:
    client, server = pair()
    call = client.request()
    meet(client, server)
    peer = server.all[0]
    peer.take = False
    message = bytes(10 << 20)
    arrived = at = 0
    for _ in range(4):
        view, at, stuck = memoryview(message), 0, 0
        while at < len(message) + 5 and stuck < 3:
            sent = call.put_part(view, at)
            at += sent
            if not sent:
                stuck += 1
                meet(client, server)
        meet(client, server)
        if at < len(message) + 5:
            break
        arrived += 1
    # One is whole, of the next no more than a window has come.
    assert (arrived, len(peer.messages)) == (1, 1)
    peer.taken(len(peer.messages[0]))
    meet(client, server)
    assert call.put_part(memoryview(message), at) > 0


def test_windows_of_the_peer_are_not_overrun() -> None:
    # The peer's window is the standard's 65,535 until it says otherwise.
    client = End(server=False)
    call = client.request()
    sent = 0
    while call.put_message(bytes(1000)):
        sent += 1005
    assert 64_000 < sent <= 65_535


def test_frames_are_no_longer_than_the_peer_takes() -> None:
    client = End(server=False)
    call = client.request()
    assert not call.put_message(bytes(16_384))
    assert call.put_part(memoryview(bytes(60_000)), 0) == 16_384


def test_the_library_still_has_what_is_taken_from_it() -> None:
    # The way of DATA around the library reads and lowers these; the version is pinned, and this fails when they move.
    library = H2Connection()
    assert isinstance(library.outbound_flow_control_window, int)
    assert isinstance(library.max_outbound_frame_size, int)
    assert isinstance(library.streams, dict)
    stream = H2Stream(1, library.config, 65_535, 65_535)
    assert stream.outbound_flow_control_window == 65_535
    assert callable(stream.end_stream)
    assert callable(stream.receive_data)
    # What `rpc/headers.py` stands on.
    assert HeaderValidationFlags._fields == ("is_client", "is_trailer", "is_response_header", "is_push_promise")
    table = HeaderTable()
    assert Encoder().header_table.__class__ is Decoder().header_table.__class__ is HeaderTable
    table.maxsize = 0
    assert table.resized
    assert table._maxsize == 0


def test_header_blocks_are_not_huffman_coded() -> None:
    # hpack's Huffman encoder takes quadratic time: this would run for minutes.
    client, server = pair()
    client.request()
    meet(client, server)
    server.finish(server.all[0], [(":status", "200"), *trailers_of(2, "x", [("t", b"\xff" * 3_000_000)])])
    meet(client, server)
    error = error_of(client.all[0].headers or ())
    assert error is not None
    assert [len(value) for _, value in error.details] == [3_000_000]


# --- limits of messages ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "code"),
    [
        (struct.pack(">BI", 0, 1001), RESOURCE_EXHAUSTED),
        (struct.pack(">BI", 1, 3) + b"abc", UNIMPLEMENTED),
        (b"\xff\xff\xff\xff\xff", UNIMPLEMENTED),
    ],
)
def test_a_message_that_cannot_be_taken_fails_its_call_and_no_other(start: bytes, code: int) -> None:
    client, server = End(server=False), End(server=True, max_message=1000)
    meet(client, server)
    bad, good = client.request(), client.request()
    meet(client, server)
    server.feed(frame(0, 0, bad.id, start))
    assert good.put_message(b"fine")
    meet(client, server)
    error = error_of(bad.headers or ())
    assert error is not None
    assert error.code == code
    assert server.all[1].messages == [b"fine"]
    assert not server.closed


@pytest.mark.parametrize(
    ("headers", "code", "words"),
    [
        ([(":status", "502"), ("content-type", "text/html")], UNAVAILABLE, "the peer answered with HTTP status 502"),
        ([(":status", "404")], UNIMPLEMENTED, "the peer answered with HTTP status 404"),
        (
            [(":status", "200"), ("content-type", "text/html")],
            UNKNOWN,
            "the peer answered with text/html, not with gRPC",
        ),
    ],
)
def test_a_page_of_a_proxy_is_no_answer(headers: list[tuple[str, str]], code: int, words: str) -> None:
    client, server = pair()
    bad, good = client.request(), client.request()
    meet(client, server)
    server.put_headers(bad.id, headers)
    server.all[0].put_message(b"")
    server.put_headers(good.id, [(":status", "200"), ("content-type", "application/grpc")])
    assert server.all[1].put_message(b"fine")
    meet(client, server)
    assert bad.error is not None
    assert (bad.error.code, bad.error.message) == (code, words)
    assert bad.messages == []
    assert good.messages == [b"fine"]


# --- hostile peers ---------------------------------------------------------------------------------------


def _hostile() -> Iterator[tuple[str, bytes]]:
    yield "another protocol", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "a preface that goes wrong", PREFACE[:20] + b"XXXX"
    yield "noise after the preface", PREFACE + b"\xff" * 4000
    yield "a frame that is too long", HELLO + struct.pack(">I", wire.MAX_FRAME + 1)[1:] + struct.pack(">BBI", 0, 0, 1)
    yield "DATA on an idle stream", HELLO + frame(0, 0, 5, b"x")
    yield "DATA on the connection", HELLO + frame(0, 0, 0, b"x")
    yield "HEADERS on the connection", HELLO + frame(1, 4, 0, BLOCK)
    yield "HEADERS on an even stream", HELLO + frame(1, 4, 2, BLOCK)
    yield (
        "stream numbers that go back",
        OPEN.replace(frame(1, 4, 1, BLOCK), frame(1, 4, 5, BLOCK) + frame(1, 4, 3, BLOCK)),
    )
    yield "a header block that is no HPACK", HELLO + frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff")
    yield "a table index that is not there", HELLO + frame(1, 4, 1, b"\xbf\x90")
    yield "CONTINUATION alone", HELLO + frame(9, 4, 1, BLOCK)
    yield "CONTINUATION of another stream", HELLO + frame(1, 0, 1, BLOCK) + frame(9, 4, 3, b"")
    yield "DATA in a header block", HELLO + frame(1, 0, 1, BLOCK) + frame(0, 0, 1, b"")
    yield "PING in a header block", HELLO + frame(1, 0, 1, BLOCK) + frame(6, 0, 0, bytes(8))
    yield "empty CONTINUATIONs for ever", HELLO + frame(1, 0, 1, BLOCK) + frame(9, 0, 1, b"") * 5000
    yield "CONTINUATIONs for ever", HELLO + frame(1, 0, 1, BLOCK) + frame(9, 0, 1, b"\x00\x01a\x01b" * 3000) * 1500
    yield "padding longer than the frame", OPEN + frame(0, 8, 1, b"\x09abc")
    yield "padding of an empty frame", OPEN + frame(0, 8, 1, b"")
    yield "padding of HEADERS", HELLO + frame(1, 12, 1, b"\xff" + BLOCK[:100])
    yield "SETTINGS of a stream", HELLO + frame(4, 0, 1, b"")
    yield "SETTINGS of half an entry", HELLO + frame(4, 0, 0, b"\0\4\0")
    yield "a window of two gigabytes", HELLO + frame(4, 0, 0, struct.pack(">HI", 4, 1 << 31))
    yield "frames of ten bytes", HELLO + frame(4, 0, 0, struct.pack(">HI", 5, 10))
    yield "SETTINGS for ever", HELLO + SETTINGS * 3000
    yield "PING for ever", HELLO + frame(6, 0, 0, bytes(8)) * 3000
    yield "a PING of seven bytes", HELLO + frame(6, 0, 0, bytes(7))
    yield "a PING of a stream", HELLO + frame(6, 0, 1, bytes(8))
    yield "a short GOAWAY", HELLO + frame(7, 0, 0, bytes(7))
    yield "PUSH_PROMISE", OPEN + frame(5, 4, 1, struct.pack(">I", 2) + BLOCK)
    yield "a window update of nothing", HELLO + frame(8, 0, 0, bytes(4))
    yield "window updates until it overflows", HELLO + frame(8, 0, 0, struct.pack(">I", 0x7FFFFFFF)) * 2
    yield "window updates for ever", HELLO + frame(8, 0, 0, struct.pack(">I", 1)) * 3000
    yield "RST_STREAM of the connection", HELLO + frame(3, 0, 0, bytes(4))
    yield "RST_STREAM too short", OPEN + frame(3, 0, 1, bytes(3))
    yield "empty DATA for ever", OPEN + frame(0, 0, 1, b"") * 3000
    yield "unknown frames for ever", HELLO + frame(200, 0, 0, b"") * 3000
    yield "priorities for ever", OPEN + frame(2, 0, 1, struct.pack(">IB", 3, 1)) * 3000
    yield (
        "calls that are reset at once",
        HELLO + b"".join(frame(1, 4, n, BLOCK) + frame(3, 0, n, struct.pack(">I", 8)) for n in range(1, 6001, 2)),
    )
    yield "too many calls", HELLO + b"".join(frame(1, 4, n, BLOCK) for n in range(1, 2 * wire.MAX_STREAMS + 3, 2))
    yield (
        "more than the window",
        OPEN + frame(0, 0, 1, bytes(wire.MAX_FRAME)) * (wire.STREAM_WINDOW // wire.MAX_FRAME + 1),
    )
    block = Encoder().encode(
        [(b":method", b"POST"), (b":path", b"/"), (b":path", b"/"), (b":scheme", b"http"), (b":authority", b"x")]
    )
    yield "a pseudo header twice", HELLO + frame(1, 4, 1, block)
    block = Encoder().encode(
        [(b":method", b"POST"), (b"a", b"b"), (b":path", b"/"), (b":scheme", b"http"), (b":authority", b"x")]
    )
    yield "a pseudo header late", HELLO + frame(1, 4, 1, block)
    block = Encoder().encode([*((k.encode(), v.encode()) for k, v in REQUEST), (b"Upper", b"x")])
    yield "a key in capitals", HELLO + frame(1, 4, 1, block)
    block = Encoder().encode([(b":method", b"POST")])
    yield "no path", HELLO + frame(1, 4, 1, block)
    bomb = Encoder()
    first = bomb.encode([*((k.encode(), v.encode()) for k, v in REQUEST), (b"x", b"y" * 4000)], huffman=False)
    yield "a header bomb", HELLO + frame(1, 0, 1, first) + frame(9, 4, 1, b"\xbe" * 60_000)


@pytest.mark.parametrize(("name", "data"), list(_hostile()), ids=lambda v: v if isinstance(v, str) else "")
def test_hostile_bytes_end_the_connection_and_nothing_else(name: str, data: bytes) -> None:
    server = End(server=True)
    if name == "more than the window":
        for start in range(0, len(data), 1 << 16):
            for stream in server.all:
                stream.take = False
            server.feed(data[start : start + (1 << 16)])
    else:
        server.feed(data)
    assert server.closed
    assert server.error is not None
    said = server.take_output()
    assert len(said) < 100_000  # what a flood makes us say is bounded
    assert frame(7)[3:4] in said  # a GOAWAY says why
    assert all(stream.error is not None for stream in server.all if not stream.ended)
    server.feed(b"more")


def _sending(count: int, window: int, about: int) -> End:
    """A server that sends as the client gives window: `count` times `window` bytes, each with `about` PINGs."""
    server = End(server=True)
    server.feed(OPEN)
    server.take_output()
    (call,) = server.all
    message, at = memoryview(bytes(count * window)), 0
    while at < len(message) and not server.closed:
        at += call.put_part(message, at)
        server.take_output()
        credit = struct.pack(">I", window)
        server.feed(frame(8, 0, 0, credit) + frame(8, 0, 1, credit) + frame(6, 0, 0, bytes(8)) * about)
    return server


def test_what_nobody_takes_is_bounded_over_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call alone is within its window; messages that wait and those that are put together count alike."""
    monkeypatch.setattr(wire, "MAX_HELD", 1 << 20)
    for size in (50_000, 1 << 20):  # a whole one, and the beginning of a large one
        server = End(server=True)
        server.feed(HELLO)
        for number in range(1, 2001, 2):
            server.feed(frame(1, 4, number, BLOCK))
            if server.closed:
                break
            server.all[-1].take = False
            server.feed(frame(0, 0, number, b"\0" + struct.pack(">I", size) + bytes(50_000)))
        assert len(server.all) == 21
        assert b"more than anybody takes" in server.take_output()


def test_headers_of_many_calls_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_HELD", 8 << 20)
    server = End(server=True)
    encoder = Encoder()
    first = encoder.encode([*((k.encode(), v.encode()) for k, v in REQUEST), (b"x", b"y" * 2000)], huffman=False)
    again = encoder.encode([*((k.encode(), v.encode()) for k, v in REQUEST)], huffman=False)
    server.feed(HELLO + frame(1, 4, 1, first))
    for number in range(3, 2001, 2):  # a few hundred bytes each, which stand for half a megabyte
        server.feed(frame(1, 4, number, again + b"\xbe" * 260))
        if server.closed:
            break
    assert 10 < len(server.all) < 20
    assert b"more headers than anybody needs" in server.take_output()


def test_what_calls_held_is_forgotten_with_them() -> None:
    client, server = pair()
    for take in (True, False):
        for _ in range(20):
            call = client.request()
            meet(client, server)
            theirs = server.all[-1]
            theirs.take = take
            assert call.put_message(bytes(1000))
            assert call.put_part(memoryview(bytes(3000)), 0)
            meet(client, server)
            assert server._held > (0 if take else 1000)
            server.finish(theirs, [(":status", "200"), *trailers_of(0)])
            theirs.taken(1000)  # what was read late is no matter of the connection's any more
            meet(client, server)
        assert server._held == client._held == 0


def test_who_is_sent_much_may_answer_as_often_as_gos_grpc() -> None:
    """A cache of 64 MB that goes to a client's directory at once: window comes back every 16 KB."""
    assert not _sending(count=4096, window=16384, about=1).closed


def test_window_in_crumbs_is_a_flood() -> None:
    server = _sending(count=20_000, window=16, about=0)
    assert server.closed
    assert server.error is not None
    assert "too many control frames" in server.error.message


def test_frames_that_are_odd_but_right_are_taken() -> None:
    server = End(server=True)
    server.feed(
        OPEN + frame(200, 0, 0, b"later standard") + frame(6, 1, 0, bytes(8)) + frame(2, 0, 1, struct.pack(">IB", 0, 1))
    )
    padded = b"\x03" + struct.pack(">BI", 0, 2) + b"hi" + bytes(3)
    server.feed(frame(0, 8, 1, padded) + frame(0, 9, 1, b"\x00"))
    (call,) = server.all
    assert call.messages == [b"hi"]
    assert call.ended
    assert not server.closed


def test_padding_counts_against_the_window_and_is_given_back() -> None:
    server = End(server=True)
    server.feed(OPEN)
    one = frame(0, 8, 1, b"\xff" + struct.pack(">BI", 0, 2) + b"hi" + bytes(255))
    for _ in range(3 * wire.STREAM_WINDOW // len(one)):
        server.feed(one)
        server.take_output()
    assert not server.closed


def test_a_ping_is_answered_ahead_of_what_is_queued() -> None:
    client, server = pair()
    call = client.request()
    meet(client, server)
    assert server.all
    server.put_headers(call.id, [(":status", "200")])
    server.all[0].put_message(b"x" * 10_000)
    server.feed(frame(6, 0, 0, b"12345678"))
    assert server.take_output().startswith(frame(6, 1, 0, b"12345678"))


def test_control_frames_are_allowed_again_after_a_while() -> None:
    server = End(server=True)
    server.feed(HELLO + frame(6, 0, 0, bytes(8)) * 900)
    for second in range(1, 20):
        server.now = float(second)
        server.feed(frame(6, 0, 0, bytes(8)) * 150)
    assert not server.closed


def test_going_away_lets_running_calls_finish() -> None:
    client, server = pair()
    first, second = client.request(), client.request()
    meet(client, server)
    client.feed(frame(7, 0, 0, struct.pack(">II", first.id, 0) + b"restart"))
    assert second.error is not None
    assert "restart" in second.error.message
    assert first.error is None
    with pytest.raises(RpcError, match="closes the connection: restart"):
        client.request()
    server.put_headers(first.id, [(":status", "200"), ("content-type", "application/grpc")])
    server.all[0].put_message(b"last words")
    server.finish(server.all[0], trailers_of(0))
    meet(client, server)
    assert first.messages == [b"last words"]


def test_a_server_that_drains_refuses_new_calls_and_finishes_old_ones() -> None:
    client, server = pair()
    first = client.request()
    meet(client, server)
    server.drain()
    late = client.request()
    meet(client, server)
    assert late.error is not None
    assert first.error is None
    assert len(server.all) == 1


def test_a_lost_connection_fails_what_runs() -> None:
    client, server = pair()
    call = client.request()
    meet(client, server)
    client.lost()
    server.lost()
    assert call.error is not None
    assert server.all[0].error is not None


def test_a_call_after_the_end_is_told_how_that_came() -> None:
    client, _ = pair()
    client.feed(frame(0x41, 0, 0, b"") + b"\xff" * 64)
    assert client.closed
    with pytest.raises(RpcError, match="the peer breaks the protocol: "):
        client.request()


def test_a_cancelled_call_reaches_the_server() -> None:
    client, server = pair()
    call = client.request()
    meet(client, server)
    client.reset(call, ErrorCodes.CANCEL)
    meet(client, server)
    error = server.all[0].error
    assert error is not None
    assert error.code == CANCELLED
    # What was under way for a stream that is gone does no harm.
    server.feed(frame(0, 0, 1, b"late"))
    assert not server.closed


@given(st.binary(max_size=400))
def test_no_bytes_raise(data: bytes) -> None:
    for start in (b"", PREFACE, OPEN):
        server = End(server=True)
        server.feed(start + data)
    client = End(server=False)
    client.request()
    client.feed(SETTINGS + data)


@given(st.integers(0, len(THERE) - 1), st.integers(0, 255), st.booleans())
def test_no_changed_byte_raises(at: int, byte: int, server: bool) -> None:
    data = bytearray(THERE if server else BACK)
    data[at % len(data)] = byte
    end = End(server=server)
    if not server:
        for _ in range(3):
            end.request()
    end.feed(bytes(data))
