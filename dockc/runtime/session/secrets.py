"""Secrets and SSH agents: what a build lends to its steps, and never stores.

A build lends a `SecretStore` under `SECRETS` and `SshAgents` under `SSH` (see `solver.lent`); the exec
operation asks for them by id while a step runs. The text forms are those of `--secret` and `--ssh`.
"""

from __future__ import annotations

import csv
import os
import stat
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dockc.base.files import is_given, open_regular
from dockc.base.record import Record, made
from dockc.errors import DockcError, UsageError
from dockc.golang.text import quote
from dockc.solver.lent import Key, Lender

if TYPE_CHECKING:
    from typing import BinaryIO

_KEY_LIMIT = 100 * 1024
MAX_SECRET_SIZE = 500 * 1024
DEFAULT_SSH_ID = "default"


class SecretStore(Protocol):
    """Gives secrets by id."""

    def get(self, secret_id: str) -> bytes | None:
        """The secret, or None if there is none of this id.

        Raises:
            DockcError: it exists and cannot be read.
        """
        ...


class SshAgents(Protocol):
    """Knows what to forward under an id; false if nothing is forwarded at all."""

    def __bool__(self) -> bool: ...

    def find(self, ssh_id: str) -> SshSource | None:
        """What is forwarded under this id, or None."""
        ...


#: What the user allowed beyond the sandbox (`network.host`, `security.insecure`).
ENTITLEMENTS: Key[frozenset[str]] = Key("entitlements")
SECRETS: Key[SecretStore] = Key("secrets")
SSH: Key[SshAgents] = Key("ssh")


class LentSecrets:
    """The secrets of all builds that wait for one step: the first that has one gives it."""

    def __init__(self, ctx: Lender) -> None:
        self._ctx = ctx

    def get(self, secret_id: str) -> bytes | None:
        """See `SecretStore.get`."""
        return SECRETS.ask(self._ctx, lambda store: store.get(secret_id))


class LentAgents:
    """The SSH agents of all builds that wait for one step."""

    def __init__(self, ctx: Lender) -> None:
        self._ctx = ctx

    def __bool__(self) -> bool:
        """Whether anything is forwarded at all."""
        found = self._ctx.lent(SSH)
        return any(found)

    def find(self, ssh_id: str) -> SshSource | None:
        """See `SshAgents.find`."""
        return SSH.ask(self._ctx, lambda agents: agents.find(ssh_id))


class SshSource(Record):
    """Where signatures come from.

    Attributes:
        socket: an agent's socket, or None.
        keys: private key files, for an agent of our own.
        raw: pass all bytes to the socket; else only listing and signing are let through.
        piped: keys that came through a pipe, which can be read once, by their paths.
    """

    socket: Path | None = None
    keys: tuple[Path, ...] = ()
    raw: bool = False
    piped: Mapping[Path, bytes] = made(dict)


class SecretFile(Record):
    """A secret by its source: a file or an environment variable of the client."""

    id: str
    path: str = ""
    env: str = ""


_PIPES = "A pipe of the shell can be given, as in src=<(command), and /dev/stdin."


def _can_be_read(path: str, mode: int) -> bool:
    """Whether a secret or key at a path keeps nobody waiting: a file, what a shell hands over, or nothing at all."""
    return stat.S_ISREG(mode) or is_given(path) or os.path.realpath(path) == os.devnull


def _opened(path: str) -> BinaryIO:
    return open(path, "rb") if os.path.realpath(path) == os.devnull else open_regular(path)  # noqa: PTH123


def read_key(path: Path) -> bytes:
    """A private key, as much of it as a key can have.

    Raises:
        OSError: it cannot be read.
    """
    with _opened(str(path)) as stream:
        return stream.read(_KEY_LIMIT)


class ClientSecrets:
    """The secrets named on the command line."""

    def __init__(self, sources: Sequence[SecretFile], environ: Mapping[str, str] | None = None) -> None:
        """Check that every source is there.

        Raises:
            UsageError: no id, a missing file, a file of more than 500 KB.
        """
        self._environ = os.environ if environ is None else environ
        self._guard = threading.Lock()
        self._piped: dict[str, bytes] = {}  # by id: what came through a pipe, which can be read once
        self._sources: dict[str, SecretFile] = {}
        for source in sources:
            self._sources[source.id] = self._check(source)

    def _check(self, source: SecretFile) -> SecretFile:
        if not source.id:
            raise UsageError("secret missing ID")
        if not source.env and not source.path:
            in_env = source.id in self._environ
            source = SecretFile(source.id, "" if in_env else source.id, source.id if in_env else "")
        if source.path:
            try:
                found = Path(source.path).stat()
                size = found.st_size if stat.S_ISREG(found.st_mode) else 0
            except OSError as exc:
                reason = (exc.strerror or str(exc)).lower()
                raise UsageError(f"failed to stat {source.path}: stat {source.path}: {reason}") from exc
            if size > MAX_SECRET_SIZE:
                raise UsageError(f"secret {source.id} too big. max size 500KB")
            if not _can_be_read(source.path, found.st_mode):
                raise UsageError(f"secret {source.id}: {source.path} is not a regular file", hint=_PIPES)
        return source

    def get(self, secret_id: str) -> bytes | None:
        """See `SecretStore.get`."""
        source = self._sources.get(secret_id)
        if source is None:
            return None
        if source.env:
            return self._environ.get(source.env, "").encode("utf-8", "surrogateescape")
        with self._guard:
            if (kept := self._piped.get(secret_id)) is not None:
                return kept
            try:
                with _opened(source.path) as stream:
                    data = stream.read(MAX_SECRET_SIZE + 1)
                    piped = not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
            except OSError as exc:
                raise DockcError(f"open {source.path}: {(exc.strerror or str(exc)).lower()}") from exc
            if len(data) > MAX_SECRET_SIZE:
                raise DockcError(f"invalid secret size {len(data)}")
            if piped:
                self._piped[secret_id] = data
            return data


