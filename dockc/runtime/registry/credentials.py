"""Who we are to a registry: Docker's `config.json`, credential stores and helpers.

The file is `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`. A credential helper is a program
`docker-credential-NAME` that reads a server's name and prints JSON. Source: Docker's documentation of
"credential stores" and the helper protocol.
"""

from __future__ import annotations

import base64
import binascii
import os
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from dockc.base import children
from dockc.base.files import docker_folder, read_regular
from dockc.base.pattern import pattern
from dockc.errors import RegistryError
from dockc.oci.fields import Fields, InvalidDocument, decode
from dockc.runtime.session.auth import ANONYMOUS, Credentials, Token, TokenWish

HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset(("docker.io", "index.docker.io", "registry-1.docker.io"))
_HELPER_NAME = pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_SECONDS = 30
_FILE_LIMIT = 4 << 20


class DockerConfig:
    """The credentials side of Docker's configuration file.

    Attributes:
        folder: where the file is or would be; None for a configuration out of no file.

    Mutable state: answers of helper programs by registry, under `_lock` (a helper may ask the user).
    """

    def __init__(
        self,
        auths: Mapping[str, Credentials] | None = None,
        *,
        store: str = "",
        helpers: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.folder = folder
        self._auths = dict(auths or {})
        self._store = store
        self._helpers = dict(helpers or {})
        self._known: dict[str, Credentials] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> DockerConfig:
        """Read the user's file; a missing file is an empty configuration.

        Raises:
            RegistryError: the file is there and cannot be read or understood.
        """
        env = os.environ if environ is None else environ
        path = Path(docker_folder(env), "config.json")
        try:
            data = read_regular(path, _FILE_LIMIT)
        except (FileNotFoundError, NotADirectoryError):
            return cls(folder=path.parent)
        except OSError as error:
            raise RegistryError(f"{path}: {error.strerror}") from error
        try:
            return cls.parse(data, path.parent)
        except InvalidDocument as error:
            raise RegistryError(f"{path}: {error.message}") from None

    @classmethod
    def parse(cls, data: bytes, folder: Path | None = None) -> DockerConfig:
        """Read the content of a `config.json`; `InvalidDocument` when it is not one."""
        fields = decode(data or b"{}", "config")
        table = fields.object("auths")
        auths = {name: _entry(table.object(name)) for name in table.raw}
        return cls(auths, store=fields.text("credsStore"), helpers=fields.text_map("credHelpers"), folder=folder)

    def credentials(self, name: str) -> Credentials:
        """Credentials for a registry name (`docker.io`, `localhost:5000`); `ANONYMOUS` when there are none.

        Raises:
            RegistryError: a configured helper is missing or fails.
        """
        with self._lock:
            known = self._known.get(name)
            if known is None:
                known = self._known[name] = self._look_up(name)
            return known

    def token(self, wish: TokenWish, cancelled: threading.Event | None = None) -> Token | None:
        """None: these are the user's credentials, and whoever has them may use them."""
        return None

    def _look_up(self, name: str) -> Credentials:
        server = HUB_KEY if name in _HUB_NAMES else name
        helper = self._helpers.get(server) or self._helpers.get(name) or self._store
        if helper:
            found = _ask_helper(helper, server)
            if found:
                return found
        exact = self._auths.get(server)
        if exact is not None:
            return exact
        for key, value in self._auths.items():
            if _host_of(key) == _host_of(server):
                return value
        return ANONYMOUS


def _host_of(key: str) -> str:
    """Old files have whole URLs as keys: keep the host."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]


def _entry(fields: Fields) -> Credentials:
    username, password = fields.text("username"), fields.text("password")
    packed = fields.text("auth")
    if packed:
        try:
            text = base64.b64decode(packed, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise InvalidDocument(f"{fields.where}: auth: not valid base64") from None
        username, colon, password = text.partition(":")
        if not colon:
            raise InvalidDocument(f"{fields.where}: auth: expected user:password")
        password = password.rstrip("\0")
    return Credentials(username, password, fields.text("identitytoken"), fields.text("registrytoken"))


def _ask_helper(helper: str, server: str) -> Credentials:
    """Run `docker-credential-HELPER get`; `ANONYMOUS` when it knows nothing about the server."""
    if _HELPER_NAME.fullmatch(helper) is None:
        raise RegistryError(f"credential helper {helper!r}: not a program name")
    program = f"docker-credential-{helper}"
    try:
        run = children.run([program, "get"], data=server.encode(), timeout=_HELPER_SECONDS)
    except FileNotFoundError:
        raise RegistryError(
            f"credential helper {program}: not found in PATH",
            hint="install it, or remove it from credsStore and credHelpers in Docker's config.json",
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RegistryError(f"credential helper {program}: {error}") from None
    if run.returncode != 0:
        said = (run.stdout + run.stderr).decode("utf-8", "replace").strip()
        if "credentials not found" in said or "no credentials server URL" in said:
            return ANONYMOUS
        raise RegistryError(f"credential helper {program} failed: {said[:500] or run.returncode}")
    try:
        fields = decode(run.stdout, "answer")
        username, secret = fields.text("Username"), fields.text("Secret")
    except InvalidDocument as error:
        raise RegistryError(f"credential helper {program}: {error.message}") from None
    if username == "<token>":
        return Credentials(identity_token=secret)
    return Credentials(username, secret)
