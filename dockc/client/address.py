"""Where a builder is, and the way there: sockets, TLS, or the standard streams of a command that knows the way."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from dockc.base.record import Record
from dockc.errors import DockcError, UsageError

if TYPE_CHECKING:
    import asyncio
    import ssl

    from dockc.rpc.calls import Channel

_NAME = re.compile(r"[-a-z0-9.]+")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_CONTAINERS = ("docker-container", "podman-container")
_QUERIES = {"docker-container": ("context",), "kube-pod": ("context", "namespace", "container")}
"""What may follow a name."""
_NOTHING_ELSE = ("tcp", *_CONTAINERS, "kube-pod")
"""Addresses that are a name, perhaps with a port and a query."""
_PATIENCE = 5.0
"""Seconds that a helper command may take to end by itself, and when it is told to."""
SCHEMES = ("unix", "tcp", "docker-container", "podman-container", "kube-pod", "ssh")


class Tls(Record):
    """Certificates.

    Attributes:
        ca, cert, key: PEM files; "" for none.
        server_name: the name that the builder's certificate is for, where the address has another.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""

    def __bool__(self) -> bool:
        return bool(self.ca or self.cert or self.key or self.server_name)

    @classmethod
    def of_directory(cls, folder: str, server_name: str = "") -> Tls:
        """The files of a directory: `ca.pem`, `cert.pem` and `key.pem`, or `ca.crt`, `tls.crt` and `tls.key`.

        Raises:
            UsageError: neither is there.
        """
        for names in (("ca.pem", "cert.pem", "key.pem"), ("ca.crt", "tls.crt", "tls.key")):
            paths = [str(Path(folder) / name) for name in names]
            if all(os.path.exists(path) for path in paths):  # noqa: PTH110
                return cls(paths[0], paths[1], paths[2], server_name)
        raise UsageError(
            f"no certificates in {folder}",
            hint="It needs ca.pem, cert.pem and key.pem, or ca.crt, tls.crt and tls.key.",
        )

    def context(self) -> ssl.SSLContext:
        """For the handshake.

        Raises:
            UsageError: a file cannot be read, or is no certificate.
        """
        import ssl

        from dockc.base import tls

        if bool(self.cert) != bool(self.key):
            raise UsageError("a client certificate needs its key, and a key its certificate")
        try:
            made = tls.context(ca=self.ca)
            if self.cert:
                tls.show(made, self.cert, self.key)
        except (OSError, ssl.SSLError) as exc:
            named = exc.filename or next(
                (one for one in (self.ca, self.cert, self.key) if one and not os.access(one, os.R_OK)),
                "the certificates",
            )
            raise UsageError(f"cannot load {named}: {getattr(exc, 'strerror', None) or exc}") from exc
        made.set_alpn_protocols(["h2"])
        return made


class Address(Record):
    """A place that has been read and found sound.

    Attributes:
        text: as it was typed.
        scheme: one of `SCHEMES`.
        path: of a socket.
        host, port: of TCP.
        command: the helper command.
    """

    text: str
    scheme: str
    path: str = ""
    host: str = ""
    port: int = 0
    command: tuple[str, ...] = ()


def parse(text: str) -> Address:
    """Read an address.

    Raises:
        UsageError: it is none, or of a kind that there is not.
    """
    scheme, separator, rest = text.partition("://")
    if not (text.isprintable() or scheme == "unix") or "\0" in text:  # what is left out of a URL would be another place
        raise UsageError(f"invalid address {text!r}: it has characters that cannot be seen")
    if not separator or scheme not in SCHEMES:
        raise UsageError(
            f"invalid address {text}", hint=f"An address begins with {', '.join(f'{one}://' for one in SCHEMES)}."
        )
    if scheme == "unix":
        if not rest:
            raise UsageError(f"invalid address {text}: no path")
        return Address(text, scheme, path=rest)
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as exc:
        raise UsageError(f"invalid address {text}: {exc}") from None
    host = url.hostname or ""
    if not host:
        raise UsageError(f"invalid address {text}: no host")
    if scheme in _NOTHING_ELSE and (url.username is not None or url.path not in {"", "/"} or url.fragment):
        raise UsageError(f"invalid address {_without_user(text)}: nothing may stand beside the name")
    if scheme == "tcp":
        return _tcp(text, unquote(host), port, url.query)
    # A container's name keeps its capitals, which a host of a URL loses.
    exact = unquote(url.netloc.rpartition("@")[2])
    exact = exact.rpartition(":")[0] if port is not None else exact.removesuffix(":")
    if exact.startswith("["):
        exact = exact[1:-1]
    if exact.startswith("-"):
        raise UsageError(f"invalid address {text}: a name cannot begin with a dash")
    if scheme != "ssh" and port is not None:
        raise UsageError(f"invalid address {text}: a {scheme} has no port")
    if scheme in _CONTAINERS and not _CONTAINER.fullmatch(exact):
        raise UsageError(f"invalid address {text}: {exact!r} is no name of a container")
    query = _query(text, scheme, url.query)
    command = _command(text, scheme, exact, port, query, url.username, url.password, url.path)
    if any("\0" in word for word in command):
        raise UsageError(f"invalid address {text}: no name has a zero byte")
    return Address(text, scheme, command=command)


def _tcp(text: str, host: str, port: int | None, query: str) -> Address:
    if query:
        raise UsageError(f"invalid address {text}: nothing may follow the port")
    if port is None:
        raise UsageError(f"invalid address {text}: no port", hint="For example tcp://builder.example:1234.")
    if "\0" in host:
        raise UsageError(f"invalid address {text}: no name has a zero byte")
    return Address(text, "tcp", host=host, port=port)


