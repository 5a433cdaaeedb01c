"""What carries the bytes of a channel: sockets with and without TLS, the standard streams, a helper command, another
call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dockc.errors import DockcError
from dockc.rpc.calls import Call, Channel, Handler, parsed
from dockc.rpc.connection import MAX_MESSAGE
from dockc.rpc.status import UNAVAILABLE, RpcError

if TYPE_CHECKING:
    import ssl

_HIGH = 1 << 20
_GREETING = 60.0
"""Seconds that a client may take to say that it speaks HTTP/2."""
_ANSWER = 20.0
"""Seconds that whoever was connected to may take at least to say anything: as much as gRPC's libraries give."""
_HELPER = 60.0
"""The same for a helper command, which may have to ask its user something."""
_SILENCE = 30
"""Seconds after which a peer whose machine or cable is gone counts as gone: nothing closes its connections."""
_LINGER = 30.0
"""Seconds that a peer may take to read what was sent before its connection was closed."""
_OF_PYTHON = re.compile(r"^\[[A-Z0-9]+: [A-Z0-9_]+\] | \(_ssl\.c:\d+\)$")
"""Words of Python's around those of OpenSSL."""
_NOBODY = 65534  # stands for every user that this namespace has no number for
Explain = Callable[[BaseException], RpcError]


def peer_of(transport: asyncio.BaseTransport) -> str:
    """Who is at the other end of a connection: the user of a local socket, or the digest of a verified certificate.

    "" where nobody vouches for it: a user that this namespace has no number for, TCP without certificates.
    """
    secured = transport.get_extra_info("ssl_object")
    if secured is not None:
        import hashlib

        shown = secured.getpeercert(binary_form=True) if secured.context.verify_mode else None
        return f"certificate {hashlib.sha256(shown).hexdigest()}" if shown else ""
    link = transport.get_extra_info("socket")
    if link is None or link.family != socket.AF_UNIX:
        return ""
    try:
        _, user, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except OSError:
        return ""
    return f"user {user}" if 0 <= user != _NOBODY else ""


