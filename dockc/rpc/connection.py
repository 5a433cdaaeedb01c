"""One HTTP/2 connection that carries gRPC (RFC 9113, gRPC over HTTP/2), without I/O: bytes in by `feed`, bytes out by
`take_output`.

The h2 library keeps the state of streams, settings and header compression. Two things are done around it:

* Frames are cut apart here, so that the length of each is judged before it has come, control frames are counted, header
  blocks
  in many pieces reach the library as one frame, and an error in one frame loses nothing of those before it.
* The payload of DATA frames never goes through the library, in neither direction. It is most of the bytes of a build.
  Windows of
  what comes in are kept here; windows of what goes out are the library's numbers, which are lowered here.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream

from dockc.rpc.headers import LATER, REQUEST, RESPONSE, TRAILERS, BlockDecoder, BlockEncoder
from dockc.rpc.status import RESOURCE_EXHAUSTED, UNAVAILABLE, UNIMPLEMENTED, RpcError, no_answer

Headers = Sequence[tuple[str, str]]

STREAM_WINDOW = 8 << 20
CONNECTION_WINDOW = 32 << 20
MAX_FRAME = 1 << 16
MAX_HEADERS = (1 << 24) - 1
MAX_STREAMS = 1000
MAX_MESSAGE = 64 << 20
MAX_HELD = 256 << 20
"""Bytes of headers and messages of one peer that nobody has taken yet, on all its streams together."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_DATA, _HEADERS, _PRIORITY, _RST, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = range(10)
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITISED = 1, 1, 4, 8, 32
_HALF = STREAM_WINDOW // 2
# Control frames that come at once, and how many more each second.
_BURST, _REFILL = 1000, 200
# Bytes that we send and the peer may answer with one more: Go's gRPC gives window back for the stream and for the
# connection at each quarter of 64 KB, and measures the way with a PING.
_ANSWERED = 4096
_MAX_CONTINUATIONS = 4096

_frame = struct.Struct(">HBBBI").pack
_data_start = struct.Struct(">HBBBIBI").pack
_number = struct.Struct(">HBBBII").pack
_prefix = struct.Struct(">BI").unpack_from  # of a message: whether it is compressed, and its bytes


