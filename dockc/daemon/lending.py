"""What a build sees of a client's session: its files, secrets, agents, credentials, uploads and outputs.

The engine's threads ask in blocking calls; each is carried to the event loop, through the client's tunnel and back.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from dockc.base.aside import aside
from dockc.base.sockets import Address
from dockc.daemon.directories import ClientDirectory
from dockc.daemon.layouts import Caches, ClientLayout
from dockc.daemon.mirrors import Mirrors
from dockc.daemon.sessions import ANSWER, Caller
from dockc.daemon.sinks import Sinks
from dockc.protocol.names import (
    CONTENT,
    FILE_SYNC,
    SECRETS,
    SSH_CHECK,
    SSH_FORWARD,
    SSH_ID,
    UPLOAD,
    UPLOAD_HOST,
    UPLOAD_PATH,
    UPLOADS,
)
from dockc.rpc.pb import session_pb2
from dockc.rpc.status import DEADLINE_EXCEEDED, NOT_FOUND, RpcError
from dockc.rpc.transports import packed, payload
from dockc.runtime.session.base import Session
from dockc.runtime.session.secrets import SshSource

if TYPE_CHECKING:
    from dockc.runtime.session.auth import CredentialStore

T = TypeVar("T")

_HOST = urlsplit(UPLOADS).netloc


def lent(
    caller: Caller,
    mirrors: Mirrors,
    credentials: CredentialStore,
    folder: Path,
    find: Callable[[str], Coroutine[Any, Any, Caller]],
    over: threading.Event,
) -> tuple[Session, Callable[[], None]]:
    """What a build sees of a client's session, and what is to be called on the loop when the build is over.

    Args:
        caller: the client.
        mirrors: for its directories.
        credentials: the client's, of registries.
        folder: for files of this build; removed after it.
        find: other sessions, whose directories a build may name.
        over: set when the build has ended, or is to: no thread waits for the client any longer.
    """
    caller = caller.within(over)

    def directories_of(one: Caller) -> Mapping[str, ClientDirectory]:
        return _Named(lambda name: ClientDirectory(one, mirrors, name))

    def others(name: str) -> Mapping[str, ClientDirectory] | None:
        return None if name == caller.id else directories_of(caller.wait(find(name)).within(over))

    agents = _Agents(caller, folder) if caller.serves(SSH_FORWARD) else None
    session = Session(
        id=caller.id,
        directories=directories_of(caller) if caller.serves(FILE_SYNC) else {},
        others=others,
        stores=_Named(lambda name: ClientLayout(caller, f"oci:{name}", folder))
        if caller.serves(CONTENT + "Read")
        else {},
        secrets=_Secrets(caller) if caller.serves(SECRETS) else None,
        ssh=agents,
        credentials=credentials,
        uploads=_Uploads(caller, folder) if caller.serves(UPLOAD) else {},
        sinks=Sinks(caller),
        caches=Caches(caller, folder),
    )
    return session, agents.close if agents is not None else _nothing


def _nothing() -> None:
    """There is nothing to close."""


class _Secrets:
    """`runtime.session.secrets.SecretStore`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def get(self, secret_id: str) -> bytes | None:
        request = session_pb2.GetSecretRequest(ID=secret_id)

        async def ask() -> bytes | None:
            try:
                asking = self._caller.unary(SECRETS, request, session_pb2.GetSecretResponse, limit=ANSWER)
                return (await asking).data
            except RpcError as exc:
                if exc.code == NOT_FOUND:
                    return None
                raise

        return self._caller.wait(ask())


