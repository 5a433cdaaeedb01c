"""Tokens that a client gets itself for a daemon that builds: both ends are ours, the token server is a script."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dockc.base import ed25519
from dockc.client.authority import Authority
from dockc.client.session import Session
from dockc.daemon.authority import SessionCredentials, Tokens
from dockc.daemon.sessions import Sessions
from dockc.errors import DockcError
from dockc.oci.reference import parse_normalized
from dockc.protocol.names import AUTH
from dockc.rpc.calls import Call, Handler, unary
from dockc.rpc.pb import session_pb2
from dockc.rpc.status import UNAVAILABLE, RpcError
from dockc.rpc.transports import Wire, connect_unix
from dockc.runtime.content.store import ContentStore
from dockc.runtime.registry.client import Client
from dockc.runtime.registry.credentials import DockerConfig
from dockc.runtime.session.auth import Credentials, TokenWish
from tests.runtime.registry_servers import TokenServer

WHO = {"a": Credentials("bo", "pw")}


class Ends:
    """A daemon's sessions, and clients that come with what they lend."""

    def __init__(self, folder: Path) -> None:
        self.sessions = Sessions(folder / "contexts")
        self.tokens, self.path = Tokens(), folder / "s"

    @asynccontextmanager
    async def client(self, config: DockerConfig, **instead: Handler) -> AsyncIterator[tuple[SessionCredentials, Counter[str]]]:
        """What the daemon sees of one more client, and which of its methods were called."""
        asked: Counter[str] = Counter()
        session = Session()
        session.lend_credentials(config)
        session.handlers.update({AUTH + name: handler for name, handler in instead.items()})
        for path, handler in list(session.handlers.items()):
            session.handlers[path] = counted(asked, path.rpartition("/")[2], handler)
        channel = await connect_unix(str(self.path))
        link = session.open(channel)
        try:
            yield SessionCredentials(await self.sessions.find(session.id), self.tokens), asked
        finally:
            await link.close()
            channel.shut()


def counted(asked: Counter[str], name: str, handler: Handler) -> Handler:
    async def handle(call: Call) -> None:
        asked[name] += 1
        await handler(call)

    return handle


@asynccontextmanager
async def ends(folder: Path) -> AsyncIterator[Ends]:
    made = Ends(folder)
    loop = asyncio.get_running_loop()
    handlers = {"/moby.buildkit.v1.Control/Session": made.sessions.serve}
    server = await loop.create_unix_server(lambda: Wire(handlers), str(made.path))
    try:
        yield made
    finally:
        server.close()


async def pulls(store: SessionCredentials, address: str, times: int = 1) -> None:
    """Look an image up with a registry client of its own, as each build has one."""
    client = Client(config=store)
    try:
        for _ in range(times):
            await asyncio.to_thread(client.resolve, parse_normalized(f"{address}/a/b"))
    finally:
        client.close()


def config(address: str, folder: Path | None, password: str = "pw") -> DockerConfig:
    return DockerConfig({address: Credentials("bo", password)}, folder=folder)


@pytest.fixture
def source(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "source")


def test_a_password_stays_with_the_client_and_its_token_serves_its_next_build(tmp_path: Path, source: ContentStore) -> None:
    tokens = TokenServer(source, user="bo:pw")

    async def main() -> None:
        with tokens.script as server:
            async with ends(tmp_path) as both:
                mine = config(server.address, tmp_path / "mine")
                async with both.client(mine) as (store, asked):
                    await pulls(store, server.address, times=2)
                    assert asked == {"GetTokenAuthority": 1, "VerifyTokenAuthority": 1, "FetchToken": 1}
                # The same user's next build, in a process of its own.
                async with both.client(config(server.address, tmp_path / "mine")) as (store, asked):
                    await pulls(store, server.address)
                    assert asked == {"GetTokenAuthority": 1, "VerifyTokenAuthority": 1}
                    # One that is refused is not used again, nor asked of the password's owner twice.
                    tokens.valid.clear()
                    await pulls(store, server.address)
                    assert (asked["FetchToken"], asked["Credentials"], tokens.given) == (1, 0, 2)
                # Somebody else's build gets nothing of it.
                async with both.client(config(server.address, tmp_path / "other", "wrong")) as (store, asked):
                    with pytest.raises(DockcError, match="user 'bo' refused"):
                        await pulls(store, server.address)
                    assert asked["FetchToken"] == 1

    asyncio.run(main())


