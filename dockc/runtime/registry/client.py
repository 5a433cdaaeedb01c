"""The distribution API for one image name at a time: manifests, blobs, uploads.

Source: OCI distribution specification. Everything that comes with a digest is verified here or, for blobs,
by the content store that the bytes are written to.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlsplit

from dockc.base.record import Record
from dockc.errors import DigestMismatch, RegistryError
from dockc.oci import digest as digests
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import Descriptor
from dockc.oci.fields import InvalidDocument, decode
from dockc.oci.manifest import SIZE_LIMIT
from dockc.oci.reference import Reference
from dockc.runtime.registry.auth import Authorizer
from dockc.runtime.registry.hosts import Host, HostsConfig
from dockc.runtime.registry.transport import (
    RETRIABLE,
    Body,
    Limits,
    Response,
    Transport,
    Unreachable,
    check_redirect,
    document,
    join,
    retry_after,
)
from dockc.runtime.registry.words import server_words
from dockc.runtime.session.auth import CredentialStore

_ACCEPT = f"{mt.DOCKER_MANIFEST}, {mt.DOCKER_LIST}, {mt.OCI_MANIFEST}, {mt.OCI_INDEX}, */*"
_AUTH_ROUNDS = 3


class NotFound(RegistryError):
    """The registry has no such manifest or blob."""


class AccessDenied(RegistryError):
    """The registry wants credentials, or other ones."""


class Busy(RegistryError):
    """The registry asks to be asked again, after `wait` seconds at the least."""

    wait: float = 0.0


class Upload(Record):
    """An upload session.

    Attributes:
        host: who holds it.
        url: where to send the bytes.
    """

    host: Host
    url: str


class Client:
    """Speaks to registries; shared by a whole build, safe between threads."""

    def __init__(
        self,
        *,
        config: CredentialStore | None = None,
        hosts: HostsConfig | None = None,
        limits: Limits | None = None,
        insecure: bool = False,
    ) -> None:
        """Set up without any I/O.

        Args:
            config: credentials; None for anonymous.
            hosts: mirrors and exceptions by registry name.
            limits: timeouts and retries.
            insecure: accept any certificate and plain HTTP (an exporter's `registry.insecure=true`).
        """
        self.transport = Transport(limits)
        self._auth = Authorizer(self.transport, config)
        self._hosts = hosts or HostsConfig()
        self._insecure = insecure

    def close(self) -> None:
        """Close idle connections."""
        self.transport.close()

    # --- pull -----------------------------------------------------------------------------------------

    def resolve(self, ref: Reference, *, cancelled: threading.Event | None = None) -> Descriptor:
        """Ask what a name stands for now.

        Returns:
            Descriptor of a manifest or an index; its bytes are not fetched when the registry tells enough.

        Raises:
            NotFound, AccessDenied, Unreachable, RegistryError: as their names say.
        """
        ref = ref.tag_name_only()
        try:
            with self._pull("HEAD", ref, f"manifests/{ref.object}", cancelled, {"Accept": _ACCEPT}) as answer:
                found = _described(ref, answer)
        except (NotFound, Unreachable):
            raise
        except RegistryError:  # some registries refuse HEAD, and the words of a refusal come with GET alone
            found = None
        return found if found is not None else self.manifest(ref, cancelled=cancelled)[0]

    def manifest(self, ref: Reference, *, cancelled: threading.Event | None = None) -> tuple[Descriptor, bytes]:
        """Fetch the manifest or index that a name stands for.

        Returns:
            Its descriptor and its bytes; the bytes have the descriptor's digest.

        Raises:
            DigestMismatch: the registry sent other bytes than the reference, or the registry itself, says.
            NotFound, AccessDenied, Unreachable, RegistryError: as their names say.
        """
        ref = ref.tag_name_only()

        def ask() -> Response:
            return self._pull("GET", ref, f"manifests/{ref.object}", cancelled, {"Accept": _ACCEPT})

        answer, data = document(ask, SIZE_LIMIT, cancelled)
        media_type = _media_type(answer)
        claimed = ref.digest or answer.header("docker-content-digest")
        _whole(ref, answer, data)
        algorithm = digests.algorithm(claimed) if digests.is_valid(claimed) else digests.CANONICAL
        actual = digests.from_bytes(data, algorithm)
        if digests.is_valid(claimed) and claimed != actual:
            raise DigestMismatch(f"{ref}: unexpected manifest digest: expected {claimed}, got {actual}")
        return Descriptor(media_type or _inner_media_type(ref, data), actual, len(data)), data

    def open_blob(
        self,
        ref: Reference,
        descriptor: Descriptor,
        *,
        offset: int = 0,
        cancelled: threading.Event | None = None,
    ) -> Response:
        """Start to read a blob.

        Args:
            ref: an image in the repository that holds the blob.
            descriptor: which blob.
            offset: bytes that are already here. The answer may start at 0 all the same: status 200 says so.
            cancelled: the build's cancel event.

        Returns:
            The answer, status 200 or 206; its bytes are not verified.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        path = f"blobs/{descriptor.digest}"
        return self._pull("GET", ref, path, cancelled, headers, subject=descriptor.digest)

    # --- push -----------------------------------------------------------------------------------------

    def has_blob(self, ref: Reference, digest: str, *, cancelled: threading.Event | None = None) -> bool:
        """Whether the repository holds a blob."""
        return self._exists(ref, f"blobs/{digest}", cancelled)

    def has_manifest(self, ref: Reference, digest: str, *, cancelled: threading.Event | None = None) -> bool:
        """Whether the repository holds a manifest."""
        return self._exists(ref, f"manifests/{digest}", cancelled)

    def _exists(self, ref: Reference, path: str, cancelled: threading.Event | None) -> bool:
        try:
            with self._push("HEAD", ref, path, cancelled, headers={"Accept": _ACCEPT}):
                return True
        except (NotFound, AccessDenied):  # who may not look may write; if not, the answer to that has words
            return False

    def start_upload(
        self,
        ref: Reference,
        *,
        mount: str = "",
        source: str = "",
        cancelled: threading.Event | None = None,
    ) -> Upload | None:
        """Open an upload session, or take over a blob from another repository of the same registry.

        Args:
            ref: target image.
            mount: digest of the blob to take over, or "".
            source: repository to take it from.
            cancelled: the build's cancel event.

        Returns:
            None when the blob has been mounted and nothing is to be sent.
        """
        path, extra = "blobs/uploads/", ""
        if mount:
            path += f"?mount={quote(mount, safe=':')}&from={quote(source, safe='/')}"
            extra = f" repository:{source}:pull"
        host, answer = self._call("POST", ref, path, self._origin(ref), cancelled, extra_scope=extra, body=b"")
        with answer:
            if answer.status == 201 and mount:
                return None
            location = answer.header("location")
            if answer.status != 202 or not location:
                raise _failure(ref, answer)
        target = join(answer.url, location)
        check_redirect(answer.url, target)
        return Upload(host, target)

    def send(
        self,
        ref: Reference,
        upload: Upload,
        digest: str,
        size: int,
        body: Body,
        *,
        cancelled: threading.Event | None = None,
    ) -> None:
        """Send a whole blob into an upload session and close it."""
        with self._upload("PUT", ref, upload, body, size, digest=digest, cancelled=cancelled) as answer:
            if answer.status not in (201, 204):
                raise _failure(ref, answer)

    def send_chunk(
        self,
        ref: Reference,
        upload: Upload,
        data: bytes,
        offset: int,
        *,
        cancelled: threading.Event | None = None,
    ) -> Upload:
        """Send one part of a blob; returns where the next part goes."""
        headers = {"Content-Range": f"{offset}-{offset + len(data) - 1}"}
        with self._upload("PATCH", ref, upload, data, len(data), headers=headers, cancelled=cancelled) as answer:
            if answer.status not in (202, 204):
                raise _failure(ref, answer)
            return Upload(upload.host, join(answer.url, answer.header("location") or upload.url))

    def put_manifest(
        self,
        ref: Reference,
        data: bytes,
        media_type: str,
        name: str,
        *,
        cancelled: threading.Event | None = None,
    ) -> None:
        """Store a manifest or index under a tag or its digest."""
        path = f"manifests/{name}"
        headers = {"Content-Type": media_type}
        with self._push("PUT", ref, path, cancelled, headers=headers, body=data, retry=True) as answer:
            said = answer.header("docker-content-digest")
        if digests.is_valid(said) and said != digests.from_bytes(data, digests.algorithm(said)):
            raise DigestMismatch(f"{ref}: the registry stored another manifest: {said}")

    # --- requests -------------------------------------------------------------------------------------

    def _origin(self, ref: Reference) -> tuple[Host, ...]:
        return self._hosts.origin(ref.domain, insecure=self._insecure)

    def _pull(
        self,
        method: str,
        ref: Reference,
        path: str,
        cancelled: threading.Event | None,
        headers: Mapping[str, str],
        subject: str = "",
    ) -> Response:
        hosts = self._hosts.hosts(ref.domain, insecure=self._insecure)
        _, answer = self._call(method, ref, path, hosts, cancelled, headers=headers, pull=True, subject=subject)
        return answer

    def _push(
        self,
        method: str,
        ref: Reference,
        path: str,
        cancelled: threading.Event | None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        retry: bool | None = None,
    ) -> Response:
        return self._call(method, ref, path, self._origin(ref), cancelled, headers=headers, body=body, retry=retry)[1]

    def _call(
        self,
        method: str,
        ref: Reference,
        path: str,
        hosts: Iterable[Host],
        cancelled: threading.Event | None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        pull: bool = False,
        subject: str = "",
        extra_scope: str = "",
        retry: bool | None = None,
    ) -> tuple[Host, Response]:
        """Send to the first host that answers with success; the last failure is raised, with the words of mirrors."""
        scope = f"repository:{ref.path}:{'pull' if pull else 'pull,push'}{extra_scope}"
        failure: RegistryError | None = None
        mirrors: list[tuple[Host, RegistryError]] = []
        for host in hosts:
            url = f"{host.base}/v2/{ref.path}/{path}"
            if host.mirror:
                url += f"{'&' if '?' in url else '?'}ns={quote(ref.domain, safe=':')}"
            try:
                answer = self._authorized(method, host, url, scope, headers or {}, body, cancelled, retry=retry)
                if 200 <= answer.status < 300:
                    return host, answer
                with answer:
                    failure = _failure(ref, answer, subject, pull=pull)
            except Unreachable as error:
                whom = "mirror" if host.mirror else "registry"
                failure = Unreachable(f"{ref}: cannot reach the {whom}: {error.message}", hint=error.hint)
                failure.__cause__ = error.__cause__
            except RegistryError as error:
                failure = error if error.message.startswith(str(ref)) else _prefixed(ref, error)
            if host.mirror:
                mirrors.append((host, failure))
            elif not isinstance(failure, Unreachable):
                break
        if failure is None:
            raise RegistryError(f"{ref}: no host is configured for {ref.domain}")
        raise _with_mirrors(ref, mirrors, failure)

    def _authorized(
        self,
        method: str,
        host: Host,
        url: str,
        scope: str,
        headers: Mapping[str, str],
        body: Body,
        cancelled: threading.Event | None,
        *,
        replayable: bool = True,
        retry: bool | None = None,
    ) -> Response:
        """Send, and answer challenges."""
        for left in range(_AUTH_ROUNDS - 1, -1, -1):
            sent = self._auth.header(host, scope, cancelled)
            answer = self.transport.request(
                method,
                url,
                headers={**headers, "Authorization": sent} if sent else headers,
                body=body,
                trust=host.trust,
                cancelled=cancelled,
                retry=retry,
            )
            if answer.status != 401 or not self._auth.learn(host, answer, scope, sent=sent):
                return answer
            if left == 0 or not replayable:
                return answer
            answer.close()
        raise AssertionError("unreachable: the last round returns")

    def _upload(
        self,
        method: str,
        ref: Reference,
        upload: Upload,
        body: Body,
        size: int,
        *,
        digest: str = "",
        headers: Mapping[str, str] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Response:
        url = upload.url
        if digest:
            url += f"{'&' if urlsplit(url).query else '?'}digest={quote(digest, safe='')}"
        sent = {"Content-Type": "application/octet-stream", "Content-Length": str(size), **(headers or {})}
        scope = f"repository:{ref.path}:pull,push"
        host = upload.host
        if urlsplit(url)[:2] != urlsplit(host.base)[:2]:
            # The session lives elsewhere (object storage): no credentials for strangers.
            return self.transport.request(method, url, headers=sent, body=body, trust=host.trust, cancelled=cancelled)
        return self._authorized(method, host, url, scope, sent, body, cancelled, replayable=isinstance(body, bytes))


def _media_type(answer: Response) -> str:
    kind = answer.header("content-type").partition(";")[0].strip()
    return kind if kind in mt.INDEXES or kind in mt.MANIFESTS else ""


def _described(ref: Reference, answer: Response) -> Descriptor | None:
    """The descriptor that a HEAD answer tells, or None when it tells too little."""
    digest, length, kind = answer.header("docker-content-digest"), answer.header("content-length"), _media_type(answer)
    if (
        answer.encoded
        or not digests.is_valid(digest)
        or not (length.isascii() and length.isdigit() and len(length) < 20)
        or not kind
    ):
        return None
    if ref.digest and digest != ref.digest:
        raise DigestMismatch(f"{ref}: unexpected manifest digest: expected {ref.digest}, got {digest}")
    if int(length) > SIZE_LIMIT:
        raise RegistryError(f"{ref}: manifest is larger than {SIZE_LIMIT} bytes")
    return Descriptor(kind, digest, int(length))


def _inner_media_type(ref: Reference, data: bytes) -> str:
    """What the document itself says it is."""
    try:
        fields = decode(data, "manifest")
        kind = fields.text("mediaType")
    except InvalidDocument as error:
        raise RegistryError(f"{ref}: {error.message}") from None
    if kind:
        return kind
    return mt.OCI_INDEX if "manifests" in fields else mt.OCI_MANIFEST


def _whole(ref: Reference, answer: Response, data: bytes) -> None:
    length = "" if answer.encoded else answer.header("content-length")
    if length.isascii() and length.isdigit() and int(length) != len(data):
        raise RegistryError(f"{ref}: manifest was cut off after {len(data)} of {length} bytes")


def _prefixed(ref: Reference, error: RegistryError) -> RegistryError:
    again = type(error)(f"{ref}: {error.message}", hint=error.hint)
    again.__cause__ = error.__cause__
    return again


def _with_mirrors(ref: Reference, mirrors: list[tuple[Host, RegistryError]], last: RegistryError) -> RegistryError:
    """The last host's failure, told after those of the mirrors that were asked before it.

    A mirror that has no such image is as mirrors are, and is passed over where the registry itself has answered. Where
    it has not, the mirror's answer is all that is known of the image: it may be why there is none.
    """
    said = [
        f"{error.message.removeprefix(f'{ref}: ')} (mirror {host.address})"
        for host, error in mirrors
        if error is not last and (isinstance(last, Unreachable) or not isinstance(error, NotFound))
    ]
    if not said:
        return last
    again = type(last)(
        "; ".join((f"{ref}: {said[0]}", *said[1:], last.message.removeprefix(f"{ref}: "))), hint=last.hint
    )
    again.__cause__ = last.__cause__
    if isinstance(again, Busy) and isinstance(last, Busy):
        again.wait = last.wait
    return again


def _failure(ref: Reference, answer: Response, subject: str = "", *, pull: bool = False) -> RegistryError:
    """Put a refusal into words."""
    said = server_words(answer)
    what = f"{ref}: {subject}" if subject else str(ref)
    if answer.status == 404:
        return NotFound(f"{what}: not found")
    if answer.status in (401, 403):
        message = "pull access denied, repository does not exist or may require authorization"
        if not pull:
            message = "push access denied"
        return AccessDenied(
            f"{what}: {message}{f': server message: {said}' if said else ''}",
            hint=f"log in to {ref.domain} first: docker login {ref.domain}",
        )
    message = f"unexpected status {answer.status} from {answer.url.partition('?')[0]}"
    if answer.status == 429:
        message = "too many requests"
    found = (Busy if answer.status in RETRIABLE else RegistryError)(f"{what}: {message}{f': {said}' if said else ''}")
    if isinstance(found, Busy):
        found.wait = retry_after(answer)
    return found
