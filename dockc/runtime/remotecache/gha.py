"""`type=gha`: the cache of GitHub Actions, version 2 of its service; and version 1, which others' runners still have.

Entries cannot be changed: an index that is written again gets the next number behind `#`, and the newest of a prefix is
found by its "restore key".
Source: the protocol of actions/cache's service, and the names that BuildKit gives its entries.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, BinaryIO
from urllib.parse import quote

from dockc.base.options import TRUE
from dockc.base.record import Record
from dockc.errors import DockcError, RegistryError, UsageError
from dockc.golang import durations
from dockc.runtime.registry.transport import Response, Transport, document, pause, retry_after
from dockc.runtime.remotecache import base
from dockc.runtime.remotecache.base import CacheEntry, CacheFailed, Place
from dockc.runtime.remotecache.config import LIMIT
from dockc.runtime.remotecache.objects import ObjectStore, checked

OPTIONS = ("scope", "timeout", "token", "url", "url_v2", "repository", "ghtoken", "version")
_VERSION = sha256(b"|go-actionscache-1.0").hexdigest()
_SERVICE = "/twirp/github.actions.results.api.v1.CacheService/"
_WRITE = 2
_ANSWER = 64 << 10
_PAGE = 4 << 20
_BLOCK = 32 << 20
_PATIENCE = 15.0
_RESULTS = "results-receiver.actions.githubusercontent.com"  # speaks version 2 whatever option names it
_BLOB = "buildkit-blob-1-"
_MOST_PAGES = 1000
_MOST_LOCKED = 100
"""Numbers of the index that are tried: each that others have begun and not finished is passed over."""
_LONGEST_PAUSE = 90.0


class Settings(Record):
    """The options of the cache: where, as whom, for how long (seconds) a call may be tried again, and whether the
    service is the one of version 1. With `listing`, the address of the repository's caches in GitHub's own interface, and
    `listing_token`, a writer asks once which blobs are there.
    """

    url: str
    token: str
    scope: str
    timeout: float
    scopes: tuple[tuple[str, int], ...]
    first: bool = False
    listing: str = ""
    listing_token: str = ""


def settings(entry: CacheEntry, environment: Mapping[str, str]) -> Settings:
    """Read the options; what they do not say, the runner's environment does.

    Raises:
        UsageError: something needed is missing.
    """
    base.check_options(entry, *OPTIONS)
    attrs = entry.attrs
    asked = attrs.get("version", "")
    if asked not in ("", "1", "2"):
        raise UsageError(f"version {asked} of the github actions cache is unknown", hint="There are 1 and 2.")
    attrs = of_runner(attrs, environment)
    token, url, newer = (attrs.get(name, "") for name in ("token", "url", "url_v2"))
    if not token:
        raise UsageError("token not set for github actions cache")
    first = asked == "1" or (not asked and not newer and _RESULTS not in url)
    url = url if first else newer or url
    if not url:
        raise UsageError("url not set for github actions cache")
    text = attrs.get("timeout", "10m")
    try:
        timeout = durations.parse_duration(text) / 1e9
    except DockcError as error:
        raise UsageError(f"failed to parse timeout for github actions cache: {error.message}") from None
    api = environment.get("GITHUB_API_URL") or "https://api.github.com"
    listed = (attrs.get("repository", ""), attrs.get("ghtoken", ""))
    return Settings(
        url.rstrip("/"),
        token,
        attrs.get("scope", "buildkit"),
        timeout,
        scopes_of(token),
        first,
        f"{api.rstrip('/')}/repos/{quote(listed[0])}/actions/caches" if all(listed) else "",
        listed[1],
    )


def of_runner(attrs: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The options with what a runner's environment says of those that are missing.

    A service that only the variable of version 2 names speaks version 2. Where there is an older one, too, the runner says
    which is to be used, as servers of one's own have both.
    """
    older, newer = (environment.get(name, "") for name in ("ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL"))
    second = environment.get("ACTIONS_CACHE_SERVICE_V2", "") in TRUE or not older
    version, named = attrs.get("version", "2" if second else ""), "url" in attrs or "url_v2" in attrs
    told = {"token": environment.get("ACTIONS_RUNTIME_TOKEN", "")}
    if newer and version == "2" and not named:
        told["url_v2"] = newer
    if not named:
        told["url"] = older or newer
    return {name: value for name, value in told.items() if value} | {k: v for k, v in attrs.items() if v}


