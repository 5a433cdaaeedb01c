"""HTTP for registries and downloads: timeouts, retries, redirects that leak nothing, bounded answers.

Runs in worker threads; a cancelled build sets the `threading.Event` that every wait and every read looks at.
This module is the only one that knows urllib3, and loads it when something is asked: most builds ask nobody.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Protocol, cast
from urllib.parse import urljoin, urlsplit

from dockc.base.record import Record, replace
from dockc.base.version import VERSION
from dockc.errors import RegistryError
from dockc.runtime.cancel import Cancelled, check_cancelled
from dockc.runtime.registry.encoding import IDENTITY, decoded
from dockc.runtime.registry.patience import Watch, abandonable
from dockc.runtime.registry.trust import Trust

if TYPE_CHECKING:
    import socket
    import ssl

    import urllib3

USER_AGENT = f"dockc/{VERSION}"
CHUNK = 1 << 18
NOT_ASKED = "Ask online, or supply what is missing with --answers."
"""The hint where `--offline` keeps us from asking."""
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
RETRIABLE = frozenset((408, 429, 500, 502, 503, 504))
_HARMLESS_HEADERS = frozenset(
    (
        "accept", "accept-encoding", "content-encoding", "content-length", "content-md5", "content-range", "content-type",
        "if-modified-since", "if-none-match", "range", "user-agent", "x-ms-blob-type", "x-ms-range", "x-ms-version",
    )
)  # fmt: skip
"""What another host may see of a request that is redirected to it; of every other header it is not known whether it is secret."""


class Readable(Protocol):
    """A source of bytes to send."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; empty at the end."""
        ...


Body = bytes | Readable | None


class Limits(Record):
    """How patient the transport is.

    Attributes:
        connect: seconds to establish a connection.
        read: seconds between two bytes.
        window: seconds after which it is looked at how much of a body came in them.
        floor: bytes a second that must have come on the average; a body that trickles for ever ends there.
        document: seconds for a whole document (a manifest, a token), which is read at once.
        attempts: tries of one request, the first included.
        backoff: seconds before the second try; doubles each time.
        patience: longest wait that a server may ask for with Retry-After (seconds).
        redirects: hops to follow.
    """

    connect: float = 20.0
    read: float = 60.0
    window: float = 300.0
    floor: int = 1024
    document: float = 300.0
    attempts: int = 4
    backoff: float = 0.25
    patience: float = 20.0
    redirects: int = 10


class Unreachable(RegistryError):
    """No answer: name unknown, connection refused, timeout, TLS failure."""


class TooSlow(RegistryError):
    """A body that comes so slowly that it would never end; asking again would be no better."""


