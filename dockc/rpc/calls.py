"""Calls and their handlers on asyncio: one `Channel` a connection, one `Call` a stream."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from h2.errors import ErrorCodes

from dockc.errors import DockcError, in_words, lacking
from dockc.rpc.connection import MAX_MESSAGE, Connection, Headers, Stream
from dockc.rpc.status import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    INTERNAL,
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    UNKNOWN,
    RpcError,
    error_of,
    trailers_of,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

    Q = TypeVar("Q", bound=Message)

Handler = Callable[["Call"], Coroutine[None, None, None]]
Sink = Callable[[bytes | None], None]

_log = logging.getLogger(__name__)
_FLUSH = 1 << 20
_UNREAD = 32 << 20
"""Bytes that are sent on top of what a peer does not read; these are answers to what it goes on to ask for."""
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_ANSWER = ((":status", "200"), ("content-type", "application/grpc"), ("grpc-accept-encoding", "identity"))
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class Call(Stream):
    """One call, from either end. One task reads it; any number send, whole message by whole message.

    Attributes:
        metadata: what the peer sent along, in its order; keys may repeat.
        sink: takes messages at once instead of the queue, and None at the end; runs inside of the loop's read.
    """

    __slots__ = ("_lock", "_messages", "_reader", "_sink", "_started", "_writers", "channel", "deadline", "task")

    def __init__(self, channel: Channel, number: int) -> None:
        super().__init__(channel, number)
        self.channel = channel
        self.task: asyncio.Task[None] | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self._messages: deque[bytes] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []
        self._lock: asyncio.Lock | None = None
        self._sink: Sink | None = None
        self._started = False

    # --- metadata ---------------------------------------------------------------------------------------

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """What the peer sent first, without HTTP's own."""
        return [(key, value) for key, value in self.headers or () if not key.startswith(":")]

    def get(self, key: str, default: str = "") -> str:
        """The first value of a key."""
        return next((value for name, value in self.headers or () if name == key), default)

    def get_all(self, key: str) -> list[str]:
        """All values of a key."""
        return [value for name, value in self.headers or () if name == key]

    # --- what the connection tells ----------------------------------------------------------------------

    def arrived(self, message: bytes) -> None:
        """A message has come."""
        if self._sink is not None:
            self.taken(len(message))
            self._sink(message)
        else:
            self._messages.append(message)
            _wake(self._reader)

    def changed(self) -> None:
        """Headers, the end, an error or room to send."""
        self._wake_all()
        if self.error is not None:
            if self.deadline is not None:
                self.deadline.cancel()
            if self.task is not None:
                self.task.cancel()

    def _wake_all(self) -> None:
        """Let whoever waits for the peer look again."""
        _wake(self._reader)
        if self._writers:
            writers, self._writers = self._writers, []
            for one in writers:
                _wake(one)
        if self.ended and self._sink is not None:
            sink, self._sink = self._sink, None
            sink(None)

    def waiting(self) -> bool:
        """Whether messages wait to be read."""
        return bool(self._messages)

    def pour(self, sink: Sink) -> None:
        """Hand messages to a function from now on, those that wait first. It must not raise."""
        while self._messages:
            message = self._messages.popleft()
            self.taken(len(message))
            sink(message)
        if self.ended:
            sink(None)
        else:
            self._sink = sink

    # --- receiving --------------------------------------------------------------------------------------

    async def _arrival(self) -> bool:
        """Wait for messages; False at the end."""
        while not self._messages:
            if self.ended:
                if self.error is not None:
                    raise self.error.again()
                return False
            self._reader = self.channel.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return True

    async def receive(self) -> bytes | None:
        """The next message; None when the peer has ended well.

        Raises:
            RpcError: the call failed.
        """
        if not self._messages and not await self._arrival():
            if not self.connection.server:
                self.check()
            return None
        message = self._messages.popleft()
        self.taken(len(message))
        return message

    async def receive_all(self) -> list[bytes] | None:
        """All messages that have arrived, at least one; None when the peer has ended well.

        Raises:
            RpcError: the call failed.
        """
        if not self._messages and not await self._arrival():
            if not self.connection.server:
                self.check()
            return None
        messages = list(self._messages)
        self._messages.clear()
        self.taken_all(messages)
        return messages

    def check(self) -> None:
        """Raise what the ended call failed with, if it did (client).

        Raises:
            RpcError: the peer's status.
        """
        if self.error is not None:
            raise self.error.again()
        error = error_of(self.trailers if self.trailers is not None else self.headers or ())
        if error is not None:
            raise error

    async def drained(self) -> None:
        """Read to the end and check the status (client).

        Raises:
            RpcError: the peer's status.
        """
        while await self.receive_all() is not None:
            pass

    # --- sending ----------------------------------------------------------------------------------------

    def send_now(self, message: bytes) -> bool:
        """Send a message without waiting; False and nothing done if it does not fit now.

        Raises:
            RpcError: the call has ended: the peer's status if it sent one.
        """
        if self.ended_here or (self.ended and not self.connection.server):
            raise self._over()
        if self.channel.paused or (self._lock is not None and self._lock.locked()):
            return False
        if self.connection.server and not self._started:
            self.start()
        return self.put_message(message)

    def send_last(self, message: bytes) -> bool:
        """The same, and `end` (client)."""
        if self.ended_here or self.ended:
            raise self._over()
        if self.channel.paused or (self._lock is not None and self._lock.locked()):
            return False
        return self.put_message(message, last=True)

    async def send(self, message: bytes) -> None:
        """Send a message, waiting for windows and for the transport. Where that is cancelled in the middle of a message
        the call is broken off: nothing could follow.

        Raises:
            RpcError: the call has ended: the peer's status if it sent one.
        """
        if self.send_now(message):
            return
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            if self.connection.server and not self._started:
                self.start()
            await self._send_parts(memoryview(message))

    async def _send_parts(self, message: memoryview) -> None:
        at, whole = 0, len(message) + 5
        try:
            while at < whole:
                if self.ended_here or (self.ended and not self.connection.server):
                    raise self._over()
                if self.channel.paused:
                    await self.channel.resumed()
                    continue
                sent = self.put_part(message, at)
                at += sent
                if not sent:
                    waiter = self.channel.loop.create_future()
                    self._writers.append(waiter)
                    await waiter
        except asyncio.CancelledError:
            if at and not self.ended_here:
                self.connection.reset(self, ErrorCodes.CANCEL)
                self.error = RpcError("the call was broken off in the middle of a message", code=CANCELLED)
                self.ended = self.ended_here = True
                self._wake_all()  # but no task of a handler, which goes on as whoever cancelled this wants it
            raise

    def _over(self) -> RpcError:
        if self.error is not None:
            return self.error.again()
        if self.ended and not self.connection.server:
            error = error_of(self.trailers if self.trailers is not None else self.headers or ())
            if error is not None:
                return error
        return RpcError("the call has ended", code=CANCELLED)

    def start(self, metadata: Iterable[tuple[str, str]] = ()) -> None:
        """Send the answer's headers (server); done by the first message otherwise."""
        if not self._started and not self.ended_here:
            self._started = True
            self.connection.put_headers(self.id, [*_ANSWER, *metadata])

    def end(self) -> None:
        """No more messages from here (client)."""
        self.connection.end(self)

    def finish(self, code: int = 0, message: str = "", details: Iterable[tuple[str, bytes]] = ()) -> None:
        """End the call with a status (server)."""
        if self.deadline is not None:
            self.deadline.cancel()
        head = () if self._started else _ANSWER
        self._started = True
        self.connection.finish(self, [*head, *trailers_of(code, message, details)])
        if self._sink is not None:
            sink, self._sink = self._sink, None
            sink(None)

    def cancel(self) -> None:
        """Break the call off (client). Nothing if it has ended."""
        if self.deadline is not None:
            self.deadline.cancel()
        if self.ended and self.ended_here:
            return
        self.connection.reset(self, ErrorCodes.CANCEL)
        self.fail(RpcError("the call was cancelled", code=CANCELLED))


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


