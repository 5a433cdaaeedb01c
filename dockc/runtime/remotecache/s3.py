"""`type=s3`: a cache in a bucket of Amazon S3, or of whatever speaks its protocol."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from typing import BinaryIO
from urllib.parse import quote

from dockc.base.record import Record
from dockc.errors import DockcError, RegistryError, UsageError
from dockc.golang import durations
from dockc.runtime.registry.transport import Limits, Response, Transport
from dockc.runtime.remotecache import base, signing
from dockc.runtime.remotecache.awsidentity import Asker, Keys, domain
from dockc.runtime.remotecache.base import CacheEntry, CacheFailed, Place
from dockc.runtime.remotecache.objects import NamedStore, ObjectStore, checked
from dockc.runtime.remotecache.signing import AwsKeys

OPTIONS = (
    *(
        "bucket",
        "region",
        "prefix",
        "manifests_prefix",
        "blobs_prefix",
        "name",
        "touch_refresh",
        "endpoint_url",
        "access_key_id",
    ),
    *(
        "secret_access_key",
        "session_token",
        "use_path_style",
        "upload_parallelism",
        "disable_accept_encoding",
        "retry_mode",
    ),
    "retry_max_attempts",
)
_DAY_NS = 24 * 3600 * 1_000_000_000
_PART = 64 << 20
_COPY_LIMIT = 5 << 30


class Settings(Record):
    """The options of a cache in a bucket, in BuildKit's words."""

    bucket: str
    region: str
    endpoint: str
    path_style: bool
    names: tuple[str, ...]
    blobs: str
    manifests: str
    refresh: float
    parallel: int
    attempts: int
    keys: AwsKeys | None


def settings(entry: CacheEntry, environment: Mapping[str, str]) -> Settings:
    """Read the options; what they do not say, the environment does.

    Raises:
        UsageError: something needed is missing, or a value makes no sense.
    """
    base.check_options(entry, *OPTIONS)
    attrs = entry.attrs
    bucket = attrs.get("bucket") or environment.get("AWS_BUCKET", "")
    if not bucket:
        raise UsageError("bucket ($AWS_BUCKET) not set for s3 cache")
    region = attrs.get("region") or environment.get("AWS_REGION", "")
    if not region:
        raise UsageError("region ($AWS_REGION) not set for s3 cache")
    if attrs.get("retry_mode", "standard") not in ("standard", "adaptive"):
        raise UsageError('retry_mode must be "standard" or "adaptive"')
    entry.flag("disable_accept_encoding")  # nothing of the kind is signed here: both values do
    prefix = attrs.get("prefix", "")
    refresh = attrs.get("touch_refresh", "24h")
    try:
        seconds = durations.parse_duration(refresh) / 1e9
    except DockcError as error:
        raise UsageError(f"invalid touch_refresh {refresh!r}: {error.message}") from None
    return Settings(
        bucket,
        region,
        (
            attrs.get("endpoint_url")
            or environment.get("AWS_ENDPOINT_URL_S3")
            or environment.get("AWS_ENDPOINT_URL", "")
        ).rstrip("/"),
        bool(entry.flag("use_path_style")),
        base.names_of(entry),
        prefix + attrs.get("blobs_prefix", "blobs/"),
        prefix + attrs.get("manifests_prefix", "manifests/"),
        seconds,
        _positive(attrs.get("upload_parallelism", "4"), "upload_parallelism"),
        _positive(attrs.get("retry_max_attempts", "3"), "retry_max_attempts"),
        _given(attrs),
    )


def _positive(text: str, name: str) -> int:
    if not text.isdecimal() or len(text) > 3 or not 0 < int(text) < 1000:
        raise UsageError(f"{name} must be a positive integer")
    return int(text)


def _given(attrs: Mapping[str, str]) -> AwsKeys | None:
    """Who asks by the options; None where those who run this do (`awsidentity`)."""
    if attrs.get("access_key_id") and attrs.get("secret_access_key"):
        return AwsKeys(attrs["access_key_id"], attrs["secret_access_key"], attrs.get("session_token", ""))
    return None


