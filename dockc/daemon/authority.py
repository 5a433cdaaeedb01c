"""Registries that a client opens: with tokens that it gets itself, or with credentials that it gives (service Auth).

A token serves all builds of whoever got it: clients that show the same key for a registry, and have proved that it is
theirs, share what one of them was given. See `client.authority` for the other end. Source: BuildKit, session/auth.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from typing import TYPE_CHECKING

from dockc.base import ed25519
from dockc.base.record import Record
from dockc.daemon.sessions import ANSWER
from dockc.errors import DockcError
from dockc.protocol.names import AUTH
from dockc.rpc.pb import session_pb2
from dockc.rpc.status import UNAVAILABLE, UNIMPLEMENTED, RpcError
from dockc.runtime.session.auth import ANONYMOUS, Credentials, Token

if TYPE_CHECKING:
    from dockc.daemon.sessions import Caller
    from dockc.runtime.session.auth import TokenWish

CREDENTIALS = AUTH + "Credentials"
FETCH_TOKEN = AUTH + "FetchToken"
GET_AUTHORITY = AUTH + "GetTokenAuthority"
VERIFY_AUTHORITY = AUTH + "VerifyTokenAuthority"

_HUB = frozenset({"docker.io", "index.docker.io"})
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_DEFAULT_SECONDS = 60
_EARLY = 10.0
_MOST, _MOST_BYTES = 10_000, 32 << 20
"""Tokens that are held, and bytes of all of them."""
_LONGEST = 1 << 20
"""Bytes of one."""


class _Owner(Record):
    """Whose tokens of a registry they are."""

    host: str
    key: bytes


class Tokens:
    """Tokens that clients were given, by whose they are. Safe between threads.

    Attributes:
        salt: goes into the keys of clients, so that they are good for this daemon, and until it ends.
    """

    def __init__(self) -> None:
        self.salt = secrets.token_bytes(32)
        self._held: dict[tuple[_Owner, str, str, tuple[str, ...]], tuple[str, float]] = {}
        self._size = 0
        self._lock = threading.Lock()

    def get(self, owner: _Owner, wish: TokenWish) -> Token | None:
        """One that is good for the wish for a while yet, and was not refused."""
        with self._lock:
            value, ends = self._held.get((owner, wish.realm, wish.service, wish.scopes), ("", 0.0))
        left = ends - time.monotonic()
        return Token(value, left) if value and value != wish.refused and left > _EARLY else None

    def put(self, owner: _Owner, wish: TokenWish, token: Token) -> None:
        """Keep one; where there are too many the oldest go."""
        key = (owner, wish.realm, wish.service, wish.scopes)
        with self._lock:
            self._size -= len(self._held.pop(key, ("", 0.0))[0])
            self._held[key] = (token.value, time.monotonic() + token.seconds)
            self._size += len(token.value)
            while len(self._held) > _MOST or self._size > _MOST_BYTES:
                self._size -= len(self._held.pop(next(iter(self._held)))[0])


class SessionCredentials:
    """`runtime.session.auth.CredentialStore`: the client's, each registry once."""

    def __init__(self, caller: Caller, tokens: Tokens) -> None:
        self._caller, self._tokens = caller, tokens
        self._known: dict[str, Credentials] = {}
        self._owners: dict[str, tuple[_Owner, bool] | None] = {}

    def credentials(self, name: str) -> Credentials:
        """See `CredentialStore`."""
        if not self._caller.serves(CREDENTIALS):
            return ANONYMOUS
        if name not in self._known:
            found = self._caller.wait(
                self._caller.unary(
                    CREDENTIALS,
                    session_pb2.CredentialsRequest(Host=_host(name)),
                    session_pb2.CredentialsResponse,
                    limit=ANSWER,
                )
            )
            if found.Username in {"", "<token>"} and found.Secret:
                self._known[name] = Credentials(identity_token=found.Secret)
            else:
                self._known[name] = Credentials(username=found.Username, password=found.Secret)
        return self._known[name]

    def token(self, wish: TokenWish, cancelled: threading.Event | None = None) -> Token | None:
        """See `CredentialStore`: None where the client gets no tokens.

        Raises:
            DockcError: the client was given none.
        """
        host = _host(wish.name)
        if host not in self._owners:
            self._owners[host] = self._caller.wait(self._introduce(host), cancelled)
        found = self._owners[host]
        if found is None:
            return None
        owner, proven = found
        known = self._tokens.get(owner, wish) if proven else None
        if known is not None:
            return known
        request = session_pb2.FetchTokenRequest(
            ClientID="dockc", Host=host, Realm=wish.realm, Service=wish.service, Scopes=wish.scopes
        )
        asking = self._caller.unary(FETCH_TOKEN, request, session_pb2.FetchTokenResponse, limit=ANSWER)
        answer = self._caller.wait(asking, cancelled)
        if not (answer.Token.isascii() and answer.Token.isprintable() and 0 < len(answer.Token) < _LONGEST):
            raise DockcError(f"{host}: what the client gave is no token")
        seconds = float(answer.ExpiresIn or _DEFAULT_SECONDS)
        if answer.IssuedAt:
            seconds -= max(0.0, time.time() - answer.IssuedAt)
        token = Token(answer.Token, seconds)
        if proven:
            self._tokens.put(owner, wish, token)
        return token

    async def _introduce(self, host: str) -> tuple[_Owner, bool] | None:
        """Whose tokens the client gets, and whether it has proved that; None where it gets none."""
        if not self._caller.serves(GET_AUTHORITY):
            return None
        salt = self._tokens.salt
        asked = session_pb2.GetTokenAuthorityRequest(Host=host, Salt=salt)
        try:
            told = await self._caller.unary(GET_AUTHORITY, asked, session_pb2.GetTokenAuthorityResponse, limit=ANSWER)
        except RpcError as exc:
            if exc.code in (UNIMPLEMENTED, UNAVAILABLE):  # a client that does not know it, or does not want to
                return None
            raise
        key = told.PublicKey
        if len(key) != _KEY_BYTES:
            raise DockcError(f"{host}: invalid pubkey length {len(key)}")
        payload = secrets.token_bytes(32)
        check = session_pb2.VerifyTokenAuthorityRequest(Host=host, Payload=payload, Salt=salt)
        try:
            said = await self._caller.unary(
                VERIFY_AUTHORITY, check, session_pb2.VerifyTokenAuthorityResponse, limit=ANSWER
            )
        except RpcError as exc:
            if exc.code not in (UNIMPLEMENTED, UNAVAILABLE):
                raise
            return _Owner(host, key), False
        return _Owner(host, key), _proves(key, said.Signed, payload)


def _host(name: str) -> str:
    """The address by which clients know a registry."""
    return "registry-1.docker.io" if name in _HUB else name


def _proves(key: bytes, signed: bytes, payload: bytes) -> bool:
    """Whether a key's owner has signed the payload, in the form of NaCl: the signature, then what was signed."""
    signature, said = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
    try:
        return hmac.compare_digest(said, payload) and ed25519.verify(key, signature, payload)
    except ValueError:
        return False
