"""`type=azblob`: a cache in a container of Azure Blob Storage."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from posixpath import normpath
from typing import BinaryIO
from urllib.parse import SplitResult, quote, urlsplit

from dockc.base.record import Record
from dockc.errors import UsageError
from dockc.runtime.registry.transport import Response, Transport
from dockc.runtime.remotecache import base, signing
from dockc.runtime.remotecache.base import CacheEntry, CacheFailed, Place
from dockc.runtime.remotecache.objects import NamedStore, ObjectStore, checked

OPTIONS = (
    "secret_access_key",
    "account_name",
    "account_url",
    "prefix",
    "manifests_prefix",
    "blobs_prefix",
    "name",
    "container",
)
_BLOCK = 32 << 20
_HERE = ("127.0.0.1", "::1", "localhost")


class Settings(Record):
    """The options of a cache in a container, in BuildKit's words."""

    url: str
    account: str
    container: str
    names: tuple[str, ...]
    blobs: str
    manifests: str
    key: str
    token: str


def settings(entry: CacheEntry, environment: Mapping[str, str]) -> Settings:
    """Read the options; what they do not say, the environment does.

    A container may also be opened by a shared access signature, as the query of `account_url`, or by an identity of the
    surroundings (`azidentity`), where neither that nor a key is given.

    Raises:
        UsageError: something needed is missing.
    """
    base.check_options(entry, *OPTIONS)
    attrs = entry.attrs
    url = attrs.get("account_url") or environment.get("BUILDKIT_AZURE_STORAGE_ACCOUNT_URL", "")
    if not url:
        raise UsageError(
            "either ${BUILDKIT_AZURE_STORAGE_ACCOUNT_URL} or account_url attribute is required for azblob cache"
        )
    parts = _web_address(url)
    account = (
        attrs.get("account_name")
        or environment.get("BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME")
        or (parts.hostname or "").split(".")[0]
    )
    key = attrs.get("secret_access_key", "")
    if not account:
        raise UsageError(
            "unable to retrieve account name from account url or ${BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME} or account_name "
            "attribute for azblob cache"
        )
    if not key and not parts.query and parts.scheme == "http" and parts.hostname not in _HERE:
        raise UsageError("an azblob cache without a key needs https: a token would be sent for all to read")
    prefix = attrs.get("prefix", environment.get("BUILDKIT_AZURE_STORAGE_PREFIX", ""))
    return Settings(
        f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}",
        account,
        attrs.get("container") or environment.get("BUILDKIT_AZURE_STORAGE_CONTAINER", "buildkit-cache"),
        base.names_of(entry),
        _folder(prefix, attrs.get("blobs_prefix", "blobs")),
        _folder(prefix, attrs.get("manifests_prefix", "manifests")),
        key,
        parts.query,
    )


def _web_address(url: str) -> SplitResult:
    """The parts of an account's address.

    Raises:
        UsageError: it is none.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts
    except ValueError:
        pass
    raise UsageError(
        f"account_url of an azblob cache is no web address: {url.partition('?')[0]}",
        hint="Write it as https://ACCOUNT.blob.core.windows.net.",
    )


def _folder(*parts: str) -> str:
    """A path as Go's `filepath.Join` makes it, with a slash behind; "" for none."""
    path = normpath("/".join(filter(None, parts)) or ".")
    path = path[1:] if path.startswith("//") else path
    return "" if path == "." else path.rstrip("/") + "/"


class Container(NamedStore):
    """Blobs in a container (`ObjectStore`), which is made where it is missing."""

    parallel = 4
    range = "x-ms-range"

    def __init__(self, chosen: Settings, bearer: str = "") -> None:
        """Ask nothing yet; `bearer` is a token that opens the container."""
        super().__init__(chosen.names, chosen.blobs, chosen.manifests)
        self._settings = chosen
        self._bearer = bearer
        self._transport = Transport()

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
        chosen = self._settings
        url = f"{chosen.url}/{chosen.container}{'/' if path else ''}{quote(path, safe='/-_.~')}"
        queries = "&".join(filter(None, (query, chosen.token)))
        url += f"?{queries}" if queries else ""
        sent = dict(headers or {})
        if body is not None or method == "PUT":
            sent.setdefault("content-type", "application/octet-stream")
        if chosen.key:
            sent = signing.azure_headers(method, url, sent, chosen.account, chosen.key, length=len(body or b""))
        else:
            sent.setdefault("x-ms-version", "2021-12-02")
            if self._bearer:
                sent["authorization"] = f"Bearer {self._bearer}"
        return self._transport.request(
            method, url, headers=sent, body=body if method != "PUT" else body or b"", cancelled=cancelled, retry=True
        )

    def has_blob(self, digest: str, place: Place) -> bool:
        """See `ObjectStore`."""
        with self.ask("HEAD", self._blobs + digest, place.cancelled) as answer:
            if answer.status == 404:
                return False
            checked(answer, f"cannot look for {digest}", 200)
            return True

    def put_blob(self, digest: str, size: int, file: BinaryIO, place: Place) -> bool:
        """See `ObjectStore`; in blocks, of which one that fails is sent again."""
        path = self._blobs + digest
        if size <= _BLOCK:
            self.put(path, file.read(), place)
            return True
        try:
            self._put_in_blocks(path, file, place)
        except CacheFailed:
            # Whose list comes first throws away the blocks of others; the blob is there all the same.
            if not self.has_blob(digest, place):
                raise
        return True

    def _put_in_blocks(self, path: str, file: BinaryIO, place: Place) -> None:
        """Blocks are named by their numbers: those of two dockcs that send one blob are the same."""
        names: list[str] = []
        while data := file.read(_BLOCK):
            name = base64.b64encode(f"{len(names):08d}".encode()).decode()
            self._put(path, data, place, query=f"comp=block&blockid={quote(name, safe='')}")
            names.append(name)
        body = "".join(f"<Latest>{name}</Latest>" for name in names)
        listed = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{body}</BlockList>'.encode()
        self._put(path, listed, place, query="comp=blocklist")

    def put(self, path: str, data: bytes, place: Place) -> None:
        """See `NamedStore`."""
        self._put(path, data, place, headers={"x-ms-blob-type": "BlockBlob"})

    def _put(
        self, path: str, data: bytes, place: Place, *, query: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send something; makes the container where that is missing."""
        answer = self.ask("PUT", path, place.cancelled, query=query, headers=headers, body=data)
        if answer.status == 404:  # the container itself is missing
            answer.close()
            made = self.ask("PUT", "", place.cancelled, query="restype=container")
            checked(made, f"cannot make the container {self._settings.container}", 201, 409).close()
            answer = self.ask("PUT", path, place.cancelled, query=query, headers=headers, body=data)
        checked(answer, f"cannot write {path}", 201).close()


def connect(chosen: Settings, place: Place) -> ObjectStore:
    """The store of a cache's options."""
    if chosen.key or chosen.token:
        return Container(chosen)
    from dockc.runtime.remotecache import azidentity

    return Container(chosen, azidentity.token(place.environment, place.cancelled))
