"""Credentials of registries, and whoever knows them: the user's own configuration, or a client at the other end of a
wire.
"""

from __future__ import annotations

import base64
from typing import Protocol

from dockc.base.record import Record


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


class CredentialStore(Protocol):
    """Knows the credentials of registries."""

    def credentials(self, name: str) -> Credentials:
        """Credentials for a registry name (`docker.io`, `localhost:5000`); `ANONYMOUS` when there are none. Blocks.

        Raises:
            RegistryError: they cannot be found out.
        """
        ...