def scopes_of(token: str) -> tuple[tuple[str, int], ...]:
    """The scopes that a runner's token may use, each with 1 for reading and 2 for writing; the service checks the
    signature.

    Raises:
        UsageError: it is no token of a runner.
    """
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return tuple((str(one["Scope"]), int(one["Permission"])) for one in json.loads(claims["ac"]))
    except (IndexError, ValueError, KeyError, TypeError, RecursionError):
        raise UsageError("invalid token without access controls for github actions cache") from None


class Actions:
    """Entries of the service (`ObjectStore`)."""

    parallel = 4

    def __init__(self, chosen: Settings) -> None:
        self._settings = chosen
        self._transport = Transport()
        self._locked = 0.0
        self._listing = threading.Lock()
        self._listed: frozenset[str] | None = None

    # --- the service ----------------------------------------------------------------------------------

    def _patient(self, ask: Callable[[], Response], cancelled: threading.Event | None) -> Response:
        """An answer; while the service asks to be left alone it is, for as long as the options say."""
        until, wait = time.monotonic() + self._settings.timeout, 1.0
        while True:
            answer = ask()
            wanted = max(wait, retry_after(answer))
            if answer.status != 429 or time.monotonic() + wanted > until:
                return answer
            answer.close()
            pause(wanted, cancelled)
            wait = min(2 * wait, _LONGEST_PAUSE)

    def _call(
        self, method: str, asked: Mapping[str, object], cancelled: threading.Event | None
    ) -> tuple[int, dict[str, Any]]:
        headers = {"authorization": f"Bearer {self._settings.token}", "content-type": "application/json"}
        url, body = self._settings.url + _SERVICE + method, json.dumps(asked).encode()

        def ask() -> Response:
            return self._transport.request("POST", url, headers=headers, body=body, cancelled=cancelled, retry=True)

        with checked(self._patient(ask, cancelled), f"github actions cache: {method}", 200, 404, 409) as good:
            data = good.read_all(_ANSWER)
        return good.status, _object(data)

    def _find(self, key: str, cancelled: threading.Event | None) -> tuple[str, str] | None:
        """The newest entry whose key begins so: its key, and where it can be read."""
        asked = {"key": key, "restore_keys": [key], "version": _VERSION}
        status, found = self._call("GetCacheEntryDownloadURL", asked, cancelled)
        if status != 200 or not found.get("ok"):
            return None
        return str(found.get("matched_key", "")), str(found.get("signed_download_url", ""))

    def _reserve(self, key: str, cancelled: threading.Event | None) -> str:
        """Where a new entry is to be sent; "" where there is one of that key already."""
        status, found = self._call("CreateCacheEntry", {"key": key, "version": _VERSION}, cancelled)
        return str(found.get("signed_upload_url", "")) if status == 200 and found.get("ok") else ""

    def _upload(self, key: str, url: str, size: int, file: BinaryIO, cancelled: threading.Event | None) -> None:
        kind = {"content-type": "application/octet-stream", "x-ms-version": "2021-12-02"}
        if size <= _BLOCK:
            answer = self._transport.request(
                "PUT",
                url,
                headers={**kind, "x-ms-blob-type": "BlockBlob"},
                body=file.read(),
                cancelled=cancelled,
                retry=True,
            )
            checked(answer, f"cannot write {key}", 200, 201).close()
        else:
            names: list[str] = []
            while data := file.read(_BLOCK):
                name = base64.urlsafe_b64encode(f"{len(names):08d}".encode()).decode()
                answer = self._transport.request(
                    "PUT", f"{url}&comp=block&blockid={name}", headers=kind, body=data, cancelled=cancelled, retry=True
                )
                checked(answer, f"cannot write {key}", 200, 201).close()
                names.append(name)
            body = f"<BlockList>{''.join(f'<Latest>{name}</Latest>' for name in names)}</BlockList>".encode()
            answer = self._transport.request(
                "PUT", f"{url}&comp=blocklist", headers=kind, body=body, cancelled=cancelled, retry=True
            )
            checked(answer, f"cannot write {key}", 200, 201).close()
        status, found = self._call(
            "FinalizeCacheEntryUpload", {"key": key, "version": _VERSION, "size_bytes": size}, cancelled
        )
        if status != 200 or not found.get("ok"):
            raise CacheFailed(f"github actions cache: {key} could not be finished")

    # --- what a cache asks ----------------------------------------------------------------------------

    def _index(self, scope: str) -> str:
        return f"index-{self._settings.scope}-1-{sha256(scope.encode()).hexdigest()[:8]}"

    def configs(self, place: Place) -> Sequence[bytes]:
        """See `ObjectStore`: one for each scope that has a cache, the branch's own first."""
        found = []
        for scope, _ in self._settings.scopes:
            entry = self._find(self._index(scope), place.cancelled)
            if entry is not None:
                found.append(document(partial(self._read, entry[1], place.cancelled), LIMIT, place.cancelled)[1])
        return found

    def _read(self, url: str, cancelled: threading.Event | None) -> Response:
        answer = self._transport.request("GET", url, cancelled=cancelled)
        return checked(answer, "cannot read the cache's index", 200)

    def has_blob(self, digest: str, place: Place) -> bool:
        """See `ObjectStore`; by the repository's list of caches, where that may be asked for."""
        if self._settings.listing:
            with self._listing:
                if self._listed is None:
                    self._listed = self._list(place)
            if self._listed:
                return _BLOB + digest in self._listed
        return self._find(_BLOB + digest, place.cancelled) is not None

    def _list(self, place: Place) -> frozenset[str]:
        """Keys of all blobs that the scopes of the token can read; none where the list cannot be had, which is told by
        asking for each blob.
        """
        scopes = {scope for scope, _ in self._settings.scopes}
        headers = {"authorization": f"Bearer {self._settings.listing_token}", "accept": "application/vnd.github+json"}
        keys: set[str] = set()
        for page in range(1, _MOST_PAGES):
            url = f"{self._settings.listing}?per_page=100&page={page}&key={_BLOB}"
            try:
                answer = self._transport.request("GET", url, headers=headers, cancelled=place.cancelled, retry=True)
                with checked(answer, "github: listing caches", 200) as good:
                    found = _object(good.read_all(_PAGE)).get("actions_caches")
            except (RegistryError, CacheFailed):
                return frozenset()
            if not isinstance(found, list) or not found:
                break
            keys |= {
                str(one.get("key"))
                for one in found
                if isinstance(one, dict) and one.get("ref") in scopes and one.get("version", _VERSION) == _VERSION
            }
            if len(found) < 100:
                break
        return frozenset(keys)

    def put_blob(self, digest: str, size: int, file: BinaryIO, place: Place) -> bool:
        """See `ObjectStore`; one that somebody else sends at the same time is as good, if he gets ready soon. All blobs
        together are waited for that long once: whoever began them may be dead.
        """
        key = _BLOB + digest
        if url := self._reserve(key, place.cancelled):
            self._upload(key, url, size, file, place.cancelled)
            return True
        self._locked = self._locked or time.monotonic() + _PATIENCE
        while self._find(key, place.cancelled) is None:
            if time.monotonic() > self._locked:
                return False
            pause(2.0, place.cancelled)
        return True

    def open_blob(self, digest: str, offset: int, cancelled: threading.Event | None) -> Response:
        """See `ObjectStore`; addresses run out, so each time a new one is asked for, and once more where it has."""
        headers = {"range": f"bytes={offset}-"} if offset else {}
        for fine in ((200, 206, 403), (200, 206)):
            entry = self._find(_BLOB + digest, cancelled)
            if entry is None:
                raise CacheFailed(f"github actions cache: {digest} is gone")
            answer = self._transport.request("GET", entry[1], headers=headers, cancelled=cancelled)
            if checked(answer, f"cannot read {digest}", *fine).status != 403:
                return answer
            answer.close()
        raise AssertionError("unreachable: the second answer is fine or refused")

    def put_config(self, data: bytes, place: Place) -> None:
        """See `ObjectStore`: the next number of the index; one that is locked for long (its writer died) is passed
        over.
        """
        import io

        scope = next((name for name, permission in reversed(self._settings.scopes) if permission & _WRITE), "")
        key = self._index(scope)
        entry = self._find(f"{key}#", place.cancelled)
        last = entry[0].rpartition("#")[2] if entry is not None else "0"
        first = int(last) if last.isdecimal() and len(last) < 10 else 0
        waited = 0.0
        for number in range(first + 1, first + 1 + _MOST_LOCKED):
            if url := self._reserve(f"{key}#{number}", place.cancelled):
                self._upload(f"{key}#{number}", url, len(data), io.BytesIO(data), place.cancelled)
                return
            if waited <= _PATIENCE:
                waited += 2.0
                pause(2.0, place.cancelled)
        raise CacheFailed(
            f"github actions cache: no place for the index: {_MOST_LOCKED} numbers after {first} are taken"
        )


