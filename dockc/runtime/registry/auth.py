"""Authorization: answers registries' challenges with basic credentials or bearer tokens.

The token flow: the registry names a token server (realm), a service and a scope; the token server is asked
with the user's credentials, or anonymously, and its token is sent with the request. Source: the distribution
project's "Token Authentication Specification" and "OAuth2" pages.
"""

from __future__ import annotations

import threading
import time
from urllib.parse import urlencode, urlsplit

from dockc.base.record import Record
from dockc.errors import RegistryError
from dockc.oci.fields import InvalidDocument, decode
from dockc.runtime.registry import challenge as challenges
from dockc.runtime.registry.challenge import Challenge
from dockc.runtime.registry.hosts import Host, is_loopback
from dockc.runtime.registry.transport import Response, Transport, join
from dockc.runtime.registry.words import words_of
from dockc.runtime.session.auth import ANONYMOUS, Credentials, CredentialStore, Token, TokenWish

ANSWER_LIMIT = 1 << 20
_SHORTEST_LIFE = 60.0
_EARLY = 10.0
"""Tokens are renewed this many seconds before their end."""


class _Held(Record):
    value: str
    ends: float
    _unshown = ("value",)


class Authorizer:
    """Knows, per host, how to get in; shared by all requests of a build.

    Mutable state under `_lock`: the last challenge of each host, tokens by (realm, service, scopes), the last token that
    a host refused.
    One token server is asked by one thread at a time, so twenty layers cost one token.
    """

    def __init__(self, transport: Transport, config: CredentialStore | None = None) -> None:
        self._transport = transport
        self._config = config
        self._challenges: dict[str, Challenge] = {}
        self._tokens: dict[tuple[str, str, str, str], _Held] = {}
        self._refused: dict[str, str] = {}
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    def header(self, host: Host, scope: str, cancelled: threading.Event | None = None) -> str:
        """The `Authorization` header to send to a host; "" before it has asked for one.

        Args:
            host: where the request goes.
            scope: what it is about, `repository:library/debian:pull`; several separated by spaces.
            cancelled: the build's cancel event.

        Raises:
            RegistryError: the token server refuses or cannot be reached.
        """
        with self._lock:
            wanted = self._challenges.get(host.base)
        if wanted is None:
            return ""
        if wanted.scheme == "basic":
            who = self._credentials(host)
            return who.basic() if who.password else ""
        return f"Bearer {self._token(host, wanted, scope, cancelled)}"

    def learn(self, host: Host, response: Response, scope: str, *, sent: str) -> bool:
        """Take in a 401 answer; True when another try has a chance.

        Args:
            host: who answered.
            response: the answer.
            scope: what the request was about.
            sent: the `Authorization` header that was refused, or "".
        """
        offered = challenges.parse(response.header_list("www-authenticate"))
        chosen = next((c for c in offered if c.scheme == "bearer" and c.params.get("realm")), None)
        if chosen is None:
            chosen = next((c for c in offered if c.scheme == "basic"), None)
        if chosen is None:
            return False
        if chosen.scheme == "basic" and (sent.startswith("Basic ") or not self._credentials(host).password):
            return False
        with self._lock:
            self._challenges[host.base] = chosen
            if sent.startswith("Bearer "):
                refused = self._refused[host.base] = sent.removeprefix("Bearer ")
                known = [key for key, token in self._tokens.items() if token.value == refused]
                for key in known:
                    del self._tokens[key]
        return chosen.params.get("error") != "insufficient_scope" or not sent

    def _credentials(self, host: Host) -> Credentials:
        if self._config is None:
            return ANONYMOUS
        return self._config.credentials(host.name or host.address)

    def _token(self, host: Host, wanted: Challenge, scope: str, cancelled: threading.Event | None) -> str:
        realm, service = wanted.params["realm"], wanted.params.get("service", "")
        scope = scope or wanted.params.get("scope", "")
        # The host belongs to the key: one that names another's realm and service must not be given that one's token.
        key = (host.base, realm, service, scope)
        with self._asking:
            with self._lock:
                known = self._tokens.get(key)
                refused = self._refused.get(host.base, "")
            if known is not None and known.ends > time.monotonic():
                return known.value
            wish = TokenWish(host.name or host.address, realm, service, tuple(scope.split()), refused)
            fresh = None if self._config is None else self._config.token(wish, cancelled)
            if fresh is None:
                who = self._credentials(host)
                if who.registry_token:
                    return who.registry_token
                fresh = fetch_token(self._transport, host, wish, who, cancelled)
            with self._lock:
                self._tokens[key] = _Held(fresh.value, time.monotonic() + max(fresh.seconds, _SHORTEST_LIFE) - _EARLY)
            return fresh.value


def fetch_token(
    transport: Transport, host: Host, wish: TokenWish, who: Credentials, cancelled: threading.Event | None = None
) -> Token:
    """Ask a token server, with credentials or anonymously.

    Args:
        transport: what is spoken through.
        host: the registry that named the token server: its settings hold for that one, too.
        wish: what is asked for.
        who: as whom.
        cancelled: the build's cancel event.

    Raises:
        RegistryError: the token server refuses, cannot be reached, or is not to be spoken to.
    """
    realm = wish.realm
    parts = urlsplit(join(host.base, realm) if "://" in realm else "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RegistryError(f"{host.base}: token server {realm!r} is no web address")
    if parts.scheme == "http" and not is_loopback(parts.hostname) and host.scheme == "https":
        raise RegistryError(f"{host.base}: token server {realm!r} speaks plain http; refused")
    if who.identity_token:
        return _refresh(transport, host, wish, who, cancelled)
    query = [("scope", item) for item in wish.scopes]
    if wish.service:
        query.append(("service", wish.service))
    headers = {}
    if who.password:
        query.append(("account", who.username))
        headers["Authorization"] = who.basic()
    url = f"{realm}{'&' if parts.query else '?'}{urlencode(query)}" if query else realm
    with transport.request("GET", url, headers=headers, trust=host.trust, cancelled=cancelled) as response:
        return _read_token(realm, response, who)


def _refresh(
    transport: Transport, host: Host, wish: TokenWish, who: Credentials, cancelled: threading.Event | None
) -> Token:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": who.identity_token,
        "service": wish.service,
        "client_id": "dockc",
        "scope": " ".join(wish.scopes),
    }
    with transport.request(
        "POST",
        wish.realm,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=urlencode(form).encode(),
        trust=host.trust,
        cancelled=cancelled,
        retry=True,
    ) as response:
        return _read_token(wish.realm, response, who)


def _read_token(realm: str, response: Response, who: Credentials) -> Token:
    data = response.read_all(ANSWER_LIMIT)
    said = words_of(data) if response.status != 200 else ""
    said = f": {said}" if said else ""
    if response.status in (401, 403):
        subject = f"user {who.username!r}" if who.username else "anonymous access"
        raise RegistryError(f"token server {realm}: {subject} refused ({response.status}){said}")
    if response.status != 200:
        raise RegistryError(f"token server {realm}: unexpected status {response.status}{said}")
    try:
        fields = decode(data, "token answer")
        value = fields.text("token") or fields.text("access_token")
        seconds = fields.integer("expires_in")
    except InvalidDocument as error:
        raise RegistryError(f"token server {realm}: {error.message}") from None
    if not value or not value.isascii() or not value.isprintable():
        raise RegistryError(f"token server {realm}: answer holds no token")
    return Token(value, max(float(seconds), 0.0))
