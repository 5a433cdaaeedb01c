"""Web resources as sources: one file, revalidated by its entity tag, in a file system of its own.

With a checksum nothing is asked before the file is really needed; without one, the server is asked whether the
copy in the store is still good.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

from dockc.base import jsontext
from dockc.base.record import Mutable, Record
from dockc.base.version import BUILDKIT
from dockc.errors import DigestMismatch, DockcError, RegistryError, SolveError, StoreError, without_credentials
from dockc.golang.text import dump_json
from dockc.llb import attrs
from dockc.oci import digest as digests
from dockc.runtime.archive.limits import Limits
from dockc.runtime.fsutil.inroot import Root, open_regular
from dockc.runtime.registry.transport import CHUNK, USER_AGENT, Response, Transport
from dockc.runtime.session.secrets import LentSecrets
from dockc.runtime.source import web
from dockc.runtime.source.base import SourceKey, registry_of
from dockc.runtime.source.found import FoundHttp
from dockc.runtime.source.numbers import integer
from dockc.runtime.source.seen import SEEN, Download, Seen

if TYPE_CHECKING:
    from dockc.oci.platform import Platform
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.runtime.session.secrets import SecretStore
    from dockc.runtime.source.base import Backing
    from dockc.runtime.source.memory import Memory
    from dockc.solver.op import OpContext

_HEADER_SECRET = "HTTP_AUTH_HEADER_"  # noqa: S105 - prefix of a secret's id
_TOKEN_SECRET = "HTTP_AUTH_TOKEN_"  # noqa: S105 - prefix of a secret's id
_USER_HEADERS = {"accept": "Accept", "user-agent": "User-Agent"}
# Servers that send packed what they have so are understood; rules for BuildKit's downloads are meant for these, too.
_OWN_HEADERS = {"Accept-Encoding": "gzip", "User-Agent": f"{USER_AGENT} (like buildkit/v{BUILDKIT})"}
_DEFAULT_MODE = 0o600
_META_URL = "http.url"
_META_ETAG = "http.etag"
_META_DIGEST = "http.digest"
_META_TIME = "http.modtime"
_META_NAME = "http.name"
_PROBE_ENTRIES = 1_000_000


class HttpOptions(Record):
    """What a source operation says about a download.

    Attributes:
        url: where from.
        checksum: digest that the content must have, or "".
        filename: what the file is called, or "" for the server's name.
        mode: permission bits; 0 is 0600.
        uid: owner.
        gid: group.
        secret: id of a secret that is the whole Authorization header, or "".
        headers: further request headers, sorted.
        signature, keys: an OpenPGP signature that the content must have, by one of these keys; both or none.
    """

    url: str
    checksum: str = ""
    filename: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    secret: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    signature: str = ""
    keys: str = ""

    def name_key(self) -> dict[str, object]:
        """What tells two downloads of one URL apart, besides the content."""
        return {"perm": self.mode, "uid": self.uid, "gid": self.gid, "auth": self.secret, "headers": self.headers}


def parse_options(url: str, attributes: Mapping[str, str]) -> HttpOptions:
    """Read a source operation's attributes.

    Raises:
        SolveError: a value that makes no sense.
        InvalidDigest: a broken checksum.
    """
    signature, keys = attributes.get(attrs.HTTP_SIGNATURE, ""), attributes.get(attrs.HTTP_SIGNATURE_PUBKEY, "")
    if bool(signature) != bool(keys):
        raise SolveError(f"{url}: verifying a signature needs both the signature and the public key")
    checksum = attributes.get(attrs.HTTP_CHECKSUM, "")
    headers = {
        _USER_HEADERS[name]: value
        for key, value in attributes.items()
        if (name := key.removeprefix(attrs.HTTP_HEADER_PREFIX).lower()) in _USER_HEADERS and name != key.lower()
    }
    for value in headers.values():
        if not value.isprintable():
            raise SolveError(f"{url}: a header value with control characters")
    return HttpOptions(
        url=url,
        checksum=digests.validate(checksum) if checksum else "",
        filename=attributes.get(attrs.HTTP_FILENAME, ""),
        mode=integer(attributes.get(attrs.HTTP_PERM, "0"), 0o7777),
        uid=integer(attributes.get(attrs.HTTP_UID, "0"), (1 << 32) - 2),
        gid=integer(attributes.get(attrs.HTTP_GID, "0"), (1 << 32) - 2),
        secret=attributes.get(attrs.HTTP_AUTH_HEADER_SECRET, ""),
        headers=tuple(sorted(headers.items())),
        signature=signature,
        keys=keys,
    )


class _Known(Record):
    """A download that is in the store."""

    ref_id: str
    digest: str
    modified: datetime | None
    name: str


class HttpSource(Mutable):
    """An `http://` or `https://` source operation (`source.base.Source`)."""

    options: HttpOptions
    refs: RefManager
    _found: _Known | None = None
    _ref: ImmutableRef | None = None

    def key(self, ctx: OpContext) -> SourceKey:
        """The content's digest with the name and owner that the file will have."""
        wanted = self.options
        if wanted.signature and self._ref is None:
            self._ref = self._verified(ctx)
        if wanted.checksum:
            return self._key(wanted.checksum, web.file_name(wanted.url, wanted.filename), None)
        digest, name, modified = self._revalidate(ctx)
        return self._key(digest, name, modified)

    def _key(self, digest: str, name: str, modified: datetime | None) -> SourceKey:
        preimage = {
            "filename": name,
            **self.options.name_key(),
            "checksum": digest,
            "modified": web.http_date(modified) if modified else "",
        }
        return SourceKey(digests.from_bytes(dump_json(preimage)), digest, preimage)

    def _verified(self, ctx: OpContext) -> ImmutableRef:
        """The file, once it is sure who has signed it; raises SolveError."""
        from dockc.runtime.source.openpgp import SignatureRefused, verify

        if not self.options.checksum:
            self._revalidate(ctx)
        ref = self.snapshot(ctx)
        try:
            assert self._found is not None
            with (
                ref.mount() as root,
                Root(root) as opened,
                opened.parent(self._found.name, "open") as (folder, name),
                open_regular(folder, name, name) as file,
            ):
                verify(file, self.options.signature.encode("utf-8", "surrogateescape"), self.options.keys.encode())
        except SignatureRefused as error:
            ref.release()
            shown = without_credentials(self.options.url)
            raise SolveError(f"{shown}: failed to verify pgp signature: {error.message}", hint=error.hint) from None
        except BaseException:
            ref.release()
            raise
        return ref

    def snapshot(self, ctx: OpContext) -> ImmutableRef:
        """The file, from the store where it is still good, else downloaded."""
        if self._ref is not None:
            ref, self._ref = self._ref, None
            return ref
        known = self._found or self._checksummed()
        if known is not None:
            self._found = known
            try:
                return self.refs.get(known.ref_id)
            except StoreError:
                pass  # pruned in between
        ref, known, _ = self._kept(ctx) or self._download(ctx, {})
        expected = self.options.checksum or (self._found.digest if self._found else "")
        if expected and known.digest != expected:
            ref.release()
            raise DigestMismatch(f"digest mismatch {known.digest}: {expected}")
        self._found = known
        return ref

    def _checksummed(self) -> _Known | None:
        return next((k for _, k in self._candidates() if k.digest == self.options.checksum), None)

    # --- revalidation ---------------------------------------------------------------------------------

    def _url_hash(self) -> bytes:
        parts = {"url": self.options.url, "filename": self.options.filename, **self.options.name_key()}
        return digests.from_bytes(dump_json(parts)).encode()

    def _candidates(self) -> list[tuple[str, _Known]]:
        """Earlier downloads of this URL with their entity tags, the latest first."""
        found = []
        for ref_id in self.refs.find(_META_URL, self._url_hash()):
            try:
                with self.refs.get(ref_id) as ref:
                    digest = (ref.get_meta(_META_DIGEST) or b"").decode()
                    tag = (ref.get_meta(_META_ETAG) or b"").decode()
                    modified = web.parse_date((ref.get_meta(_META_TIME) or b"").decode())
                    name = (ref.get_meta(_META_NAME) or b"").decode("utf-8", "surrogateescape")
            except StoreError:
                continue
            if digest:
                found.append((tag, _Known(ref_id, digest, modified, name)))
        return found

    def _revalidate(self, ctx: OpContext) -> tuple[str, str, datetime | None]:
        """Digest, file name and time of the content that the server has now."""
        if self._found is not None:
            return self._found.digest, self._found.name, self._found.modified
        candidates = self._candidates()
        kept = self._kept(ctx, [one for _, one in candidates])
        if kept is not None:
            self._ref, self._found, _ = kept
            return self._found.digest, self._found.name, self._found.modified
        if registry_of(ctx).transport.offline and candidates:
            self._found = found = candidates[0][1]
            return found.digest, found.name, found.modified
        known: dict[str, _Known] = {}
        for tag, candidate in candidates:
            if tag:
                known.setdefault(tag, candidate)
        extra = {"If-None-Match": ", ".join(known)} if known else {}
        if known:
            # Some servers send tags and still ignore If-None-Match: compare on a HEAD first.
            with self._send(ctx, "HEAD", extra) as answer:
                same = _unchanged(answer, known) if answer.status in (200, 304) else None
            if same is not None:
                self._found, self._ref = same, self._held(same)
                return same.digest, self._name(answer), same.modified
        self._ref, found, name = self._download(ctx, extra, known)
        self._found = found
        return found.digest, name, found.modified

    def _held(self, known: _Known) -> ImmutableRef | None:
        """A hold on it until it is wanted; None where it was pruned just now."""
        try:
            return self.refs.get(known.ref_id)
        except StoreError:
            return None

    def _kept(self, ctx: OpContext, candidates: Sequence[_Known] = ()) -> tuple[ImmutableRef, _Known, str] | None:
        """What this build has fetched already, to find out about it."""
        seen = SEEN.of(ctx)
        if seen is None or self.options.secret or self.options.headers:
            return None
        with seen.guard:
            kept = seen.downloads.get(self.options.url)
            if kept is None:
                return None
            for one in candidates:
                same = one.digest == kept.digest and one.modified == web.parse_date(kept.modified)
                ref = self._held(one) if same else None
                if ref is not None:
                    return ref, one, one.name
            kept.file.seek(0)
            name = web.file_name(self.options.url, self.options.filename) if self.options.filename else kept.name
            return self._save(ctx, _Kept(kept), name)

    def __del__(self) -> None:
        # Where the solver found the content in its cache, nobody has asked for it; the store may be closed by now.
        ref = getattr(self, "_ref", None)
        if ref is not None:
            with suppress(Exception):
                ref.release()

    def _name(self, answer: Response) -> str:
        return web.file_name(self.options.url, self.options.filename, answer.header("content-disposition"))

    def _send(self, ctx: OpContext, method: str, extra: Mapping[str, str]) -> Response:
        headers = {**request_headers(self.options, LentSecrets(ctx)), **extra}
        return registry_of(ctx).transport.request(method, self.options.url, headers=headers, cancelled=ctx.cancelled)

    # --- download -------------------------------------------------------------------------------------

    def _download(
        self, ctx: OpContext, extra: Mapping[str, str], known: Mapping[str, _Known] | None = None
    ) -> tuple[ImmutableRef, _Known, str]:
        with self._send(ctx, "GET", extra) as answer:
            name = self._name(answer)
            if answer.status == 304:
                same = _unchanged(answer, known or {})
                if (
                    same is None and extra
                ):  # a tag that was not asked about: what the server has now is to be had without asking
                    return self._download(ctx, {})
                if same is None:
                    raise RegistryError(f"{self.options.url}: invalid not-modified ETag: {answer.header('etag')}")
                return self.refs.get(same.ref_id), same, name
            if not 200 <= answer.status < 300:
                raise RegistryError(f"invalid response status {answer.status}")
            return self._save(ctx, answer, name)

    def _save(self, ctx: OpContext, answer: Response | _Kept, name: str) -> tuple[ImmutableRef, _Known, str]:
        modified = web.parse_date(answer.header("last-modified"))
        with self.refs.new_mutable(description=f"http url {without_credentials(self.options.url)}") as mutable:
            with mutable.mount() as root:
                digest = self._write(ctx, answer, str(root), name, modified)
            ref = mutable.commit()
        ref.set_meta(_META_URL, self._url_hash())
        ref.set_meta(_META_DIGEST, digest.encode())
        ref.set_meta(_META_ETAG, web.etag(answer.header("etag")).encode())
        ref.set_meta(_META_TIME, answer.header("last-modified").encode())
        ref.set_meta(_META_NAME, name.encode("utf-8", "surrogateescape"))
        return ref, _Known(ref.id, digest, modified, name), name

    def _write(self, ctx: OpContext, answer: Response | _Kept, root: str, name: str, modified: datetime | None) -> str:
        wanted = self.options
        what = f"downloading {without_credentials(wanted.url)}"
        length = "" if answer.encoded else answer.header("content-length")
        total = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 0
        hasher = digests.Hasher()
        mode = wanted.mode or _DEFAULT_MODE
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                handle = os.open(name, flags, 0o600, dir_fd=folder)
            finally:
                os.close(folder)
            with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor
                while data := answer.read(CHUNK):
                    hasher.update(data)
                    file.write(data)
                    ctx.status(what, current=hasher.size, total=total)
                file.flush()
                if wanted.uid or wanted.gid:
                    os.fchown(file.fileno(), wanted.uid, wanted.gid)
                os.fchmod(file.fileno(), mode)
                seconds = int(modified.timestamp()) if modified else 0
                os.utime(file.fileno(), (seconds, seconds))
        except OSError as error:
            raise StoreError(f"{wanted.url}: cannot write {name}: {error.strerror}") from error
        ctx.status(what, current=hasher.size, total=total, done=True)
        return hasher.digest()


