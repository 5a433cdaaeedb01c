"""What a build lends a builder, and nothing else: each service serves by name what the command line named.

The session is a connection inside of `Control.Session`, on which the builder calls us.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.aside import aside, entered, opened
from dockc.errors import StoreError
from dockc.protocol.errors import to_rpc
from dockc.protocol.metadata import decoded
from dockc.protocol.names import (
    AUTH,
    CONTROL,
    DIRECTORY,
    EXCLUDE,
    EXPORTER_ID,
    FILE_SEND,
    FILE_SYNC,
    FOLLOW,
    HEALTH,
    INCLUDE,
    SECRETS,
    SESSION_ID,
    SESSION_KEY,
    SESSION_METHODS,
    SSH_CHECK,
    SSH_FORWARD,
    SSH_ID,
    UPLOAD,
    UPLOAD_HOST,
    UPLOAD_PATH,
)
from dockc.rpc.calls import Call, Channel, Handler, only, unary
from dockc.rpc.pb import session_pb2
from dockc.rpc.status import NOT_FOUND, UNIMPLEMENTED, UNKNOWN, RpcError
from dockc.rpc.transports import Tunnel, packed, payload

if TYPE_CHECKING:
    from dockc.client.exports import Receiver
    from dockc.runtime.registry.credentials import DockerConfig
    from dockc.runtime.registry.trust import Trust
    from dockc.runtime.session.secrets import ClientSsh, SecretStore

_PIECE = 1 << 20
_TOKEN_SECONDS = 60
"""For how long a token is good of which its server does not say that."""


def shared_key(directories: Sequence[str]) -> str:
    """The same for every build of these directories by this user of this machine: what was sent is not sent again."""
    import hashlib
    import os
    import socket
    import sys

    user = os.environ.get("USERNAME", "") if sys.platform == "win32" else str(os.getuid())
    text = "\n".join([socket.gethostname(), user, *map(os.path.realpath, directories)])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class Session:
    """The services of one build.

    Attributes:
        id: what the builder knows it by.
        handlers: by path.
        sent: bytes of files that the builder took.
    """

    def __init__(self, shared_key: str = "") -> None:
        self.id = secrets.token_hex(13)
        self.shared_key = shared_key
        self.sent = 0
        self.handlers: dict[str, Handler] = {HEALTH: _health}

    # --- what is lent -----------------------------------------------------------------------------------

    def lend_directories(self, directories: Mapping[str, Path]) -> None:
        """Directories by name."""
        if directories:
            self.handlers[FILE_SYNC] = self._files(dict(directories))

    def _files(self, directories: Mapping[str, Path]) -> Handler:
        async def diff_copy(call: Call) -> None:
            from dockc.protocol.sending import Sender
            from dockc.runtime.fsutil.walk import Filter, walk

            asked = decoded(call.metadata)
            name = (asked.get(DIRECTORY) or [""])[0]
            root = directories.get(name)
            if root is None:
                raise RpcError(f'no access allowed to dir "{name}"', code=NOT_FOUND)
            follow = asked.get(FOLLOW)
            chosen = Filter(
                include=tuple(asked.get(INCLUDE, ())),
                exclude=tuple(asked.get(EXCLUDE, ())),
                follow=tuple(follow) if follow is not None else None,
            )
            call.start()
            sender = Sender(call, root, lambda: walk(root, chosen), root_owned=True, xattrs=True)
            await sender.run()
            self.sent += sender.sent

        return diff_copy

    def lend_credentials(self, config: DockerConfig, trusts: Mapping[str, Trust] | None = None) -> None:
        """What opens registries, from the user's Docker configuration; asked for one registry at a time.

        Where a registry works with tokens, they are got here, and a builder that knows that way needs no password.
        """
        from dockc.client.authority import Authority, registry_name
        from dockc.runtime.session.auth import TokenWish

        authority = Authority(config, trusts=trusts)

        async def token(request: session_pb2.FetchTokenRequest, _: Call) -> session_pb2.FetchTokenResponse:
            wish = TokenWish(registry_name(request.Host), request.Realm, request.Service, tuple(request.Scopes))
            found = await asyncio.to_thread(authority.fetch, wish)
            return session_pb2.FetchTokenResponse(
                Token=found.value, ExpiresIn=int(min(found.seconds, 1e9)) or _TOKEN_SECONDS
            )

        async def key(request: session_pb2.GetTokenAuthorityRequest, _: Call) -> session_pb2.GetTokenAuthorityResponse:
            found = await asyncio.to_thread(authority.public_key, registry_name(request.Host), request.Salt)
            return session_pb2.GetTokenAuthorityResponse(PublicKey=found)

        async def proof(
            request: session_pb2.VerifyTokenAuthorityRequest, _: Call
        ) -> session_pb2.VerifyTokenAuthorityResponse:
            name = registry_name(request.Host)
            found = await asyncio.to_thread(authority.sign, name, request.Salt, request.Payload)
            return session_pb2.VerifyTokenAuthorityResponse(Signed=found)

        async def credentials(request: session_pb2.CredentialsRequest, _: Call) -> session_pb2.CredentialsResponse:
            found = await asyncio.to_thread(config.credentials, registry_name(request.Host))
            if found.identity_token:
                return session_pb2.CredentialsResponse(Secret=found.identity_token)
            return session_pb2.CredentialsResponse(Username=found.username, Secret=found.password)

        self.handlers[AUTH + "Credentials"] = unary(session_pb2.CredentialsRequest, credentials)
        self.handlers[AUTH + "FetchToken"] = unary(session_pb2.FetchTokenRequest, token)
        self.handlers[AUTH + "GetTokenAuthority"] = unary(session_pb2.GetTokenAuthorityRequest, key)
        self.handlers[AUTH + "VerifyTokenAuthority"] = unary(session_pb2.VerifyTokenAuthorityRequest, proof)

    def lend_secrets(self, store: SecretStore) -> None:
        """Secrets by id."""

        async def get(request: session_pb2.GetSecretRequest, _: Call) -> session_pb2.GetSecretResponse:
            found = await asyncio.to_thread(store.get, request.ID)
            if found is None:
                raise RpcError(f"secret {request.ID}: not found", code=NOT_FOUND)
            return session_pb2.GetSecretResponse(data=found)

        self.handlers[SECRETS] = unary(session_pb2.GetSecretRequest, get)

    def lend_ssh(self, agents: ClientSsh) -> None:
        """Agents by id; only listing and signing get through, unless the user said `raw`."""

        async def check(request: session_pb2.CheckAgentRequest, _: Call) -> session_pb2.CheckAgentResponse:
            if agents.find(request.ID or "default") is None:
                raise RpcError(f"unset ssh forward key {request.ID or 'default'}", code=NOT_FOUND)
            return session_pb2.CheckAgentResponse()

        async def forward(call: Call) -> None:
            await _forward(call, agents)

        self.handlers[SSH_CHECK] = unary(session_pb2.CheckAgentRequest, check)
        self.handlers[SSH_FORWARD] = forward

    def lend_uploads(self, uploads: Mapping[str, Path]) -> None:
        """Files by the address that they answer for."""

        async def pull(call: Call) -> None:
            address = call.get(UPLOAD_HOST) + call.get(UPLOAD_PATH)
            path = uploads.get(call.get(UPLOAD_PATH).lstrip("/")) or next(
                (file for url, file in uploads.items() if url.partition("://")[2] == address), None
            )
            if path is None:
                raise RpcError(f"no http response from session for {call.get('urlpath')}", code=NOT_FOUND)
            call.start()
            async with opened(lambda: path.open("rb")) as file:
                while data := await aside(file.read, _PIECE):
                    await call.send(packed(data))

        if uploads:
            self.handlers[UPLOAD] = pull

    def take_exports(self, receivers: Mapping[int, Receiver]) -> None:
        """Places for results, by the number of the output."""
        if not receivers:
            return

        async def diff_copy(call: Call) -> None:
            text = call.get(EXPORTER_ID)
            receiver = receivers.get(int(text) if text.isdecimal() and len(text) < 10 else 0)
            if receiver is None:
                raise RpcError(f"exporter {text} not found", code=NOT_FOUND)
            try:
                await receiver.receive(call)
            except StoreError:
                receiver.failed = True
                raise

        self.handlers[FILE_SEND] = diff_copy

    def lend_stores(self, stores: Mapping[str, Path]) -> None:
        """Directories in the form of an OCI layout, by name: blobs to read and places to write blobs."""
        if stores:
            from dockc.client.content import handlers

            self.handlers.update(handlers(stores))

    # --- the connection ---------------------------------------------------------------------------------

    def open(self, channel: Channel) -> SessionLink:
        """Begin to serve."""
        methods = [(SESSION_METHODS, path) for path in self.handlers]
        call = channel.call(
            CONTROL + "Session",
            [
                (SESSION_ID, self.id),
                (SESSION_KEY, self.shared_key),
                *methods,
            ],
        )
        return SessionLink(call, Tunnel(call, self.handlers, explain=to_rpc))


class SessionLink:
    """A session that is being served."""

    def __init__(self, call: Call, tunnel: Tunnel) -> None:
        self._call, self._tunnel = call, tunnel

    @property
    def lost(self) -> asyncio.Future[None]:
        """Set when the builder has gone."""
        return self._tunnel.done

    async def close(self) -> None:
        """Stop serving."""
        self._tunnel.channel.shut()
        self._tunnel.channel.flush()
        self._call.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._tunnel.done
        self._call.cancel()
        if self._tunnel.channel.tasks:
            await asyncio.wait(list(self._tunnel.channel.tasks), timeout=5)


async def _health(call: Call) -> None:
    await only(call, session_pb2.HealthCheckRequest)
    await call.send(b"\x08\x01")


async def _forward(call: Call, agents: ClientSsh) -> None:
    """Carry bytes between a step of the builder and an agent here."""
    import tempfile

    from dockc.runtime.session.ssh import forward

    name = call.get(SSH_ID) or "default"
    source = agents.find(name)
    if source is None:
        raise RpcError(f"unset ssh forward key {name}", code=NOT_FOUND)
    import os
    import sys

    if sys.platform == "win32":
        raise RpcError("ssh agents cannot be lent from Windows yet", code=UNIMPLEMENTED)
    async with (
        entered(tempfile.TemporaryDirectory(prefix="dockc-ssh-")) as folder,
        entered(forward(source, Path(folder), uid=os.getuid(), gid=os.getgid(), mode=0o600)) as path,
    ):
        try:
            reader, writer = await asyncio.open_unix_connection(str(path))
        except OSError as exc:
            raise RpcError(f"failed to connect to the agent {name}: {exc.strerror}", code=UNKNOWN) from exc
        call.start()
        tasks = [asyncio.create_task(_asks(call, writer)), asyncio.create_task(_answers(call, reader))]
        try:  # until the agent has closed its end; a step that has asked everything may still wait for answers
            await asyncio.wait((tasks[1],))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _asks(call: Call, writer: asyncio.StreamWriter) -> None:
    try:
        while (messages := await call.receive_all()) is not None:
            for message in messages:
                writer.write(payload(message))
                await writer.drain()
        writer.write_eof()
    except (OSError, RpcError):
        writer.close()  # and so the other way ends, too


async def _answers(call: Call, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(65536):
        await call.send(packed(data))