class Stream:
    """One call as the connection sees it: headers, messages, trailers. Subclasses say what happens with them.

    Attributes:
        headers: what the peer sent first; None until then. Keys are lower case and may repeat.
        trailers: what the peer sent last, on the client's side; None until then.
        ended: the peer sends nothing more.
        ended_here: we send nothing more.
        error: why the stream broke, or None.
        untaken: bytes of headers, and of messages that nobody has taken.
        held: of these and of what is being put together, as far as the connection has counted them.
    """

    __slots__ = (
        "_buffer", "_credit", "_debts", "_inbound", "_needed", "_prepaid", "_window", "connection",
        "ended", "ended_here", "error", "headers", "held", "id", "trailers", "untaken",
    )  # fmt: skip

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection = connection
        self.id = number
        self.headers: list[tuple[str, str]] | None = None
        self.trailers: list[tuple[str, str]] | None = None
        self.ended = self.ended_here = False
        self.error: RpcError | None = None
        self.held = self.untaken = 0
        self._window = connection.window_of(number)
        self._inbound = STREAM_WINDOW  # what the peer may still send
        self._credit = 0  # what was taken and not yet said to the peer
        self._buffer = bytearray()
        self._needed = 5
        self._prepaid = 0  # of the message that is being put together: bytes given back before it was whole
        self._debts: list[
            int
        ] = []  # the same for whole messages that nobody has taken, those larger than half a window

    # --- what subclasses fill ---------------------------------------------------------------------------

    def arrived(self, message: bytes) -> None:
        """A message has come. It counts against the window until `taken` is called with it."""
        raise NotImplementedError

    def changed(self) -> None:
        """Headers, the end, an error, or room to send."""
        raise NotImplementedError

    def waiting(self) -> bool:
        """Whether messages have arrived that nobody has taken."""
        raise NotImplementedError

    # --- receiving --------------------------------------------------------------------------------------

    def taken(self, size: int) -> None:
        """The application has taken a message of this many bytes; the peer may send as many again."""
        whole = size + 5
        self.untaken -= size
        self.connection.hold(self, -size)
        self.credit(whole - self._debts.pop(0) if whole > _HALF and self._debts else whole)
        if self._needed > _HALF:
            self._prepay()

    def taken_all(self, messages: Sequence[bytes]) -> None:
        """The same for everything that has arrived."""
        if self._debts:
            for message in messages:
                self.taken(len(message))
            return
        size = sum(map(len, messages))
        self.untaken -= size
        self.connection.hold(self, -size)
        self.credit(size + 5 * len(messages))
        if self._needed > _HALF:
            self._prepay()

    def credit(self, size: int) -> None:
        """Let the peer send this many bytes more, told half a window at a time."""
        self._credit += size
        if self._credit >= _HALF:
            if not self.ended:
                self.connection.put(_number(0, 4, _WINDOW, 0, self.id, self._credit))
                self._inbound += self._credit
            self._credit = 0

    def received(self, data: bytes, flow: int) -> None:
        """Payload of a DATA frame, and how many bytes of window it took (padding counts).

        Raises:
            RpcError: a message is too large or compressed.
            ProtocolError: the peer sends more than it may.
        """
        self._inbound -= flow
        if self._inbound < 0:
            raise _FlowControl("more data than the window of the stream")
        size = len(data)
        if flow > size:
            self.credit(flow - size)
        if not self._buffer and 5 <= size <= _HALF:  # nearly always: one frame is one message
            compressed, length = _prefix(data)
            if not compressed and length == size - 5 <= self.connection.max_message:
                self.untaken += length
                self.arrived(data[5:])
                return
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                if self._needed > _HALF and not self.waiting():
                    self._prepay()
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        self._cut(data)

    def _cut(self, data: bytes) -> None:
        """Cut whole messages off, and keep the rest."""
        at, size = 0, len(data)
        needed = 5
        while size - at >= 5:
            length = int.from_bytes(data[at + 1 : at + 5], "big")
            if data[at]:
                raise RpcError("compressed messages are not understood", code=UNIMPLEMENTED)
            if length > self.connection.max_message:
                raise RpcError(
                    f"received message larger than max ({length} vs. {self.connection.max_message})",
                    code=RESOURCE_EXHAUSTED,
                )
            needed = 5 + length
            if size - at < needed:
                break
            if needed > _HALF:
                self._debts.append(self._prepaid)
            self._prepaid = 0
            self.untaken += length
            self.arrived(data[at + 5 : at + needed])
            at += needed
            needed = 5
        if at < size:
            self._buffer += data[at:] if at else data
        self._needed = needed
        if needed > _HALF and not self.waiting():
            self._prepay()

    @property
    def in_memory(self) -> int:
        """Bytes that wait to be put together or to be taken."""
        return len(self._buffer) + self.untaken

    def _prepay(self) -> None:
        """Give window back for a message that is larger than half a window, or both sides would wait for ever."""
        due = len(self._buffer) - self._prepaid
        if due > 0:
            self._prepaid += due
            self.credit(due)

    # --- sending ----------------------------------------------------------------------------------------

    def put_message(self, message: bytes, *, last: bool = False) -> bool:
        """Send a message if the windows let all of it go, in one frame; False and nothing done otherwise.

        Args:
            message: without its prefix.
            last: no more come (client).
        """
        size = len(message) + 5
        library, window = self.connection.library, self._window
        if (
            size > library.max_outbound_frame_size
            or size > window.outbound_flow_control_window
            or size > library.outbound_flow_control_window
        ):
            return False
        flags = 0
        if last:
            try:
                window.end_stream()
            except ProtocolError:  # reset in the meantime
                return False
            self.ended_here, flags = True, _END_STREAM
        window.outbound_flow_control_window -= size
        library.outbound_flow_control_window -= size
        self.connection.allow(size)
        self.connection.put(_data_start(size >> 8, size & 255, _DATA, flags, self.id, 0, size - 5) + message)
        return True

    def put_part(self, message: memoryview, at: int) -> int:
        """Send as much of a message as one frame and the windows allow, from byte `at` of prefix and message; how much
        that was.
        """
        library, window = self.connection.library, self._window
        size = min(
            len(message) + 5 - at,
            library.max_outbound_frame_size,
            window.outbound_flow_control_window,
            library.outbound_flow_control_window,
        )
        if size <= 0 or (not at and size < 5):
            return 0
        window.outbound_flow_control_window -= size
        library.outbound_flow_control_window -= size
        self.connection.allow(size)
        if at:
            self.connection.put(_frame(size >> 8, size & 255, _DATA, 0, self.id))
            self.connection.put(bytes(message[at - 5 : at - 5 + size]))
        else:
            self.connection.put(_data_start(size >> 8, size & 255, _DATA, 0, self.id, 0, len(message)))
            self.connection.put(bytes(message[: size - 5]))
        return size

    def fail(self, error: RpcError) -> None:
        """The stream is broken; nothing goes either way any more."""
        if self.error is None:
            self.error = error
        self.ended = self.ended_here = True
        self._buffer.clear()
        self.changed()