def _query(text: str, scheme: str, found: str) -> dict[str, str]:
    known = _QUERIES.get(scheme, ())
    query = {}
    for key, (first, *more) in parse_qs(found, keep_blank_values=True).items():
        if scheme != "ssh" and key not in known:
            hint = f"Known: {', '.join(known)}." if known else "Nothing may follow the name."
            raise UsageError(f"invalid address {text}: there is no {key!r} of a {scheme}", hint=hint)
        if more:
            raise UsageError(f"invalid address {text}: {key} is said more than once")
        query[key] = first
    return query


def _command(
    text: str,
    scheme: str,
    host: str,
    port: int | None,
    query: dict[str, str],
    user: str | None,
    password: str | None,
    path: str,
) -> tuple[str, ...]:
    dial = ("buildctl", "dial-stdio")
    match scheme:
        case "docker-container":
            context = (f"--context={query['context']}",) if query.get("context") else ()
            return ("docker", *context, "exec", "-i", host, *dial)
        case "podman-container":
            return ("podman", "exec", "-i", host, *dial)
        case "kube-pod":
            for what, name in (
                ("namespace", query.get("namespace", "")),
                ("pod", host),
                ("container", query.get("container", "")),
            ):
                if name and not _NAME.fullmatch(name):
                    raise UsageError(f"unsupported {what} name: {name!r}")
            flags = (f"--context={query.get('context', '')}", f"--namespace={query.get('namespace', '')}")
            return ("kubectl", *flags, "exec", f"--container={query.get('container', '')}", "-i", host, "--", *dial)
    if password is not None:
        raise UsageError(f"invalid address {scheme}://{host}: a password in plain text is not supported")
    user, path = unquote(user or ""), unquote(path)
    if user.startswith("-"):
        raise UsageError(f"invalid address {text}: a user cannot begin with a dash")
    if "?" in text or "#" in text:
        raise UsageError(f"invalid address {text}: nothing may follow the path")
    words = [
        "ssh",
        *(("-l", user) if user else ()),
        *(("-p", str(port)) if port is not None else ()),
        "--",
        host,
        "buildctl",
    ]
    # ssh hands the words to the shell of the other machine as one line.
    return (*words, *(("--addr", shlex.quote(f"unix://{path}")) if path.strip("/") else ()), "dial-stdio")


def _without_user(text: str) -> str:
    """An address without what may be a password."""
    scheme, _, rest = text.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


class Link:
    """An open way to a builder.

    Attributes:
        channel: what calls go over.
    """

    def __init__(self, channel: Channel, process: object = None) -> None:
        self.channel = channel
        self._process = process

    async def close(self) -> None:
        """Close it, and wait for a helper command to end; one that does not is ended."""
        import asyncio

        self.channel.shut()
        if isinstance(self._process, asyncio.subprocess.Process):
            await _until_ended(self._process)
        await asyncio.sleep(0)  # lets the transport close


async def _until_ended(process: asyncio.subprocess.Process) -> None:
    import asyncio
    from contextlib import suppress

    try:
        for end in (None, process.terminate, process.kill):
            if end is not None:
                with suppress(ProcessLookupError):
                    end()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _PATIENCE)
                return
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        raise


async def connect(address: Address, tls: Tls | None = None, *, limit: float = 20) -> Link:
    """Open the way.

    Raises:
        CannotConnect: nobody answers.
        UsageError: certificates for a way that has none.
    """
    from dockc.rpc import transports

    if tls and address.scheme != "tcp":
        raise UsageError(f"{address.text} has no TLS", hint="Certificates are for tcp:// addresses.")
    if address.scheme == "unix":
        return Link(await transports.connect_unix(address.path))
    if address.scheme == "tcp":
        context = tls.context() if tls else None
        name = tls.server_name if tls else ""
        return Link(
            await transports.connect_tcp(address.host, address.port, tls=context, server_name=name, limit=limit)
        )
    channel, process = await transports.connect_command(address.command)
    return Link(channel, process)


def relay(address: Address, tls: Tls | None = None, *, limit: float = 20) -> None:
    """`dial-stdio`: carry bytes between the standard streams and the builder, until both have ended.

    Raises:
        DockcError: nobody answers.
    """
    import socket
    import threading

    try:
        if address.scheme == "unix":
            link = socket.socket(socket.AF_UNIX)
            link.connect("\0" + address.path[1:] if address.path.startswith("@") else address.path)
        elif address.scheme == "tcp":
            link = socket.create_connection((address.host, address.port), limit)
            link.settimeout(None)
            if tls:
                link = tls.context().wrap_socket(link, server_hostname=tls.server_name or address.host)
        else:
            _relay_command(address.command)
            return
    except OSError as exc:
        raise DockcError(f"cannot connect to {address.text}: {getattr(exc, 'strerror', None) or exc}") from exc

    def up() -> None:
        try:
            while data := os.read(0, 65536):
                link.sendall(data)
            link.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    threading.Thread(target=up, daemon=True).start()
    try:
        while data := link.recv(65536):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except OSError as exc:
        raise DockcError(f"the connection to {address.text} broke: {exc.strerror}") from exc
    finally:
        link.close()


def _relay_command(command: tuple[str, ...]) -> None:
    """The helper command carries the bytes itself."""
    try:
        os.execvp(command[0], command)  # noqa: S606  the very program that the address names
    except OSError as exc:
        raise DockcError(f"cannot run {command[0]}: {exc.strerror}") from exc