class Bucket(NamedStore):
    """Objects in a bucket (`ObjectStore`)."""

    def __init__(self, chosen: Settings, place: Place) -> None:
        super().__init__(chosen.names, chosen.blobs, chosen.manifests)
        self._settings = chosen
        self._transport = Transport(Limits(attempts=chosen.attempts))
        asker = Asker(place.environment, chosen.region, self._transport, place.cancelled)
        self._keys = Keys(asker, chosen.keys)
        self.parallel = chosen.parallel

    def _url(self, key: str) -> str:
        chosen = self._settings
        path = quote(key, safe="/-_.~")
        endpoint = chosen.endpoint or f"https://s3.{chosen.region}.{domain(chosen.region)}"
        if chosen.path_style or not _may_be_a_host(chosen.bucket):
            return f"{endpoint}/{chosen.bucket}/{path}"
        scheme, _, host = endpoint.partition("://")
        return f"{scheme}://{chosen.bucket}.{host}/{path}"

    def ask(
        self,
        method: str,
        path: str,
        cancelled: threading.Event | None,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """See `NamedStore`."""
        url = self._url(path) + (f"?{query}" if query else "")
        sent = dict(headers or {})
        if (keys := self._keys.now()) is not None:
            digest = sha256(body).hexdigest() if body is not None else signing.EMPTY
            sent = signing.aws_headers(method, url, sent, keys, self._settings.region, payload=digest)
        return self._transport.request(method, url, headers=sent, body=body, cancelled=cancelled, retry=True)

    def put(self, path: str, data: bytes, place: Place) -> None:
        """See `NamedStore`."""
        checked(self.ask("PUT", path, place.cancelled, body=data), f"cannot write {path}", 200).close()

    def has_blob(self, digest: str, place: Place) -> bool:
        """See `ObjectStore`; a blob that has not been touched for a while is, so that rules of the bucket let it be."""
        with self.ask("HEAD", self._blobs + digest, place.cancelled) as answer:
            if answer.status in (403, 404):  # without the right to list, what is missing is forbidden
                return False
            checked(answer, f"cannot look for {digest}", 200)
            modified, size = answer.header("last-modified"), answer.header("content-length")
        if _age(modified) > self._settings.refresh and size.isdecimal():
            self._touch(digest, int(size), place)
        return True

    def _touch(self, digest: str, size: int, place: Place) -> None:
        """Let an object be as good as new: copied onto itself, in parts where it is too large for one copy."""
        key = self._blobs + digest
        source = {"x-amz-copy-source": quote(f"{self._settings.bucket}/{key}", safe="/-_.~")}
        stamp = {"x-amz-meta-updated-at": datetime.datetime.now(datetime.UTC).isoformat()}
        if size <= _COPY_LIMIT:
            headers = {**source, **stamp, "x-amz-metadata-directive": "REPLACE"}
            checked(self.ask("PUT", key, place.cancelled, headers=headers), f"cannot touch {digest}", 200).close()
            return

        def copies() -> Iterator[tuple[Mapping[str, str], None]]:
            for start in range(0, size, _COPY_LIMIT):
                end = min(start + _COPY_LIMIT, size) - 1
                yield {**source, "x-amz-copy-source-range": f"bytes={start}-{end}"}, None

        self._in_parts(key, f"cannot touch {digest}", copies(), place, stamp)

    def put_blob(self, digest: str, size: int, file: BinaryIO, place: Place) -> bool:
        """See `ObjectStore`; large ones go in parts, and a part that fails is sent again."""
        key = self._blobs + digest
        if size <= _PART:
            self.put(key, file.read(), place)
            return True
        self._in_parts(
            key, f"cannot write {digest}", (({}, data) for data in iter(partial(file.read, _PART), b"")), place
        )
        return True

    def _in_parts(
        self,
        key: str,
        what: str,
        parts: Iterable[tuple[Mapping[str, str], bytes | None]],
        place: Place,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Make an object of parts, each the bytes that are sent or, without any, what its headers say."""
        begun = self.ask("POST", key, place.cancelled, query="uploads=", headers=headers)
        with checked(begun, what, 200) as answer:
            upload = _between(answer.read_all(1 << 16), "<UploadId>")
        if not upload:
            raise CacheFailed(f"{what}: the store gave no upload")
        query = f"uploadId={quote(upload, safe='')}"
        try:
            done: list[str] = []
            for number, (about, data) in enumerate(parts, 1):
                asked = f"partNumber={number}&{query}"
                sent = self.ask("PUT", key, place.cancelled, query=asked, headers=about, body=data)
                with checked(sent, f"{what}: part {number}", 200) as good:
                    tag = good.header("etag") or _between(good.read_all(1 << 16), "<ETag>").replace("&quot;", '"')
                done.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
            body = f"<CompleteMultipartUpload>{''.join(done)}</CompleteMultipartUpload>".encode()
            with checked(self.ask("POST", key, place.cancelled, query=query, body=body), what, 200) as good:
                if b"<Error>" in good.read_all(1 << 16):  # the status was sent before it was known
                    raise CacheFailed(f"{what}: the parts could not be put together")
        except BaseException:
            try:
                self.ask("DELETE", key, None, query=query).close()
            except RegistryError:
                pass
            raise


def _between(answer: bytes, tag: str) -> str:
    """The text behind a tag of an XML answer."""
    return answer.decode("utf-8", "replace").partition(tag)[2].partition("<")[0]


def _may_be_a_host(bucket: str) -> bool:
    return "." not in bucket and bucket == bucket.lower()


def _age(modified: str) -> float:
    """Seconds since an HTTP date; 0 for one that cannot be read."""
    from email.utils import parsedate_to_datetime

    try:
        return time.time() - parsedate_to_datetime(modified).timestamp()
    except (ValueError, TypeError):
        return 0.0


def connect(chosen: Settings, place: Place) -> ObjectStore:
    """The store of a cache's options."""
    return Bucket(chosen, place)