class _Kept:
    """An earlier answer in the place of a new one."""

    encoded = False

    def __init__(self, download: Download) -> None:
        self._file = download.file
        self._headers = {"last-modified": download.modified, "etag": download.etag}

    def header(self, name: str) -> str:
        return self._headers.get(name, "")

    def read(self, size: int) -> bytes:
        return self._file.read(size)


def request_headers(options: HttpOptions, secrets: SecretStore | None) -> dict[str, str]:
    """Headers to send: the user's, and an Authorization out of the build's secrets.

    Raises:
        SolveError: the operation names a secret that the build has not.
    """
    headers = {**_OWN_HEADERS, **dict(options.headers)}
    host = urlsplit(options.url).hostname or ""
    if options.secret:
        value = secrets.get(options.secret) if secrets else None
        if value is None:
            raise SolveError(f"failed to retrieve HTTP auth secret {options.secret}: not found")
    else:
        value = secrets.get(_HEADER_SECRET + host) if secrets else None
        token = secrets.get(_TOKEN_SECRET + host) if secrets else None
        if token is not None:
            value = b"Bearer " + token
    if value is not None:
        text = value.decode("latin-1").strip()
        if not text.isprintable():
            raise SolveError(f"{options.url}: the authorization secret has control characters")
        headers["Authorization"] = text
    return headers


