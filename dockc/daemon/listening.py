"""The daemon's sockets: its own, those that systemd has opened, and the one that takes nothing but spans."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import logging
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.daemon.config import Config, Listener
from dockc.engine.collecting import MAX_MESSAGE, SOCKET_MODE
from dockc.errors import UsageError, in_words
from dockc.protocol.errors import to_rpc
from dockc.rpc.transports import Wire

if TYPE_CHECKING:
    from dockc.rpc.calls import Channel, Handler

_log = logging.getLogger("dockc.daemon")
_BACKLOG = 1024
_AGAIN = 60.0
"""Seconds until the same is said again."""
_LACKING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_FIRST = 3
"""The first of systemd's descriptors (sd_listen_fds(3))."""
_NOBODY = 0xFFFFFFFF
"""No number of a group: it stands for none (chown(2))."""
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)


@contextlib.asynccontextmanager
async def listening(
    config: Config, handlers: dict[str, Handler], spans: dict[str, Handler], channels: set[Channel]
) -> AsyncIterator[None]:
    """The sockets: those of the daemon, and the one that takes nothing but spans."""

    def made(channel: Channel) -> None:
        channels.add(channel)
        channel.ended.add_done_callback(lambda _: channels.discard(channel))

    def wire() -> Wire:
        return Wire(handlers, made=made, explain=to_rpc)

    def wire_of_spans() -> Wire:
        return Wire(spans, made=made, explain=to_rpc, max_message=MAX_MESSAGE)

    async def inherited(one: Listener, sock: socket.socket) -> asyncio.Server:
        if sock.family == socket.AF_UNIX:
            return await loop.create_unix_server(wire, sock=sock, backlog=_BACKLOG)
        return await loop.create_server(wire, sock=sock, ssl=_tls(config, one), backlog=_BACKLOG)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(Unheard())
    servers: list[asyncio.Server] = []
    paths: list[tuple[Path, tuple[int, int]]] = []
    place = ""
    try:
        for one in config.listeners:
            place = one.text
            if one.scheme == "unix":
                servers.append(await loop.create_unix_server(wire, sock=_unix(one, config), backlog=_BACKLOG))
                if not one.path.startswith("@"):
                    paths.append((Path(one.path), _identity(Path(one.path))))
            elif one.scheme == "fd":
                servers += [await inherited(one, sock) for sock in _inherited(one.host)]
            else:
                servers.append(
                    await loop.create_server(wire, one.host, one.port, ssl=_tls(config, one), backlog=_BACKLOG)
                )
        if config.otel:
            one = Listener(f"unix://{config.otel}", "unix", path=config.otel)
            place = one.text
            sock = _unix(one, config, SOCKET_MODE)
            servers.append(await loop.create_unix_server(wire_of_spans, sock=sock, backlog=_BACKLOG))
            paths.append((Path(config.otel), _identity(Path(config.otel))))
            _log.info("taking spans on %s", config.otel)
        yield
    except OSError as exc:
        raise UsageError(f"cannot listen on {place}: {exc.strerror or exc}") from exc
    finally:
        for server in servers:
            server.close()
        for path, own in paths:
            with contextlib.suppress(OSError):
                if _identity(path) == own:  # not another daemon's, which has taken the place
                    path.unlink()


class Unheard:
    """What the loop says of errors that nobody waits for. Mutable: when it last said that no client can be taken."""

    def __init__(self) -> None:
        self._last = -_AGAIN

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell the log, of what the machine has too little of in a line now and then: the loop tries again each second,
        for as many clients as may wait.
        """
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _LACKING:
            if loop.time() - self._last >= _AGAIN:
                self._last = loop.time()
                _log.warning("no client can be taken: %s", in_words(error))
        elif not (isinstance(error, ValueError) and "Invalid file descriptor: -1" in str(error)):
            loop.default_exception_handler(context)  # that is such a new try after the socket was closed


def _tls(config: Config, one: Listener) -> ssl.SSLContext | None:
    if config.tls is not None:
        return config.tls.context()
    _log.warning("%s has no TLS: whoever reaches it can build as this user", one.text)
    return None


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def _unix(one: Listener, config: Config, mode: int = 0) -> socket.socket:
    """A socket of the path, with the group and mode that it shall have from its first moment; of `mode` if that is
    given.
    """
    made = socket.socket(socket.AF_UNIX)
    if one.path.startswith("@"):
        made.bind("\0" + one.path[1:])
        return made
    path = Path(one.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    before = os.umask(0o177)
    try:
        made.bind(str(path))
    finally:
        os.umask(before)
    try:
        if config.owner is not None:
            os.chown(path, config.owner, -1)
        if config.group:
            os.chown(path, -1, _group(config.group))
            path.chmod(0o660)
        if mode:
            path.chmod(mode)
    except (OSError, OverflowError) as exc:
        made.close()
        path.unlink(missing_ok=True)
        reason = getattr(exc, "strerror", "") or "there is none of that number"
        raise UsageError(f"cannot give {path} to another user or group: {reason}") from exc
    except UsageError:
        made.close()
        path.unlink(missing_ok=True)
        raise
    return made


def _group(name: str) -> int:
    if name.isdecimal() and len(name) < len(str(_NOBODY)) + 1 and int(name) < _NOBODY:
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"there is no group {name}") from None


def _inherited(name: str) -> list[socket.socket]:
    """Sockets that systemd has opened: those of a name (`FileDescriptorName=`), or all (sd_listen_fds(3)).

    Raises:
        UsageError: there are none, or something else was handed over.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise UsageError("fd:// needs sockets of systemd", hint="Start the daemon by a .socket unit.")
    text = os.environ.get("LISTEN_FDS", "")
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise UsageError(f"LISTEN_FDS is no number of sockets: {text[:40]!r}")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    numbers = [
        number
        for at, number in enumerate(range(_FIRST, _FIRST + int(text)))
        if not name or (at < len(names) and names[at] == name)
    ]
    if not numbers:
        raise UsageError(
            f"systemd gave no sockets of the name {name}" if name else "systemd gave no sockets",
            hint=f"It gave {os.environ.get('LISTEN_FDNAMES')}." if name and any(names) else "",
        )
    return [_given(number) for number in numbers]


def _given(number: int) -> socket.socket:
    """A descriptor that listens."""
    try:
        sock = socket.socket(fileno=number)
        listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as exc:
        raise UsageError(f"cannot listen on descriptor {number}: {exc.strerror}") from exc
    if sock.family not in _FAMILIES or not listens:
        sock.close()
        raise UsageError(
            f"descriptor {number} is no socket that listens for connections", hint="ListenStream= and Accept=no."
        )
    os.set_inheritable(number, False)
    return sock