class FirstVersion(Actions):
    """The same entries by version 1 of the service, which GitHub has shut down and other runners serve."""

    def _ask(
        self,
        method: str,
        path: str,
        cancelled: threading.Event | None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        sent = {
            "authorization": f"Bearer {self._settings.token}",
            "accept": "application/json;api-version=6.0-preview.1",
        }
        sent |= {"content-type": "application/json"} if headers is None else dict(headers)
        url = f"{self._settings.url}/_apis/artifactcache/{path}"

        def ask() -> Response:
            return self._transport.request(method, url, headers=sent, body=body, cancelled=cancelled, retry=True)

        return self._patient(ask, cancelled)

    def _find(self, key: str, cancelled: threading.Event | None) -> tuple[str, str] | None:
        asked = f"cache?keys={quote(key, safe='')}&version={_VERSION}"
        with checked(self._ask("GET", asked, cancelled), "github actions cache: looking", 200, 204, 404) as answer:
            data = answer.read_all(_ANSWER)
        if answer.status != 200:
            return None
        found = _object(data)
        return str(found.get("cacheKey", "")), str(found.get("archiveLocation", ""))

    def _reserve(self, key: str, cancelled: threading.Event | None) -> str:
        body = json.dumps({"key": key, "version": _VERSION}).encode()
        answer = self._ask("POST", "caches", cancelled, body)
        with checked(answer, "github actions cache: reserving", 200, 201, 409) as good:
            data = good.read_all(_ANSWER)
        number = _object(data).get("cacheId") if good.status != 409 else None
        return f"caches/{number}" if isinstance(number, int) and number > 0 else ""

    def _upload(self, key: str, url: str, size: int, file: BinaryIO, cancelled: threading.Event | None) -> None:
        at = 0
        while data := file.read(_BLOCK):
            headers = {
                "content-type": "application/octet-stream",
                "content-range": f"bytes {at}-{at + len(data) - 1}/*",
            }
            answer = self._ask("PATCH", url, cancelled, data, headers)
            checked(answer, f"cannot write {key}", 200, 201, 204).close()
            at += len(data)
        answer = self._ask("POST", url, cancelled, json.dumps({"size": size}).encode())
        checked(answer, f"github actions cache: {key} could not be finished", 200, 201, 204).close()


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CacheFailed("github actions cache: the answer is no JSON object")
    return found


def connect(chosen: Settings, place: Place) -> ObjectStore:
    """The store of a cache's options."""
    return FirstVersion(chosen) if chosen.first else Actions(chosen)