def _unchanged(answer: Response, known: Mapping[str, _Known]) -> _Known | None:
    """The download that the server says is still the content."""
    tag = web.etag(answer.header("etag"))
    if not tag and answer.status == 304 and len(known) == 1:
        return next(iter(known.values()))
    return known.get(tag)


# --- the compiler's question ----------------------------------------------------------------------------


def probe(
    url: str,
    checksum: str,
    transport: Transport,
    memory: Memory,
    secrets: SecretStore | None = None,
    cancelled: threading.Event | None = None,
    *,
    seen: Seen | None = None,
) -> FoundHttp:
    """Fetch a URL and tell its digest, its time, whether it is an archive and how new that is; offline, what was told
    when it was last fetched. With `seen` the content is kept for the steps of the same build.

    Raises:
        RegistryError: it cannot be fetched.
        DigestMismatch: it is not what the checksum says.
    """
    options = HttpOptions(url, checksum)
    if transport.offline and (known := _told(memory.get("http", url))) and checksum in ("", known.digest):
        return known
    headers = request_headers(options, secrets)
    with ExitStack() as stack:
        file = cast("BinaryIO", stack.enter_context(tempfile.TemporaryFile()))
        with transport.request("GET", url, headers=headers, cancelled=cancelled) as answer:
            if not 200 <= answer.status < 300:
                raise RegistryError(f"{url}: invalid response status {answer.status}")
            hasher = digests.Hasher()
            while data := answer.read(CHUNK):
                hasher.update(data)
                file.write(data)
            modified = web.parse_date(answer.header("last-modified"))
            name = web.file_name(url, "", answer.header("content-disposition"))
            told_time, told_tag = answer.header("last-modified"), answer.header("etag")
        if checksum and hasher.digest() != checksum:
            raise DigestMismatch(f"digest mismatch for {url}: {hasher.digest()} (expected: {checksum})")
        file.seek(0)
        newest = _newest(file, cancelled)
        if seen is not None:
            with seen.guard:
                kept = seen.downloads.setdefault(url, Download(file, hasher.digest(), name, told_time, told_tag))
            if kept.file is file:
                stack.pop_all()
    found = FoundHttp(
        digest=hasher.digest(),
        last_modified=_rfc3339(modified),
        newest=_rfc3339(newest),
        archive=newest is not None,
        filename=name,
    )
    told = [found.digest, found.last_modified, found.newest, found.archive, found.filename]
    memory.put("http", url, dump_json(told))
    return found


def _told(answer: bytes | None) -> FoundHttp | None:
    try:
        digest, last_modified, newest, archive, name = jsontext.parsed(answer or b"null")
    except (ValueError, TypeError):
        return None
    return FoundHttp(str(digest), str(last_modified), str(newest), bool(archive), str(name))


def _rfc3339(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""


def _newest(file: IO[bytes], cancelled: threading.Event | None) -> datetime | None:
    """Time of the newest entry of a tar archive, compressed or not; None when it is no archive."""
    from dockc.runtime.fsutil.unpack import archive_reader

    latest = total = 0
    seen = False
    try:
        for count, member in enumerate(archive_reader(file, cancelled)):
            total += member.size
            if count > _PROBE_ENTRIES or total > Limits().total:
                raise DockcError("archive with too many entries, or of too many bytes")
            seen = True
            latest = max(latest, member.mtime)
    except (StoreError, OSError):
        if not seen:
            return None
    return datetime.fromtimestamp(min(latest // 1_000_000_000, 253402300799), UTC) if seen else None


def make(identifier: str, attributes: Mapping[str, str], platform: Platform, backing: Backing) -> HttpSource:
    """See `table.SOURCES`."""
    return HttpSource(parse_options(identifier, attributes), backing.refs)