class _Agents:
    """`runtime.session.secrets.SshAgents`: a socket here for each agent of the client."""

    def __init__(self, caller: Caller, folder: Path) -> None:
        self._caller, self._folder = caller, folder
        self._sources: dict[str, SshSource | None] = {}
        self._servers: list[asyncio.Server] = []
        self._relays: set[asyncio.Task[None]] = set()
        self._guard = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """End all connections, and take no more."""
        self._closed = True
        for server in self._servers:
            server.close()
        for relay in self._relays:
            relay.cancel()

    def __bool__(self) -> bool:
        return True

    def find(self, ssh_id: str) -> SshSource | None:
        with self._guard:
            if ssh_id not in self._sources:
                self._sources[ssh_id] = self._caller.wait(self._open(ssh_id))
            return self._sources[ssh_id]

    async def _open(self, ssh_id: str) -> SshSource | None:
        try:
            await self._caller.unary(
                SSH_CHECK, session_pb2.CheckAgentRequest(ID=ssh_id), session_pb2.CheckAgentResponse, limit=ANSWER
            )
        except RpcError as exc:
            if exc.code == DEADLINE_EXCEEDED:
                raise
            return None  # the client has no such agent
        path = self._folder / f"ssh-{len(self._sources)}.sock"

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            relay = asyncio.ensure_future(_relay(self._caller, ssh_id, reader, writer))
            self._relays.add(relay)
            relay.add_done_callback(self._relays.discard)

        sock = socket.socket(socket.AF_UNIX)
        try:
            with Address(path) as place:
                sock.bind(place)
            path.chmod(0o600)
            server = await asyncio.start_unix_server(connected, sock=sock)
        except BaseException:
            sock.close()
            raise
        self._servers.append(server)
        if self._closed:  # the build has ended meanwhile
            server.close()
        return SshSource(path, (), raw=True)  # the client lets through what it wants


async def _relay(caller: Caller, ssh_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes between a step and the client's agent, until either has closed its end."""
    try:
        call = caller.channel.call(SSH_FORWARD, [(SSH_ID, ssh_id)])
    except RpcError:  # the client has gone
        writer.close()
        return

    async def there() -> None:
        while data := await reader.read(65536):
            await call.send(packed(data))
        call.end()
        await asyncio.shield(answering)

    async def back() -> None:
        while (messages := await call.receive_all()) is not None:
            for message in messages:
                writer.write(payload(message))
                await writer.drain()

    answering = asyncio.create_task(back())
    asking = asyncio.create_task(there())
    try:
        await asyncio.wait((answering, asking), return_when=asyncio.FIRST_COMPLETED)
    finally:
        answering.cancel()
        asking.cancel()
        call.cancel()
        writer.close()
        await asyncio.gather(answering, asking, return_exceptions=True)


class _Named(Mapping[str, T]):
    """Things of a client by name. It alone knows which there are: any name may be asked for."""

    def __init__(self, make: Callable[[str], T]) -> None:
        self._make = make
        self._known: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        return self._known.setdefault(name, self._make(name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class _Uploads(Mapping[str, Path]):
    """Files that a client sends when their address is asked for."""

    def __init__(self, caller: Caller, folder: Path) -> None:
        self._caller, self._folder = caller, folder
        self._files: dict[str, Path] = {}
        self._guard = threading.Lock()

    def __contains__(self, url: object) -> bool:
        return isinstance(url, str) and url.startswith(UPLOADS)

    def __getitem__(self, url: str) -> Path:
        if url not in self:
            raise KeyError(url)
        with self._guard:
            if url not in self._files:
                handle, name = tempfile.mkstemp(dir=self._folder)
                with os.fdopen(handle, "wb") as file:
                    self._caller.wait(self._pull(url, file))
                self._files[url] = Path(name)
            return self._files[url]

    async def _pull(self, url: str, file: BinaryIO) -> None:
        metadata = [(UPLOAD_HOST, _HOST), (UPLOAD_PATH, "/" + url.removeprefix(UPLOADS))]
        call = self._caller.channel.call(UPLOAD, metadata)
        try:
            while (messages := await call.receive_all()) is not None:
                await aside(file.write, b"".join(map(payload, messages)))
        finally:
            call.cancel()

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)