class Channel(Connection):
    """A connection on asyncio.

    Args:
        write: takes bytes for the transport.
        handlers: by path; makes this the server.
        close: closes the transport.
        explain: turns what a handler raised into the error that goes to the peer.
        max_message: as in `Connection`.

    Attributes:
        peer: who is at the other end, as the system or its certificate vouches for; "" where neither does.
    """

    peer = ""

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        handlers: Mapping[str, Handler] | None = None,
        close: Callable[[], None] | None = None,
        explain: Callable[[BaseException], RpcError] | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.handlers = handlers or {}
        self.paused = False
        self.authority, self.scheme = "localhost", "http"
        self.tasks: set[asyncio.Task[None]] = set()
        self.ended: asyncio.Future[RpcError] = self.loop.create_future()
        self._write, self._close, self._explain = write, close, explain or explained
        self._flushing = False
        self._unread = 0  # bytes that were written since the transport has had enough
        self._resumers: list[asyncio.Future[None]] = []
        self._queue: deque[asyncio.Future[None]] = deque()
        super().__init__(server=handlers is not None, max_message=max_message)

    # --- transport --------------------------------------------------------------------------------------

    def has_output(self) -> None:
        """Write once a turn of the loop, or when a megabyte waits."""
        if self.queued > _FLUSH:
            self.flush()
        elif not self._flushing:
            self._flushing = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand over what waits."""
        self._flushing = False
        if self._output:
            data = self.take_output()
            if self.ended.done():
                return
            self._write(data)
            if self.paused:
                self._unread += len(data)
                if self._unread > _UNREAD and not self.closed:
                    self.lost(RpcError("the peer reads no answers", code=RESOURCE_EXHAUSTED))

    def pause(self) -> None:
        """The transport has enough."""
        self.paused = True

    def resume(self) -> None:
        """The transport takes more."""
        self.paused = False
        self._unread = 0
        waiting, self._resumers = self._resumers, []
        for one in waiting:
            _wake(one)

    async def resumed(self) -> None:
        """Wait until the transport takes more."""
        waiter = self.loop.create_future()
        self._resumers.append(waiter)
        await waiter

    def freed(self) -> None:
        """A stream has ended: the next call may open one."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    def gone(self, error: RpcError) -> None:
        """Every stream has been told; let go of the transport."""
        self.flush()
        self.resume()
        while self._queue:
            _wake(self._queue.popleft())
        if not self.ended.done():
            self.ended.set_result(error)
        if self._close is not None:
            self._close()

    def shut(self) -> None:
        """Close the connection; running calls fail."""
        if not self.closed:
            self.drain()
            self.lost(RpcError("the connection was closed", code=UNAVAILABLE))

    async def drained(self, grace: float) -> None:
        """Take no new calls, wait for those that run for at most `grace` seconds, then close."""
        self.drain()
        if self.tasks and grace:
            await asyncio.wait(list(self.tasks), timeout=grace)
        self.shut()

    # --- client -----------------------------------------------------------------------------------------

    def call(self, path: str, metadata: Headers = (), *, limit: float | None = None) -> Call:
        """Open a call.

        Raises:
            RpcError: the connection is closing, or a value cannot be a header: the peer would end the connection.
        """
        for key, value in metadata:
            if not value.isprintable() and _CONTROL.search(value):
                raise RpcError(f"{key} has control characters: {value[:100]!r}", code=INVALID_ARGUMENT)
        headers = [
            (":method", "POST"), (":scheme", self.scheme), (":path", path), (":authority", self.authority), ("te", "trailers"),
            ("content-type", "application/grpc"), ("user-agent", "dockc"), ("grpc-accept-encoding", "identity"),
        ]  # fmt: skip
        if limit is not None:
            headers.append(("grpc-timeout", f"{max(1, int(limit * 1000))}m"))
        call = self.open([*headers, *metadata], Call)  # type: ignore[arg-type]  # the connection is this channel
        assert isinstance(call, Call)
        if limit is not None:
            call.deadline = self.loop.call_later(limit, _late, call)
        return call

    async def unary(self, path: str, message: bytes, metadata: Headers = (), *, limit: float | None = None) -> bytes:
        """One message there, one back.

        Raises:
            RpcError: the call failed.
        """
        if self.full:
            try:
                async with asyncio.timeout(limit):
                    await self._room()
            except TimeoutError:
                raise _deadline() from None
        call = self.call(path, metadata, limit=limit)
        try:
            if not call.send_last(message):
                await call.send(message)
                call.end()
            answer = await call.receive()
            await call.drained()
        finally:
            call.cancel()
        if answer is None:
            raise RpcError("the peer sent no message", code=INTERNAL)
        return answer

    async def _room(self) -> None:
        """Wait until the peer takes one more call."""
        while self.full and not self.closed:
            waiter = self.loop.create_future()
            self._queue.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():  # the place was this one's, and is the next one's
                    self.freed()
                raise

    # --- server -----------------------------------------------------------------------------------------

    def opened(self, number: int, headers: list[tuple[str, str]]) -> Call | None:
        """Start the handler of a call."""
        found = dict(headers)
        call = Call(self, number)
        call.headers = headers
        if found.get(":method") != "POST" or not found.get("content-type", "").startswith("application/grpc"):
            call.ended_here = True
            self.put_headers(number, [(":status", "415"), *trailers_of(INTERNAL, "only gRPC is spoken here")], end=True)
            return call
        call.task = self.loop.create_task(self._serve(call, found))
        self.tasks.add(call.task)
        call.task.add_done_callback(self.tasks.discard)
        timeout = found.get("grpc-timeout", "")
        if timeout[:-1].isdecimal() and len(timeout) < 10 and timeout[-1] in _UNITS:
            call.deadline = self.loop.call_later(int(timeout[:-1]) * _UNITS[timeout[-1]], _too_late, call)
        return call

    async def _serve(self, call: Call, headers: Mapping[str, str]) -> None:
        try:
            handler = self.handlers.get(headers.get(":path", ""))
            if handler is None:
                service, _, method = headers.get(":path", "").lstrip("/").rpartition("/")
                raise RpcError(f"unknown method {method} for service {service}", code=UNIMPLEMENTED)
            if headers.get("grpc-encoding", "identity") != "identity":
                raise RpcError(f"compression {headers['grpc-encoding']} is not supported", code=UNIMPLEMENTED)
            await handler(call)
        except asyncio.CancelledError:
            call.finish(CANCELLED, "context canceled")
            raise
        except Exception as exc:
            error = self._explain(exc)
            call.finish(error.code, error.message, error.details)
        else:
            call.finish()

    def refused(self, stream: Stream, error: RpcError) -> None:
        """Tell the client why its call fails."""
        assert isinstance(stream, Call)
        stream.finish(error.code, error.message, error.details)