def test_a_client_that_does_not_want_to_gives_credentials(tmp_path: Path, source: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDKIT_NO_CLIENT_TOKEN", "1")
    tokens = TokenServer(source, user="bo:pw")

    async def main() -> None:
        with tokens.script as server:
            async with ends(tmp_path) as both, both.client(config(server.address, tmp_path)) as (store, asked):
                await pulls(store, server.address)
                assert asked == {"GetTokenAuthority": 1, "Credentials": 1}

    asyncio.run(main())


def test_a_key_that_is_not_proved_opens_nobody_elses_tokens(tmp_path: Path, source: ContentStore) -> None:
    """A client that shows the key of another one."""
    tokens = TokenServer(source, user="bo:pw")

    async def main() -> None:
        with tokens.script as server:
            owner = Authority(config(server.address, tmp_path / "mine"))

            async def key(request: session_pb2.GetTokenAuthorityRequest, _: Call) -> session_pb2.GetTokenAuthorityResponse:
                return session_pb2.GetTokenAuthorityResponse(PublicKey=owner.public_key(request.Host, request.Salt))

            async def proof(request: session_pb2.VerifyTokenAuthorityRequest, _: Call) -> session_pb2.VerifyTokenAuthorityResponse:
                return session_pb2.VerifyTokenAuthorityResponse(Signed=ed25519.sign(bytes(32), request.Payload) + request.Payload)

            async def none(request: session_pb2.FetchTokenRequest, _: Call) -> session_pb2.FetchTokenResponse:
                raise RpcError("no token", code=UNAVAILABLE)

            thief: dict[str, Handler] = {
                "GetTokenAuthority": unary(session_pb2.GetTokenAuthorityRequest, key),
                "VerifyTokenAuthority": unary(session_pb2.VerifyTokenAuthorityRequest, proof),
                "FetchToken": unary(session_pb2.FetchTokenRequest, none),
            }
            async with ends(tmp_path) as both:
                async with both.client(config(server.address, tmp_path / "mine")) as (store, _):
                    await pulls(store, server.address)
                async with both.client(DockerConfig(), **thief) as (store, asked):
                    with pytest.raises(DockcError, match="no token"):
                        await pulls(store, server.address)
                    assert asked["FetchToken"] == 1

    asyncio.run(main())


@pytest.mark.parametrize("given", ["", "two\nlines", "é", "x" * (2 << 20)])
def test_what_is_no_token_is_refused(tmp_path: Path, given: str) -> None:
    async def bad(request: session_pb2.FetchTokenRequest, _: Call) -> session_pb2.FetchTokenResponse:
        return session_pb2.FetchTokenResponse(Token=given)

    async def main() -> None:
        handlers: dict[str, Handler] = {"FetchToken": unary(session_pb2.FetchTokenRequest, bad)}
        async with ends(tmp_path) as both, both.client(DockerConfig(), **handlers) as (store, _):
            with pytest.raises(DockcError, match="no token"):
                await asyncio.to_thread(store.token, TokenWish("r.example", "https://r.example/t"))

    asyncio.run(main())


def test_keys_are_of_one_user_registry_and_daemon(tmp_path: Path) -> None:
    held = DockerConfig({name: Credentials("bo", "pw") for name in ("a", "b")}, folder=tmp_path / "docker")
    mine = Authority(held, {})
    key = mine.public_key("a", b"salt")
    assert Authority(held, {}).public_key("a", b"salt") == key
    assert len({key, mine.public_key("b", b"salt"), mine.public_key("a", b"other"), Authority(DockerConfig(WHO), {}).public_key("a", b"salt")}) == 4
    # Where nobody has credentials, everybody has the same key, and nothing is written.
    assert mine.public_key("c", b"salt") == Authority(DockerConfig(), {}).public_key("c", b"salt")
    table = json.loads((tmp_path / "docker" / ".token_seed").read_text())
    assert sorted(table) == ["a", "b"]
    assert (tmp_path / "docker" / ".token_seed").stat().st_mode & 0o777 == 0o600
    # What is broken is as good as nothing; what others have put there is used as it is.
    (tmp_path / "docker" / ".token_seed").write_text("{")
    assert Authority(held, {}).public_key("a", b"salt") != key
    (tmp_path / "docker" / ".token_seed").write_text(json.dumps(table))
    assert Authority(held, {}).public_key("a", b"salt") == key


def test_no_more_tokens_are_kept_than_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    from dockc.daemon import authority
    from dockc.runtime.session.auth import Token

    monkeypatch.setattr(authority, "_MOST", 3)
    tokens, owner = Tokens(), authority._Owner("a", bytes(32))
    wishes = [TokenWish("a", f"https://a/{number}") for number in range(6)]
    tokens.put(owner, wishes[0], Token("short", 1))
    assert tokens.get(owner, wishes[0]) is None  # it would end while it is used
    for wish in wishes:
        tokens.put(owner, wish, Token(wish.realm, 100))
    assert [tokens.get(owner, wish) is not None for wish in wishes] == [False, False, False, True, True, True]
    monkeypatch.setattr(authority, "_MOST_BYTES", 100)
    for size, left in ((40, [True, True, True]), (90, [False, False, True]), (30, [False, False, True])):
        tokens.put(owner, wishes[5], Token("x" * size, 100))
        assert [tokens.get(owner, wish) is not None for wish in wishes[3:]] == left