class Response:
    """An answer whose body is read by the caller; close it (or use `with`).

    Attributes:
        encoded: the body was sent in a content encoding, which is undone here: lengths and ranges of the answer's
            headers
            are those of other bytes than the caller reads.
    """

    __slots__ = (
        "_cancelled", "_decoded", "_got", "_inner", "_limits", "_since", "_started", "_unwatch", "encoded", "headers", "status", "url",
    )  # fmt: skip

    def __init__(
        self,
        inner: urllib3.BaseHTTPResponse,
        url: str,
        cancelled: threading.Event | None,
        watch: Watch | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._inner = inner
        self._limits = limits or Limits()
        self._started = self._since = time.monotonic()
        self._got = 0
        self._cancelled = cancelled
        self._unwatch: Callable[[], None] = lambda: None
        peer = _peer(inner)
        if watch is not None and cancelled is not None and peer is not None:
            self._unwatch = watch.add(peer, cancelled)
        self.status = inner.status
        self.url = url
        self.headers: Mapping[str, str] = inner.headers
        self._decoded = decoded(inner.headers.get("content-encoding", ""), self._sent)
        self.encoded = self._decoded is not None

    def header(self, name: str) -> str:
        """A header's value, "" when missing; several are joined by commas."""
        return self.headers.get(name, "")

    def header_list(self, name: str) -> list[str]:
        """Each line of a header."""
        return list(self._inner.headers.getlist(name))

    def read(self, size: int = CHUNK) -> bytes:
        """Next bytes of the body, as many as are there and at most `size`; empty at its end.

        Raises:
            Unreachable: the connection broke.
            TooSlow: the body comes too slowly.
            RegistryError: its content encoding is damaged.
            Cancelled: the build was cancelled.
        """
        if self._decoded is None:
            return self._sent(size)
        try:
            return self._decoded(size)
        except (Unreachable, TooSlow):
            raise
        except RegistryError as error:
            raise RegistryError(f"{_shown(self.url)}: {error.message}") from error

    def _sent(self, size: int) -> bytes:
        """Next bytes as they are sent."""
        from urllib3.exceptions import HTTPError

        check_cancelled(self._cancelled)
        try:
            # Not `read`: it waits until `size` bytes are there, however long that takes.
            data = self._inner.read1(size if size >= 0 else None, decode_content=False)
            check_cancelled(self._cancelled)  # the end may be that of the build
        except (HTTPError, OSError, ValueError) as error:
            check_cancelled(self._cancelled)
            raise Unreachable(f"{_shown(self.url)}: {_reason(error)}") from error
        self._got += len(data)
        took = time.monotonic() - self._since
        if data and took > self._limits.window:
            if self._got < took * self._limits.floor:
                raise TooSlow(f"{_shown(self.url)}: too slow: {self._got} bytes in {took:.0f} seconds")
            self._since, self._got = time.monotonic(), 0
        return data

    def read_all(self, limit: int) -> bytes:
        """The whole body; `RegistryError` when it is larger than `limit` bytes, or not there in time."""
        parts: list[bytes] = []
        total = 0
        while data := self.read(min(CHUNK, limit + 1 - total)):
            if time.monotonic() - self._started > self._limits.document:
                raise TooSlow(f"{_shown(self.url)}: too slow: {total} bytes in {self._limits.document:.0f} seconds")
            parts.append(data)
            total += len(data)
            if total > limit:
                raise RegistryError(f"{_shown(self.url)}: answer is larger than {limit} bytes")
        return b"".join(parts)

    def close(self) -> None:
        """Give the connection back, or drop it when the body was not read to its end."""
        self._unwatch()
        self._inner.close()
        self._inner.release_conn()

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Transport:
    """Sends requests; safe to share between threads.

    Mutable state: connection pools by TLS settings, under `_lock`.

    Attributes:
        uploads: files by the addresses that they answer for; the last part of each is a tag of the content.
        offline: nobody is asked: every other address is unreachable.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.uploads: Mapping[str, Path] = {}
        self.offline = False
        self._pools: dict[tuple[Trust, str], urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._watch = Watch()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        trust: Trust | None = None,
        cancelled: threading.Event | None = None,
        retry: bool | None = None,
    ) -> Response:
        """Send a request, follow redirects, and try again where that is safe.

        Args:
            method: HTTP verb.
            url: absolute http or https URL.
            headers: sent along; only those that hold no secret go to another host than the first.
            body: bytes, or a file; only bytes survive a redirect or a retry, and those of a POST stay with the first host.
            trust: which certificates count, and which are shown; None for the usual.
            cancelled: look here before waiting.
            retry: whether to try again after a failure; by default for GET and HEAD.

        Raises:
            Unreachable: no answer after all tries.
            RegistryError: a redirect that must not be followed, or too many.
        """
        if url in self.uploads:
            return _uploaded(method, url, self.uploads[url], cancelled)
        if self.offline:
            raise Unreachable(
                f"{_shown(url)}: not asked, because of --offline",
                hint=NOT_ASKED,
            )
        again = method in ("GET", "HEAD") if retry is None else retry
        attempts = self.limits.attempts if again and (body is None or isinstance(body, bytes)) else 1
        for attempt in range(1, attempts + 1):
            wait = self.limits.backoff * 2 ** (attempt - 1)
            try:
                response = self._follow(method, url, dict(headers or {}), body, trust or Trust(), cancelled)
            except Unreachable as error:
                if attempt >= min(attempts, _attempts_after(error.__cause__)):
                    raise
            else:
                if response.status not in RETRIABLE or attempt == attempts:
                    return response
                wait = max(wait, min(self.limits.patience, retry_after(response)))
                response.close()
            pause(wait, cancelled)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _follow(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: Body,
        trust: Trust,
        cancelled: threading.Event | None,
    ) -> Response:
        origin = _origin(url)
        for _ in range(self.limits.redirects + 1):
            response = self._send(method, url, headers, body, trust, cancelled)
            location = response.header("location")
            if response.status not in _REDIRECTS or not location:
                return response
            response.close()
            target = join(url, location)
            check_redirect(url, target)
            if body is not None and not isinstance(body, bytes):
                raise RegistryError(f"{_shown(url)}: redirect of an upload cannot be followed")
            if response.status == 303 and method != "HEAD":
                method, body = "GET", None
            if _origin(target) != origin:
                if method == "POST" and body:  # a form with a password or a token, as likely as not
                    raise RegistryError(f"{_shown(url)}: redirect of a POST to {_shown(target)} refused")
                headers = {k: v for k, v in headers.items() if k.lower() in _HARMLESS_HEADERS}
                trust = replace(trust, pairs=())
            url = target
        raise RegistryError(f"{_shown(url)}: more than {self.limits.redirects} redirects")

    def _send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: Body,
        trust: Trust,
        cancelled: threading.Event | None,
    ) -> Response:
        # Whole: a thread that asks for a part of a package first, while another one loads the package, waits for that
        # one, which waits for the part; Python then lets one of them fail.
        import urllib3

        from dockc.runtime.registry.connections import Heard

        check_cancelled(cancelled)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistryError(f"{_shown(url)}: not an http or https address")
        pool = self._pool(trust, _proxy_for(parts.scheme, parts.hostname))
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": IDENTITY, **headers}
        url, login = without_login(url)
        if login and not any(name.lower() == "authorization" for name in sent):
            sent["Authorization"] = login

        heard = Heard()

        def ask() -> urllib3.BaseHTTPResponse:
            with heard.noting():
                return pool.request(
                    method,
                    url,
                    headers=sent,
                    body=cast("bytes | IO[bytes] | None", body),
                    preload_content=False,
                    redirect=False,
                    retries=False,
                    timeout=urllib3.Timeout(connect=self.limits.connect, read=self.limits.read),
                )

        longest = self.limits.connect + self.limits.read + _length(body, sent) / self.limits.floor
        try:
            # From outside: a server may send its headers one byte at a time.
            inner = abandonable(ask, cancelled or threading.Event(), longest, lambda late: late.close(), end=heard.shut)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Unreachable(f"{_shown(url)}: {_reason(error)}") from error
        told = inner.headers.get("content-length", "0").strip()
        if method != "HEAD" and not (told.isascii() and told.isdecimal()):
            inner.close()  # nobody could say where the body ends: it would be waited for (RFC 9112, 6.3)
            raise Unreachable(f"{_shown(url)}: the length of the answer is no number: {printable(told[:40])}")
        return Response(inner, url, cancelled, self._watch, self.limits)

    def _pool(self, trust: Trust, proxy: str) -> urllib3.PoolManager:
        import urllib3

        from dockc.runtime.registry.connections import POOLS

        key = (trust, proxy)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                context = _tls(trust)
                if proxy:
                    pool = _proxy_pool(proxy, context)
                else:
                    pool = urllib3.PoolManager(num_pools=32, maxsize=16, ssl_context=context)
                pool.pool_classes_by_scheme = dict(POOLS)
                self._pools[key] = pool
            return pool

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()
            self._pools.clear()


def _uploaded(method: str, url: str, path: Path, cancelled: threading.Event | None) -> Response:
    """A file as the answer to a request."""
    import urllib3

    headers = {"ETag": f'"{url.rpartition("/")[2]}"'}
    try:
        body = path.open("rb") if method == "GET" else io.BytesIO()
    except OSError as error:
        raise Unreachable(f"{_shown(url)}: {_reason(error)}") from error
    return Response(urllib3.HTTPResponse(body, headers=headers, status=200, preload_content=False), url, cancelled)


def _peer(inner: urllib3.BaseHTTPResponse) -> socket.socket | None:
    """The socket that an answer is read from, where there is one."""
    raw = getattr(getattr(getattr(inner, "_fp", None), "fp", None), "raw", None)
    return getattr(raw, "_sock", None)


def _tls(trust: Trust) -> ssl.SSLContext:
    import ssl

    from dockc.base import tls
    from dockc.base.files import need_regular

    context = tls.context()
    for file in trust.ca_files:
        try:
            need_regular(file, tls.LIMIT)
            context.load_verify_locations(cafile=file)
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(f"{file}: cannot load certificates: {error}") from error
    for cert, key in trust.pairs:
        try:
            tls.show(context, cert, key)
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(f"{cert}: cannot load the certificate and its key: {error}") from error
    if not trust.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _proxy_for(scheme: str, host: str) -> str:
    """The proxy of the environment (`HTTPS_PROXY`, `NO_PROXY`, ...) for a host, or ""."""
    import urllib.request

    from dockc.runtime.registry.hosts import is_near

    proxies = urllib.request.getproxies_environment()
    address = proxies.get(scheme) or proxies.get("all") or ""
    if not address or is_near(f"[{host}]" if ":" in host else host) or urllib.request.proxy_bypass(host, proxies):
        return ""
    return address if "://" in address else f"http://{address}"


def _proxy_pool(proxy: str, context: ssl.SSLContext) -> urllib3.PoolManager:
    import urllib3

    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https"):
        raise RegistryError(f"proxy {_shown(proxy)}: only http and https proxies are supported")
    headers = None
    if parts.username:
        headers = urllib3.make_headers(proxy_basic_auth=f"{parts.username}:{parts.password or ''}")
    return urllib3.ProxyManager(proxy, proxy_headers=headers, maxsize=16, ssl_context=context)


def join(base: str, location: str) -> str:
    """Where a `Location` header leads; `RegistryError` when it is no address at all."""
    try:
        target = urljoin(base, location)
        _ = urlsplit(target).port
    except ValueError as error:
        raise RegistryError(f"{_shown(base)}: redirect to a broken address: {error}") from None
    return target


def check_redirect(source: str, target: str) -> None:
    """Refuse what is no web address, and a step from TLS down to plain HTTP."""
    before, after = urlsplit(source), urlsplit(target)
    if after.scheme not in ("http", "https") or not after.hostname:
        raise RegistryError(f"{_shown(source)}: redirect to {_shown(target)}, which is no web address")
    if before.scheme == "https" and after.scheme == "http":
        raise RegistryError(f"{_shown(source)}: redirect from https to http ({_shown(target)}) refused")


def without_login(url: str) -> tuple[str, str]:
    """A URL without its `user:password@`, and the header of basic authentication that says the same, or "" (RFC
    7617).
    """
    import base64
    from urllib.parse import unquote_to_bytes

    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, ""
    name, _, password = user.partition(":")
    pair = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    return parts._replace(netloc=host).geturl(), f"Basic {base64.b64encode(pair).decode()}" if user else ""


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _shown(url: str) -> str:
    """The URL for messages: no user, no query (both may hold secrets)."""
    parts = urlsplit(url)
    return printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def printable(text: str) -> str:
    """Text from outside as a message may show it: nothing that could steer a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _reason(error: Exception) -> str:
    """One short sentence for what went wrong on the wire."""
    import ssl

    from urllib3.exceptions import ConnectTimeoutError, IncompleteRead, NameResolutionError, NewConnectionError

    if isinstance(error, NameResolutionError):
        host = getattr(getattr(error, "conn", None), "host", "")
        return f"host name cannot be resolved (dial tcp: lookup {host}: no such host)"  # the words of Go's clients, too
    ended = next((one for one in (error, *error.args) if isinstance(one, IncompleteRead)), None)
    if ended is not None and ended.expected is not None:
        return f"unexpected end of the answer: {ended.partial} of {ended.partial + ended.expected} bytes"
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return "connection timed out"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return "timed out"
        if isinstance(cause, ssl.SSLError):
            said = getattr(cause, "verify_message", "") or cause.reason or str(cause)
            if "not yet valid" in said or "expired" in said:
                from datetime import UTC, datetime

                said = f"{said} (the clock of this machine says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC)"
            return f"TLS failure: {said}"
        if isinstance(cause, OSError) and cause.strerror:
            return os.strerror(cause.errno).lower() if cause.errno else cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _attempts_after(cause: BaseException | None) -> int:
    """How many tries make sense after a failure: a name or certificate stays wrong, a closed port mostly."""
    from urllib3.exceptions import NameResolutionError, NewConnectionError, SSLError

    if isinstance(cause, NameResolutionError | SSLError):
        return 1
    refused = isinstance(cause, NewConnectionError) and isinstance(cause.__cause__, ConnectionRefusedError)
    return 2 if refused else sys.maxsize


def retry_after(response: Response) -> float:
    """Seconds that a server asks to be left alone for, as a number or a date (RFC 9110, 10.2.3); 0 where it says nothing."""
    from email.utils import parsedate_to_datetime

    text = response.header("retry-after").strip()
    if text.isascii() and text.isdigit() and len(text) < 9:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _length(body: Body, headers: Mapping[str, str]) -> int:
    """Bytes of a body; as many as no upload takes where that is not known."""
    if body is None:
        return 0
    if isinstance(body, bytes):
        return len(body)
    told = next((value for name, value in headers.items() if name.lower() == "content-length"), "")
    return int(told) if told.isdecimal() else 1 << 40


def document(
    ask: Callable[[], Response], limit: int, cancelled: threading.Event | None = None
) -> tuple[Response, bytes]:
    """An answer with its whole body, asked for again where the connection breaks in the middle of it.

    Args:
        ask: sends the request, which must be one that can be repeated, and looks at the status.
        limit: bytes that it may have.
        cancelled: the build's cancel event.

    Raises:
        Unreachable: it broke each time.
        RegistryError: whatever `ask` and `Response.read_all` raise.
    """
    limits = Limits()
    for attempt in range(1, limits.attempts + 1):
        with ask() as answer:
            try:
                return answer, answer.read_all(limit)
            except Unreachable:
                if attempt == limits.attempts:
                    raise
        pause(limits.backoff * 2 ** (attempt - 1), cancelled)
    raise AssertionError("unreachable: the last attempt returns or raises")


def pause(seconds: float, cancelled: threading.Event | None) -> None:
    """Wait, but not longer than the build lives."""
    if (cancelled or threading.Event()).wait(seconds):
        raise Cancelled("cancelled")
