"""Credentials of registries, and whoever knows them: the user's own configuration, or a client at the other end of a
wire.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Protocol

from dockc.base.record import Record

if TYPE_CHECKING:
    import threading


class Credentials(Record):
    """What opens a registry; all empty means anonymous.

    Attributes:
        username: user name.
        password: password or access token.
        identity_token: refresh token for the OAuth2 flow; used instead of the password.
        registry_token: bearer token to send as it is.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    _unshown = ("password", "identity_token", "registry_token")

    def __bool__(self) -> bool:
        return bool(self.password or self.identity_token or self.registry_token)

    def basic(self) -> str:
        """Value of a basic `Authorization` header."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


ANONYMOUS = Credentials()


class TokenWish(Record):
    """A bearer token that a registry has asked for.

    Attributes:
        name: the registry, as credentials are looked up (`docker.io`, `localhost:5000`).
        realm: URL of the token server.
        service: what the token server calls the registry, or "".
        scopes: what the token shall be good for, `repository:library/debian:pull`.
        refused: a token that was given before and is no good, or "".
    """

    name: str
    realm: str
    service: str = ""
    scopes: tuple[str, ...] = ()
    refused: str = ""
    _unshown = ("refused",)


class Token(Record):
    """A bearer token.

    Attributes:
        value: what is sent.
        seconds: for how long it is good, from now on; 0 where the token server does not say.
    """

    value: str
    seconds: float = 0.0
    _unshown = ("value",)


class CredentialStore(Protocol):
    """Knows the credentials of registries."""

    def credentials(self, name: str) -> Credentials:
        """Credentials for a registry name (`docker.io`, `localhost:5000`); `ANONYMOUS` when there are none. Blocks.

        Raises:
            RegistryError: they cannot be found out.
        """
        ...

    def token(self, wish: TokenWish, cancelled: threading.Event | None = None) -> Token | None:
        """A token that the credentials' owner gets itself, so that they stay where they are; None where whoever asks is
        to get it with `credentials`. Blocks.

        Raises:
            DockcError: the owner was refused one.
        """
        ...