def _deadline() -> RpcError:
    return RpcError("context deadline exceeded", code=DEADLINE_EXCEEDED)


def _late(call: Call) -> None:
    if not (call.ended and call.ended_here):
        call.connection.reset(call, ErrorCodes.CANCEL)
        call.fail(_deadline())


def _too_late(call: Call) -> None:
    if call.ended_here:  # what the handler still does it does undisturbed
        return
    error = _deadline()
    call.finish(error.code, error.message)
    if call.task is not None:
        call.task.cancel()


def explained(exc: BaseException) -> RpcError:
    """What a peer is told of an exception: errors of ours and of the system in their words, slips only by a number that
    the log has too.
    """
    if isinstance(exc, RpcError):
        return exc
    if isinstance(exc, DockcError):
        return RpcError(f"{exc.context}{exc.message}", code=UNKNOWN)
    if isinstance(exc, OSError) and exc.errno:  # a disk that is full, a directory that was removed
        _log.warning("%s", in_words(exc))
        _log.debug("it came from here", exc_info=exc)
        return RpcError(in_words(exc), code=UNKNOWN)
    if words := lacking(exc):
        _log.warning("%s", words)
        return RpcError(words, code=RESOURCE_EXHAUSTED)
    number = secrets.token_hex(4)
    _log.error("internal error %s", number, exc_info=exc)
    return RpcError(f"internal error {number}", code=INTERNAL)


def unary(kind: type[Q], answer: Callable[[Q, Call], Awaitable[Message]]) -> Handler:
    """A handler of a call with one message each way."""

    async def handle(call: Call) -> None:
        await call.send((await answer(await only(call, kind), call)).SerializeToString())

    return handle


async def only(call: Call, kind: type[Q]) -> Q:
    """The one message of a client.

    Raises:
        RpcError: there is none, or it is no such message.
    """
    data = await call.receive()
    if data is None:
        raise RpcError("the client sent no message", code=INTERNAL)
    return parsed(data, kind)


def parsed(data: bytes, kind: type[Q]) -> Q:
    """A message from its bytes.

    Raises:
        RpcError: they are no such message.
    """
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(data)
    except DecodeError:
        raise RpcError(f"broken {kind.__name__}", code=INTERNAL) from None
