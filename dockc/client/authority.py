"""Tokens of registries that are got here, so that a password need not leave this machine (service Auth of a session).

The builder tells which token a registry has asked for; the token server is asked from here, and the builder is given
the token alone. So that a builder may use one user's token in all of that user's builds and in nobody else's, every
client has a key per registry, which it shows and proves to have; it is made of a number that stays in the user's
configuration and of the builder's own, so that no builder learns what works with another. Without credentials it is the
same for everybody: nobody's token is everybody's. Source: BuildKit, session/auth.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
import os
import secrets
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base import ed25519, jsontext
from dockc.base.alone import alone
from dockc.base.files import read_regular
from dockc.base.record import replace
from dockc.errors import UsageError
from dockc.rpc.status import UNAVAILABLE, RpcError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dockc.runtime.registry.credentials import DockerConfig
    from dockc.runtime.registry.trust import Trust
    from dockc.runtime.session.auth import Token, TokenWish

_SEEDS = ".token_seed"
_SEED_BYTES = 16
_LIMIT = 1 << 20
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})


def registry_name(host: str) -> str:
    """What references call the registry at an address that a builder names."""
    return "docker.io" if host == "registry-1.docker.io" else host


def trusts(texts: Sequence[str]) -> dict[str, Trust]:
    """Certificates for token servers, in buildctl's words: `host=NAME,ca=FILE,cert=FILE,key=FILE,insecure=BOOL`; what is
    said several times of one registry adds up.

    Raises:
        UsageError: what cannot be understood, or is not enough.
    """
    from dockc.runtime.registry.trust import Trust

    what = "--registry-auth-tlscontext"
    found: dict[str, Trust] = {}
    for text in texts:
        said: dict[str, str] = {}
        for field in next(csv.reader([text]), []):
            key, equals, value = field.partition("=")
            if not equals:
                raise UsageError(f"invalid {what}: invalid value {field}")
            if key.lower() not in {"host", "ca", "cert", "key", "insecure"}:
                raise UsageError(f"invalid {what}: unknown field {key}")
            said[key.lower()] = value
        host, ca, cert, key = (said.get(name, "") for name in ("host", "ca", "cert", "key"))
        insecure = said.get("insecure", "") in _TRUE
        if not host:
            raise UsageError(f"{what} requires host=<host>")
        if not (ca or insecure or (cert and key)):
            raise UsageError(f"{what} requires ca=<ca> or cert=<cert>,key=<key> or insecure=true")
        if bool(cert) != bool(key):
            raise UsageError(f"{what} requires cert=<cert>,key=<key>")
        for path in filter(None, (ca, cert, key)):
            if not os.access(path, os.R_OK):
                raise UsageError(f"{what}: cannot read {path}")
        name = registry_name(host.partition("://")[2] or host)
        known = found.get(name, Trust())
        found[name] = Trust(
            verify=known.verify and not insecure,
            ca_files=(*known.ca_files, *((ca,) if ca else ())),
            pairs=(*known.pairs, *(((cert, key),) if cert else ())),
        )
    return found


class Authority:
    """Gets tokens with a user's credentials, and proves to be that user. Blocks; safe between threads."""

    def __init__(
        self,
        config: DockerConfig,
        environ: Mapping[str, str] | None = None,
        trusts: Mapping[str, Trust] | None = None,
    ) -> None:
        """No I/O.

        Args:
            config: the user's credentials.
            trusts: certificates for the token servers of registries, by the registry's name, beside those of the settings.
            environ: where `BUILDKIT_NO_CLIENT_TOKEN` is looked for; None for the process's own.
        """
        self._config, self._trusts = config, trusts or {}
        self._environ = os.environ if environ is None else environ
        self._made: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def fetch(self, wish: TokenWish) -> Token:
        """The token that a registry has asked for.

        Raises:
            DockcError: the token server refuses, or must not be told the credentials.
        """
        from dockc.engine import settings
        from dockc.runtime.registry.auth import fetch_token
        from dockc.runtime.registry.hosts import HostsConfig
        from dockc.runtime.registry.transport import Transport
        from dockc.runtime.session.auth import Token

        who = self._config.credentials(wish.name)
        if who.registry_token:
            return Token(who.registry_token)
        host = HostsConfig.from_mapping(settings.registries()).origin(wish.name)[0]
        if (trust := self._trusts.get(wish.name)) is not None:
            host = replace(host, trust=replace(trust, ca_files=(*host.trust.ca_files, *trust.ca_files)))
        with closing(Transport()) as transport:
            return fetch_token(transport, host, wish, who)

    def public_key(self, name: str, salt: bytes) -> bytes:
        """The key that tells a builder which builds may share tokens of a registry; the builder's salt goes into it.

        Raises:
            RpcError: the user wants the builder to get its tokens itself.
        """
        return ed25519.public_key(self._key(name, salt))

    def sign(self, name: str, salt: bytes, payload: bytes) -> bytes:
        """The signature and what was signed, by the key that belongs to `public_key`.

        Raises:
            RpcError: as there.
        """
        return ed25519.sign(self._key(name, salt), payload) + payload

    def _key(self, name: str, salt: bytes) -> bytes:
        if self._environ.get("BUILDKIT_NO_CLIENT_TOKEN", "") in _TRUE:
            raise RpcError("client side tokens disabled", code=UNAVAILABLE)
        who = self._config.credentials(name)
        secret = who.identity_token or who.password
        return hmac.digest(salt, self._seed(name) if secret else b"", hashlib.sha256)

    def _seed(self, name: str) -> bytes:
        """This user's own number for a registry; a new one where none can be kept."""
        with self._lock:
            if name not in self._made:
                folder = self._config.folder
                self._made[name] = secrets.token_bytes(_SEED_BYTES) if folder is None else _kept(folder, name)
            return self._made[name]


def _kept(folder: Path, name: str) -> bytes:
    """The number in the file of the user's configuration, put there if it is not."""
    from base64 import b64encode

    with alone(folder / f"{_SEEDS}.lock"):
        known = dict(_read(folder))
        if name in known:
            return known[name]
        fresh = known[name] = secrets.token_bytes(_SEED_BYTES)
        text = json.dumps({key: {"Seed": b64encode(value).decode()} for key, value in known.items()}, indent=2)
        temporary = folder / f"{_SEEDS}.{secrets.token_hex(8)}"
        with suppress(OSError):  # a configuration that is only to be read: the number holds as long as this process
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            temporary.replace(folder / _SEEDS)
        return fresh


def _read(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The numbers in the file; what is no number is nothing."""
    from base64 import b64decode

    try:
        table = jsontext.parsed(read_regular(folder / _SEEDS, _LIMIT))
        for name, entry in table.items():
            yield str(name), b64decode(entry["Seed"], validate=True)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return