def parse_secret(text: str) -> SecretFile:
    """Read one `--secret` value: `id=ID[,src=FILE|,env=NAME][,type=file|env]`.

    Raises:
        UsageError: an unknown key or type.
    """
    secret_id = path = env = kind = ""
    for item in _csv_fields(text, "failed to parse csv secret"):
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"invalid field '{item}' must be a key=value pair")
        match key.lower():
            case "type":
                if value not in ("file", "env"):
                    raise UsageError(f"unsupported secret type {quote(value)}")
                kind = value
            case "id":
                secret_id = value
            case "source" | "src":
                path = value
            case "env":
                env = value
            case other:
                raise UsageError(f"unexpected key '{other}' in '{item}'")
    if kind == "env" and not env:
        path, env = "", path
    return SecretFile(secret_id, path, env)


def _csv_fields(text: str, what: str) -> list[str]:
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as exc:
        raise UsageError(f"{what}: {exc}") from exc
    return rows[0] if rows else []


class ClientSsh:
    """The agents and keys named by `--ssh`."""

    def __init__(self, texts: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        """Read `--ssh` values: `default` or `ID[=SOCKET|KEY[,KEY...]][,raw=true]`.

        Raises:
            UsageError: an id twice, no agent to be found, a path that is neither key nor socket.
        """
        self._environ = os.environ if environ is None else environ
        self._sources: dict[str, SshSource] = {}
        for text in texts:
            name, equals, rest = text.partition("=")
            ssh_id = name or DEFAULT_SSH_ID
            if ssh_id in self._sources:
                raise UsageError(f"duplicate agent ID {quote(ssh_id)}")
            self._sources[ssh_id] = self._source(ssh_id, rest.split(",") if equals else [])

    def __bool__(self) -> bool:
        """Whether anything is forwarded at all."""
        return bool(self._sources)

    def find(self, ssh_id: str) -> SshSource | None:
        """See `SshAgents.find`."""
        return self._sources.get(ssh_id)

    def _source(self, ssh_id: str, parts: list[str]) -> SshSource:
        raw = False
        paths: list[str] = []
        for part in parts:
            key, equals, value = part.partition("=")
            if equals and key == "raw":
                raw = _parse_bool(value)
            else:
                paths.append(part)
        if raw and len(paths) != 1:
            raise UsageError(f"raw mode must supply exactly one socket path for {quote(ssh_id)}")
        if paths in ([], [""]):
            paths = [self._environ.get("SSH_AUTH_SOCK", "")]
        if paths[0] == "":
            raise UsageError(
                "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set",
                hint="Start an agent (eval $(ssh-agent); ssh-add), or name a socket or a key: --ssh default=PATH",
            )
        socket: Path | None = None
        keys: list[Path] = []
        for path in map(Path, paths):
            if socket is not None:
                raise UsageError("only single socket allowed")
            try:
                mode = path.stat().st_mode
            except OSError as exc:
                raise UsageError(f"stat {path}: {(exc.strerror or str(exc)).lower()}") from exc
            if stat.S_ISSOCK(mode):
                socket = path
            elif raw:
                raise UsageError("raw mode only supported with socket paths")
            elif not _can_be_read(str(path), mode):
                raise UsageError(f"{path} is neither a key nor a socket", hint=_PIPES)
            else:
                keys.append(path)
        if socket is not None and keys:
            raise UsageError("invalid combination of keys and sockets")
        try:
            piped = {path: read_key(path) for path in keys if is_given(path) and not path.is_file()}
        except OSError as exc:
            raise UsageError(f"cannot read a key: {exc.filename}: {exc.strerror}") from exc
        return SshSource(socket, tuple(keys), raw, piped)


def _parse_bool(text: str) -> bool:
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise UsageError(f"invalid value for 'raw': {text}: strconv.ParseBool: parsing {quote(text)}: invalid syntax")