class _FlowControl(ProtocolError):
    error_code = ErrorCodes.FLOW_CONTROL_ERROR


class _TooLarge(ProtocolError):
    error_code = ErrorCodes.FRAME_SIZE_ERROR


class _Flood(ProtocolError):
    error_code = ErrorCodes.ENHANCE_YOUR_CALM


def _otherwise(begin: bytes) -> str:
    """What is spoken instead, by bytes that are no frame; "" where that is not known."""
    if begin.startswith(b"HTTP/1"):
        return "it speaks HTTP/1.1, so it is no builder"
    if begin[:2] in {b"\x15\x03", b"\x16\x03"}:
        return "it speaks TLS, for which there are certificates to be given"
    return ""


class Connection:
    """One end of a connection.

    Args:
        server: whether the peer opens the streams.
        max_message: bytes of the largest message that is taken.
        clock: seconds, for the count of control frames.

    Attributes:
        closed: nothing goes either way any more.
        draining: no new streams: the peer said so, or we did.
    """

    def __init__(
        self, *, server: bool, max_message: int = MAX_MESSAGE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.server, self.max_message = server, max_message
        self.closed = self.draining = False
        self._why = ""  # no new calls, as the peer or what it did has told
        self.streams: dict[int, Stream] = {}
        self._clock = clock
        self._tokens, self._counted = float(_BURST), clock()
        self._output: list[bytes] = []
        self.queued = 0
        self._rest = bytearray()
        self._wanted = 0  # bytes that the frame at the beginning of `_rest` needs
        self._preface = len(PREFACE) if server else 0
        self._block: tuple[int, int, bytearray, int] | None = None  # stream, flags, bytes and pieces of a header block
        self._inbound = CONNECTION_WINDOW
        self._credit = 0
        self._held = 0
        self._highest = 0
        library = H2Connection(
            H2Configuration(
                client_side=not server,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                normalize_inbound_headers=False,
                validate_inbound_headers=False,  # done by `Block.texts`, once for headers that come again
            )
        )
        settings = {
            SettingCodes.HEADER_TABLE_SIZE: 4096,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            SettingCodes.MAX_FRAME_SIZE: MAX_FRAME,
            SettingCodes.MAX_HEADER_LIST_SIZE: 16 << 20,
        }
        if not server:
            settings[SettingCodes.ENABLE_PUSH] = 0
        # The library takes over limits from settings that change; these are there from the start.
        library.local_settings = Settings(client=not server, initial_values=settings)
        self._decoder = library.decoder = BlockDecoder(16 << 20)
        library.max_inbound_frame_size = MAX_HEADERS  # frames are judged here; a header block of many comes as one
        library.encoder = BlockEncoder()  # type: ignore[assignment]  # has what the library uses
        self.library = library
        library.initiate_connection()
        self._sync()
        self.put(_number(0, 4, _WINDOW, 0, 0, CONNECTION_WINDOW - 65535))

    # --- what subclasses fill ---------------------------------------------------------------------------

    def has_output(self) -> None:
        """Something waits in `take_output`. Called at each frame."""

    def opened(self, number: int, headers: list[tuple[str, str]]) -> Stream | None:
        """The peer opens a stream; None refuses it."""
        raise NotImplementedError

    def freed(self) -> None:
        """A stream has ended."""

    def gone(self, error: RpcError) -> None:
        """The connection is of no use any more; its streams have been told."""

    # --- output -----------------------------------------------------------------------------------------

    def put(self, frame: bytes) -> None:
        """Queue bytes of a frame."""
        self._output.append(frame)
        self.queued += len(frame)
        self.has_output()

    def take_output(self) -> bytes:
        """Everything that waits to be written."""
        output, self._output, self.queued = self._output, [], 0
        return output[0] if len(output) == 1 else b"".join(output)

    def _sync(self) -> None:
        """Queue what the library wrote."""
        data = self.library.data_to_send()
        if data:
            self.put(data)

    def window_of(self, number: int) -> H2Stream:
        """The library's stream, whose outbound window we lower."""
        return self.library.streams[number]

    def put_headers(self, number: int, headers: Headers, *, end: bool = False) -> None:
        """Send headers or trailers."""
        self.library.send_headers(number, headers, end)
        self._sync()

    def open(self, headers: Headers, make: Callable[[Connection, int], Stream]) -> Stream:
        """Open a stream (client).

        Raises:
            RpcError: the connection is closed or the peer takes no new calls, or no more at once.
        """
        if self.closed or self.draining:
            raise RpcError(self._why or "the connection is closing", code=UNAVAILABLE)
        try:
            number = self.library.get_next_available_stream_id()
            self.put_headers(number, headers)
        except ProtocolError as exc:  # too many at once, or all numbers are used up
            raise RpcError(f"the connection takes no more calls: {exc}", code=UNAVAILABLE) from None
        self._tokens = min(self._tokens + 4, _BURST)
        stream = self.streams[number] = make(self, number)
        self._highest = number
        return stream

    @property
    def full(self) -> bool:
        """Whether as many streams are open as the peer allows."""
        return len(self.streams) >= self.library.remote_settings.max_concurrent_streams

    def end(self, stream: Stream) -> None:
        """Say that no more messages come (client). Ending what has ended is nothing."""
        if stream.ended_here:
            return
        stream.ended_here = True
        try:
            self.window_of(stream.id).end_stream()
        except (KeyError, ProtocolError):  # reset in the meantime
            pass
        else:
            self.put(_frame(0, 0, _DATA, _END_STREAM, stream.id))
        if stream.ended:
            self._drop(stream)

    def finish(self, stream: Stream, headers: Headers) -> None:
        """Send trailers (server). If the peer still sends, it is told to stop, which is no error."""
        if stream.ended_here:
            return
        stream.ended_here = True
        try:
            self.put_headers(stream.id, headers, end=True)
            if not stream.ended:
                self.library.reset_stream(stream.id, ErrorCodes.NO_ERROR)
                self._sync()
            self._tokens = min(self._tokens + 4, _BURST)  # a call that was answered may cost a few frames about it
        except ProtocolError:  # reset in the meantime
            pass
        stream.ended = True
        self._drop(stream)

    def _drop(self, stream: Stream) -> bool:
        found = self.streams.pop(stream.id, None) is not None
        if found:
            self._held -= stream.held
            self.freed()
        return found

    def reset(self, stream: Stream, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Break a stream off."""
        if not self._drop(stream) or self.closed:
            return
        try:
            self.library.reset_stream(stream.id, code)
        except ProtocolError:
            pass
        self._sync()

    def drain(self) -> None:
        """Tell the peer to open nothing more; what runs goes on."""
        if not self.draining and not self.closed:
            self.draining = True
            self.put(_frame(0, 8, _GOAWAY, 0, 0) + struct.pack(">II", self._highest, 0))

    @property
    def greeted(self) -> bool:
        """Whether the client has said that it speaks HTTP/2 (server)."""
        return not self._preface

    # --- input ------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer. Nothing raises out of here: whatever is malformed ends the connection."""
        if self.closed:
            return
        try:
            self._feed(data)
        except ProtocolError as exc:
            self.break_off(getattr(exc, "error_code", ErrorCodes.PROTOCOL_ERROR), str(exc))
        except Exception as exc:  # the library's own slips on hostile input are the peer's fault, too
            self.break_off(ErrorCodes.INTERNAL_ERROR, f"{type(exc).__name__}: {exc}")

    def _feed(self, data: bytes) -> None:
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at, size = 0, len(data)
        if self._preface:
            start = len(PREFACE) - self._preface
            at = min(self._preface, size)
            if data[:at] != PREFACE[start : start + at]:
                raise ProtocolError("not HTTP/2")
            self._preface -= at
            self.library.receive_data(data[:at])
        number_of = int.from_bytes
        while size - at >= 9:
            length = number_of(data[at : at + 3], "big")
            if length > MAX_FRAME:
                raise _TooLarge(_otherwise(data[at : at + 9]) or f"a frame of {length} bytes")
            end = at + 9 + length
            if end > size:
                break
            kind = data[at + 3]
            if kind == _DATA:
                self._data(
                    number_of(data[at + 5 : at + 9], "big") & 0x7FFFFFFF, data[at + 4], data[at + 9 : end], length
                )
            else:
                self._control(kind, data[at + 4], number_of(data[at + 5 : at + 9], "big") & 0x7FFFFFFF, data[at:end])
            if self.closed:
                return
            at = end
        if at < size:
            self._rest += data[at:]
            self._wanted = 9 + number_of(data[at : at + 3], "big") if size - at >= 9 else 9

    def _data(self, number: int, flags: int, payload: bytes, flow: int) -> None:
        if self._block is not None:
            raise ProtocolError("DATA inside of a header block")
        self._inbound -= flow
        if self._inbound < 0:
            raise _FlowControl("more data than the window of the connection")
        self._credit += flow
        if self._credit >= CONNECTION_WINDOW // 2:
            self.put(_number(0, 4, _WINDOW, 0, 0, self._credit))
            self._inbound += self._credit
            self._credit = 0
        stream = self.streams.get(number)
        if stream is None or stream.ended:
            if not number or number > max(self._highest, self.library.highest_outbound_stream_id):
                raise ProtocolError("DATA on an idle stream")
            self._count()  # of a stream that we have reset: may be under way for a while
            return
        if stream.headers is None:
            raise ProtocolError("DATA before headers")
        if flags & _PADDED:
            padding = payload[0] if payload else 256
            if padding >= len(payload):
                raise ProtocolError("more padding than payload")
            payload = payload[1 : len(payload) - padding]
        if payload or flow:
            try:
                stream.received(payload, flow)
            except RpcError as exc:
                self._refuse(stream, exc)
                return
            grown = stream.in_memory - stream.held
            if grown:
                self.hold(stream, grown)
            if self._held > MAX_HELD:
                raise _Flood("more than anybody takes")
        elif not flags & _END_STREAM:
            self._count()
        if flags & _END_STREAM and self.streams.get(number) is stream:
            self.window_of(number).receive_data(b"", True, 0)
            self._ended(stream)

    def hold(self, stream: Stream, size: int) -> None:
        """Count bytes that a stream keeps in memory; less than nothing when it lets go of some."""
        if stream.id in self.streams:
            stream.held += size
            self._held += size

    def _refuse(self, stream: Stream, error: RpcError) -> None:
        """A message of the peer cannot be taken: the call fails, the connection lives."""
        if self.server:
            self.refused(stream, error)
        else:
            self.reset(stream)
        stream.fail(error)

    def refused(self, stream: Stream, error: RpcError) -> None:
        """Tell the client why its call fails."""
        raise NotImplementedError

    def _control(self, kind: int, flags: int, number: int, frame: bytes) -> None:
        if self._block is not None and kind != _CONTINUATION:
            raise ProtocolError("another frame inside of a header block")
        match kind:
            case 1:  # HEADERS
                self._highest = max(self._highest, number) if self.server else self._highest
                if flags & _END_HEADERS:
                    self._to_library(frame)
                else:
                    self._block = number, flags, bytearray(self._bare(flags, frame[9:])), 1
            case 9:  # CONTINUATION
                self._continued(number, flags, frame[9:])
            case 6:  # PING
                if len(frame) != 17 or number:
                    raise _TooLarge("a malformed PING") if len(frame) != 17 else ProtocolError("a PING of a stream")
                self._count()
                if not flags & _ACK:  # ahead of whatever is queued
                    self._output.insert(0, _frame(0, 8, _PING, _ACK, 0) + frame[9:])
                    self.has_output()
            case 7:  # GOAWAY
                if len(frame) < 17:
                    raise _TooLarge("a malformed GOAWAY")
                self._count()
                self._going_away(int.from_bytes(frame[9:13], "big") & 0x7FFFFFFF, bytes(frame[17:]))
            case 2 | 3 | 4 | 5 | 8:
                if kind != _SETTINGS or not flags & _ACK:
                    self._count()
                self._to_library(frame)
            case _:
                self._count()  # of a later standard: RFC 9113, 5.5

    @staticmethod
    def _bare(flags: int, payload: bytes) -> bytes:
        """A piece of a header block without padding and priority."""
        if flags & _PADDED:
            if not payload or payload[0] >= len(payload):
                raise ProtocolError("more padding than payload")
            payload = payload[1 : len(payload) - payload[0]]
        if flags & _PRIORITISED:
            if len(payload) < 5:
                raise _TooLarge("HEADERS too short for a priority")
            payload = payload[5:]
        return payload

    def _continued(self, number: int, flags: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != number:
            raise ProtocolError("CONTINUATION without HEADERS")
        _, first, block, pieces = self._block
        block += payload
        if len(block) > MAX_HEADERS or pieces >= _MAX_CONTINUATIONS:
            raise _Flood("a header block that is too large")
        if not payload:
            self._count()
        if flags & _END_HEADERS:
            self._block = None
            head = _frame(len(block) >> 8, len(block) & 255, _HEADERS, first & _END_STREAM | _END_HEADERS, number)
            self._to_library(head + bytes(block))
        else:
            self._block = number, first, block, pieces + 1

    def allow(self, size: int) -> None:
        """So many bytes go to the peer, who may answer with window and questions for them."""
        self._tokens = min(self._tokens + size / _ANSWERED, _BURST)

    def _count(self) -> None:
        """Count a frame that costs the peer nothing and does not bring a build on.

        Raises:
            ProtocolError: there are too many of them.
        """
        self._tokens -= 1
        if self._tokens < 0:
            now = self._clock()
            self._tokens = min(float(_BURST), self._tokens + (now - self._counted) * _REFILL)
            self._counted = now
            if self._tokens < 0:
                raise _Flood("too many control frames")

    def _to_library(self, frame: bytes) -> None:
        """Let the library judge a frame, and do what it makes of it."""
        happened = self.library.receive_data(frame)
        for event in happened:
            react = self._REACTIONS.get(type(event))
            if react is not None:
                react(self, event)
        self._sync()

    # --- events of the library --------------------------------------------------------------------------

    def _on_request(self, event: events.RequestReceived) -> None:
        number, headers = event.stream_id, self._decoder.block.texts(REQUEST)
        assert number is not None
        stream = None if self.draining else self.opened(number, headers)
        if stream is None:
            if number in self.streams:
                return
            self.library.reset_stream(number, ErrorCodes.REFUSED_STREAM)
            return
        stream.headers = headers
        self.streams[number] = stream
        stream.untaken += self._decoder.block.size
        self.hold(stream, self._decoder.block.size)
        if self._held > MAX_HELD:
            raise _Flood("more headers than anybody needs")

    def _on_response(self, event: events.ResponseReceived) -> None:
        headers = self._decoder.block.texts(RESPONSE)
        stream = self.streams.get(event.stream_id or 0)
        if stream is not None:
            stream.headers = headers
            if (problem := no_answer(headers)) is not None:
                self._refuse(stream, problem)
                return
            stream.changed()

    def _on_information(self, _: events.InformationalResponseReceived) -> None:
        self._decoder.block.texts(RESPONSE)

    def _on_trailers(self, event: events.TrailersReceived) -> None:
        trailers = self._decoder.block.texts(LATER if self.server else TRAILERS)
        stream = self.streams.get(event.stream_id or 0)
        if stream is not None:
            stream.trailers = trailers

    def _on_end(self, event: events.StreamEnded) -> None:
        stream = self.streams.get(event.stream_id or 0)
        if stream is not None:
            self._ended(stream)

    def _ended(self, stream: Stream) -> None:
        stream.ended = True
        if stream.ended_here:
            self._drop(stream)
        stream.changed()

    def _on_reset(self, event: events.StreamReset) -> None:
        stream = self.streams.get(event.stream_id or 0)
        if stream is None:
            return
        self._drop(stream)
        if stream.ended and not self.server:  # what has come is whole: RFC 9113, 8.1
            stream.ended_here = True
            stream.changed()
        else:
            stream.fail(RpcError.of_reset(int(event.error_code or 0)))

    def _on_room(self, event: object) -> None:
        number = getattr(event, "stream_id", 0)
        if number:
            stream = self.streams.get(number)
            if stream is not None:
                stream.changed()
        else:
            for stream in list(self.streams.values()):
                stream.changed()

    def _going_away(self, last: int, words: bytes) -> None:
        self.draining = True
        if self.server:
            return
        told = words.decode("utf-8", "replace")
        error = RpcError("the peer closes the connection" + (f": {told}" if told else ""), code=UNAVAILABLE)
        self._why = self._why or error.message
        for stream in list(self.streams.values()):
            if stream.id > last:
                self._drop(stream)
                stream.fail(error)

    # --- the end ----------------------------------------------------------------------------------------

    def break_off(self, code: int, words: str) -> None:
        """Say why, and end the connection."""
        text = words.encode("utf-8", "replace")[:1024]
        size = 8 + len(text)
        self.put(_frame(size >> 8, size & 255, _GOAWAY, 0, 0) + struct.pack(">II", self._highest, int(code)) + text)
        self.lost(RpcError(f"the peer breaks the protocol: {words}", code=UNAVAILABLE))

    def lost(self, error: RpcError | None = None) -> None:
        """The bytes end here: every stream fails."""
        if self.closed:
            return
        self.closed = True
        self._block = None
        self._rest.clear()
        error = error or RpcError("the connection was closed", code=UNAVAILABLE)
        self._why = self._why or error.message
        streams, self.streams = list(self.streams.values()), {}
        for stream in streams:
            if not (stream.ended and stream.ended_here):
                stream.fail(error)
        self.gone(error)

    _REACTIONS: ClassVar[dict[type, Callable[[Connection, Any], None]]] = {
        events.RequestReceived: _on_request,
        events.ResponseReceived: _on_response,
        events.InformationalResponseReceived: _on_information,
        events.TrailersReceived: _on_trailers,
        events.StreamEnded: _on_end,
        events.StreamReset: _on_reset,
        events.WindowUpdated: _on_room,
        events.RemoteSettingsChanged: _on_room,
    }
