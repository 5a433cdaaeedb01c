"""A directory of caches, an OCI layout, and what writers owe each other there: one changes the index at a time, and nothing
is collected while somebody writes. In the directory of a client, too, for whom a builder elsewhere writes.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

from dockc.base.files import open_regular
from dockc.base.openflags import CLOEXEC, DIRECTORY
from dockc.errors import DockcError
from dockc.oci import digest as digests
from dockc.oci import manifest as manifests
from dockc.oci import mediatypes as mt
from dockc.oci.manifest import Manifest
from dockc.runtime.remotecache.base import CacheEntry, CacheFailed, FileBlobs

INDEX_LIMIT = 4 << 20


def collects(entry: CacheEntry) -> bool:
    """Whether what the index does not name any more goes when the cache has been written.

    Raises:
        UsageError: the option is neither true nor false.
    """
    return bool(entry.flag("reset") or entry.flag("gc"))


class Writing:
    """A writer's time in a directory of caches: from its first blob until the index names them, nobody collects.

    Writers share a lock on `blobs`; who collects must have it alone, so that where several write at once the last of them
    collects. A system or file system without such locks has them all free.
    """

    def __init__(self, folder: Path, cancelled: threading.Event | None = None) -> None:
        self._folder, self._cancelled = folder, cancelled
        self._held = -1

    def __enter__(self) -> Self:
        blobs = self._folder / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        if sys.platform != "win32":
            from dockc.runtime.content.locks import hold

            self._held = os.open(blobs, os.O_RDONLY | DIRECTORY | CLOEXEC)
            try:
                hold(self._held, self._cancelled, shared=True)
            except BaseException:
                self.__exit__()
                raise
        return self

    @contextmanager
    def index(self) -> Iterator[None]:
        """Alone with the index, as BuildKit's clients are, too."""
        if sys.platform == "win32":
            yield
            return
        from dockc.runtime.content.locks import locked

        with locked(self._folder / "index.json.lock", self._cancelled):
            yield

    def collect(self) -> None:
        """Remove what the index does not name, unless somebody writes; to be called when it names what was written."""
        if sys.platform != "win32":
            from dockc.runtime.content.locks import try_hold

            if self._held >= 0 and not try_hold(self._held):
                return
        with self.index():
            collect(self._folder)

    def __exit__(self, *_: object) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


class BlobFiles(FileBlobs):
    """The blobs of a layout that others may write to (`Provider`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _open(self, digest: str) -> BinaryIO:
        digests.validate(digest)
        algorithm, _, encoded = digest.partition(":")
        path = self._folder / "blobs" / algorithm / encoded
        try:
            return open_regular(path)
        except OSError as error:
            raise CacheFailed(f"{self._folder}: cannot read {digest}: {error.strerror}") from None

    def read(self, digest: str, limit: int) -> bytes:
        """A document, verified."""
        with self._open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise CacheFailed(f"{self._folder}: {digest} is larger than {limit} bytes")
        return digests.check(data, digest)

    def open_blob(self, digest: str) -> BinaryIO:
        """See `FileBlobs`."""
        return self._open(digest)


# --- the index ----------------------------------------------------------------------------------------


def index_of(folder: Path) -> dict[str, Any] | None:
    """The layout's index; None where there is none.

    Raises:
        CacheFailed: it cannot be read.
    """
    try:
        with open_regular(folder / "index.json") as file:
            found = json.loads(file.read(INDEX_LIMIT))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CacheFailed(f"cannot read {folder / 'index.json'}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CacheFailed(f"{folder / 'index.json'} is no index") from None
    return found if isinstance(found, dict) else {}


def entries_of(index: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The descriptors in an index."""
    found = index.get("manifests")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def collect(folder: Path) -> int:
    """Remove the blobs that no manifest of the index names; returns the bytes that went.

    Nothing is removed where a manifest cannot be read: what it names is not known.
    """
    files = BlobFiles(folder)
    needed: set[str] = set()
    waiting = [str(one.get("digest", "")) for one in entries_of(index_of(folder) or {})]
    while waiting:
        digest = waiting.pop()
        if digest in needed:
            continue
        needed.add(digest)
        try:
            parsed = manifests.parse(files.read(digest, manifests.SIZE_LIMIT))
        except DockcError:
            return 0
        if isinstance(parsed, Manifest):
            needed |= {parsed.config.digest, *(layer.digest for layer in parsed.layers)}
            continue
        for one in parsed.manifests:
            if one.media_type in (*mt.MANIFESTS, *mt.INDEXES):
                waiting.append(one.digest)
            else:
                needed.add(one.digest)
    freed = 0
    for path in sorted((folder / "blobs").glob("*/*")):
        if f"{path.parent.name}:{path.name}" not in needed and path.is_file():
            freed += path.stat().st_size
            path.unlink(missing_ok=True)
    return freed