class Wire(asyncio.Protocol):
    """A channel on an asyncio transport. `made` is told the channel when it is there."""

    channel: Channel

    def __init__(
        self,
        handlers: Mapping[str, Handler] | None = None,
        *,
        made: Callable[[Channel], None] | None = None,
        explain: Explain | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self._handlers, self._made, self._explain, self._max = handlers, made, explain, max_message
        self._greeting: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self.way = "the connection"
        """What it is called when it breaks."""
        self._secured = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to speak."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(_HIGH)
        _watch(transport.get_extra_info("socket"))

        def close() -> None:
            transport.close()
            self._lingering = self.channel.loop.call_later(_LINGER, transport.abort)

        self.channel = Channel(
            transport.write,
            handlers=self._handlers,
            close=close,
            explain=self._explain,
            max_message=self._max,
        )
        if self._handlers is not None:
            self._greeting = self.channel.loop.call_later(_GREETING, self._late)
            self.channel.peer = peer_of(transport)
        if self._made is not None:
            self._made(self.channel)

    def expect(self, place: str, seconds: float) -> None:
        """As a client: fail all calls if nothing comes for so long."""
        self._secured = self.channel.scheme == "https"

        def late() -> None:
            self.channel.lost(RpcError(f"cannot connect to {place}: no answer within {seconds:g} s", code=UNAVAILABLE))

        self._greeting = self.channel.loop.call_later(seconds, late)

    def _late(self) -> None:
        if not self.channel.greeted:
            self.channel.lost(RpcError("the client says nothing", code=UNAVAILABLE))

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer."""
        self.channel.feed(data)
        if self._greeting is not None and self.channel.greeted:  # a client's channel always has
            self._greeting.cancel()
            self._greeting = None

    def pause_writing(self) -> None:
        """The transport has enough."""
        self.channel.pause()

    def resume_writing(self) -> None:
        """The transport takes more."""
        self.channel.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        words = f"{self.way} broke: {_reason(exc)}" if exc else f"{self.way} was closed"
        if self._secured and self._greeting is not None:  # TLS 1.3 is set up before the other end judges who is here
            words += " before the builder had said anything: it may want a certificate of the client, or another one"
        self.channel.lost(RpcError(words, code=UNAVAILABLE))
        for timer in (self._greeting, self._lingering):
            if timer is not None:
                timer.cancel()


def _reason(error: BaseException) -> str:
    """What the system has said, without Python's words around it."""
    if isinstance(error, UnicodeError):  # the name is encoded by the rules for hosts
        return "it is no name of a host"
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and "Connect call failed" in str(error):
        numbers = [number] if number else map(int, re.findall(r"\[Errno (\d+)\]", str(error)))
        return ", ".join(dict.fromkeys(map(os.strerror, numbers))) or "nobody answers"
    words = getattr(error, "strerror", None) or str(error)
    return _OF_PYTHON.sub("", words)


def _watch(sock: socket.socket | None) -> None:
    """Let the kernel notice when the peer of a TCP connection is gone: whether something is sent or not."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    wanted = {
        "TCP_KEEPIDLE": _SILENCE,
        "TCP_KEEPINTVL": max(_SILENCE // 3, 1),
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": _SILENCE * 1000,
    }
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in wanted.items():
            if hasattr(socket, name):  # not every system has all of them
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class CannotConnect(DockcError):
    """Nobody answers at an address."""


async def connect_unix(path: str, handlers: Mapping[str, Handler] | None = None) -> Channel:
    """A channel to a Unix socket.

    Raises:
        CannotConnect: there is no socket, or nobody listens.
    """
    if sys.platform == "win32":
        raise CannotConnect(f"cannot connect to unix://{path}: Python has no Unix sockets on Windows")
    loop = asyncio.get_running_loop()
    target = "\0" + path[1:] if path.startswith("@") else path
    for attempt in range(6):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(
                target
            )  # fails at once where the backlog is full; asyncio's own connect takes that for success
            _, wire = await loop.create_unix_connection(lambda: Wire(handlers), sock=sock)
        except BlockingIOError:
            sock.close()
            await asyncio.sleep(0.05 * 2**attempt)
        except (OSError, ValueError) as exc:
            sock.close()
            raise CannotConnect(f"cannot connect to unix://{path}: {_reason(exc)}") from exc
        except BaseException:
            sock.close()
            raise
        else:
            if handlers is None:
                wire.expect(f"unix://{path}", _ANSWER)
            return wire.channel
    raise CannotConnect(f"cannot connect to unix://{path}: too many clients wait")


async def connect_tcp(
    host: str, port: int, *, tls: ssl.SSLContext | None = None, server_name: str = "", limit: float = 20
) -> Channel:
    """A channel to a TCP port, with TLS where a context is given.

    Raises:
        CannotConnect: nobody listens, or the certificates are not accepted.
    """
    loop = asyncio.get_running_loop()
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(limit):
            _, wire = await loop.create_connection(
                Wire, host, port, ssl=tls, server_hostname=(server_name or host) if tls is not None else None
            )
    except TimeoutError as exc:
        raise CannotConnect(f"cannot connect to tcp://{shown}: no answer within {limit:g} s") from exc
    except (OSError, ValueError) as exc:
        raise CannotConnect(f"cannot connect to tcp://{shown}: {_reason(exc)}") from exc
    if tls is not None:
        wire.channel.scheme = "https"
    wire.channel.authority = server_name or shown
    wire.expect(f"tcp://{shown}", max(limit, _ANSWER))
    return wire.channel


async def connect_command(command: Sequence[str]) -> tuple[Channel, asyncio.subprocess.Process]:
    """A channel over the standard input and output of a helper command.

    The command gets one socket as both, so that no byte is copied by us. It ends when the channel closes its end.

    Raises:
        CannotConnect: there is no such command.
    """
    if sys.platform == "win32":
        return await _through_pipes(command)
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True
            )
    except OSError as exc:
        ours.close()
        raise CannotConnect(f"cannot run {command[0]}: {exc.strerror}") from exc
    except BaseException:
        ours.close()
        raise
    ours.setblocking(False)
    try:
        _, wire = await asyncio.get_running_loop().create_connection(Wire, sock=ours)
    except BaseException:
        ours.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    wire.way = f"the connection by {command[0]}"
    wire.expect(f"the builder by {command[0]}", _HELPER)
    return wire.channel, process


async def _through_pipes(command: Sequence[str]) -> tuple[Channel, asyncio.subprocess.Process]:
    """As `connect_command` where a socket is nobody's standard stream; what waits is bounded by the peer's window."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    except OSError as exc:
        raise CannotConnect(f"cannot run {command[0]}: {exc.strerror}") from exc
    assert process.stdin is not None
    assert process.stdout is not None
    channel = Channel(process.stdin.write, close=process.stdin.close)
    hearing = asyncio.create_task(_hear(process.stdout, channel))
    channel.ended.add_done_callback(lambda _: hearing.cancel())
    return channel, process


async def _hear(stream: asyncio.StreamReader, channel: Channel) -> None:
    try:
        while data := await stream.read(_HIGH):
            channel.feed(data)
    finally:
        channel.lost()


async def on_descriptors(
    read: int, write: int, handlers: Mapping[str, Handler] | None = None, *, explain: Explain | None = None
) -> Channel:
    """A channel on two descriptors of pipes, sockets or terminals, which it owns from now on."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        reading = stack.enter_context(os.fdopen(read, "rb", 0))
        writing = stack.enter_context(os.fdopen(write, "wb", 0))
        out, flow = await loop.connect_write_pipe(_Flow, writing)
        stack.callback(out.abort)
        out.set_write_buffer_limits(_HIGH)
        channel = Channel(out.write, handlers=handlers, close=out.close, explain=explain)
        flow.channel = channel
        incoming, _ = await loop.connect_read_pipe(lambda: _Reader(channel), reading)
        stack.pop_all()
    channel.ended.add_done_callback(lambda _: incoming.close())
    return channel


class _Flow(asyncio.streams.FlowControlMixin):
    """The writing half of two pipes."""

    channel: Channel | None = None

    def pause_writing(self) -> None:
        if self.channel is not None:
            self.channel.pause()

    def resume_writing(self) -> None:
        if self.channel is not None:
            self.channel.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.channel is not None:
            self.channel.lost()


class _Reader(asyncio.Protocol):
    """The reading half."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def data_received(self, data: bytes) -> None:
        self._channel.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel.lost()


class Tunnel:
    """A channel whose bytes are the payloads of the `BytesMessage`s of another call.

    The inner connection is fed from the outer's read, without a task between.

    Attributes:
        channel: the inner one.
        done: set when the outer call has ended.
    """

    _PIECE = 1 << 20

    def __init__(
        self, call: Call, handlers: Mapping[str, Handler] | None = None, *, explain: Explain | None = None
    ) -> None:
        self._call = call
        self._waiting: list[bytes] = []
        self._size = 0
        self._pump: asyncio.Task[None] | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.channel = Channel(self._write, handlers=handlers, explain=explain)
        call.pour(self._read)

    def _read(self, message: bytes | None) -> None:
        if message is None:
            self.channel.lost()
            if not self.done.done():
                self.done.set_result(None)
        else:
            try:
                data = payload(message)
            except RpcError as exc:
                self.channel.lost(exc)
            else:
                self.channel.feed(data)

    def _write(self, data: bytes) -> None:
        if self._pump is None and len(data) <= self._PIECE:
            try:
                if self._call.send_now(packed(data)):
                    return
            except RpcError:
                self.channel.loop.call_soon(self.channel.lost)
                return
        self._waiting.append(data)
        self._size += len(data)
        if self._size > _HIGH:
            self.channel.pause()
        if self._pump is None:
            self._pump = self.channel.loop.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._waiting:
                data = memoryview(b"".join(self._waiting))
                self._waiting.clear()
                self._size = 0
                for at in range(0, len(data), self._PIECE):
                    await self._call.send(packed(data[at : at + self._PIECE]))
                if self.channel.paused:
                    self.channel.resume()
        except RpcError:
            self.channel.lost()
        finally:
            self._pump = None


def packed(data: bytes | memoryview) -> bytes:
    """A `BytesMessage` of these bytes: field 1, coded by hand because it is the bulk."""
    size = len(data)
    head = bytearray(b"\n")
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + data


def payload(message: bytes) -> bytes:
    """The bytes of a `BytesMessage`.

    Raises:
        RpcError: it is none.
    """
    if message[:1] == b"\n":
        size = at = shift = 0
        for at in range(1, min(len(message), 6)):
            byte = message[at]
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                if at + 1 + size == len(message):
                    return message[at + 1 :]
                break
    elif not message:
        return b""
    from dockc.rpc.pb import common_pb2

    return parsed(message, common_pb2.BytesMessage).data
