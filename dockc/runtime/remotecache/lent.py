"""`type=local` of a build that came from a client: the directory is the client's, who sends and takes blobs by digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from dockc.errors import UsageError
from dockc.golang.text import dump_json
from dockc.oci import digest as digests
from dockc.oci import manifest as manifests
from dockc.oci.descriptor import Descriptor
from dockc.runtime.remotecache import base
from dockc.runtime.remotecache.base import CacheEntry, CacheFailed, FileBlobs, Place
from dockc.runtime.remotecache.chains import Chains
from dockc.runtime.remotecache.keys import Imported
from dockc.runtime.remotecache.local import LocalTarget
from dockc.runtime.remotecache.manifest import make_document, read_document
from dockc.runtime.remotecache.registry import MANIFEST

if TYPE_CHECKING:
    from dockc.runtime.session.base import LentCaches, LentLayout


class LentSource:
    """A cache in a directory of the client (`CacheSource`), who says which manifest it is."""

    def __init__(self, entry: CacheEntry, caches: LentCaches) -> None:
        """Check the options; no I/O."""
        base.check_options(entry, "src", "tag", "digest")
        self._name = entry.shown()
        self._digest = entry.attrs.get("digest", "")
        if not self._digest:
            raise UsageError("local cache importer requires explicit digest")
        digests.validate(self._digest)
        if not entry.attrs.get("src"):
            raise UsageError("local cache importer requires src")
        self._layout = caches.layout(entry.attrs["src"])

    def load(self, place: Place) -> Sequence[Imported]:
        """See `CacheSource`."""
        blobs = _Blobs(self._name, self._layout)
        data = blobs.read(self._digest, manifests.SIZE_LIMIT)
        root = Descriptor("", self._digest, len(data))
        return read_document(self._name, root, data, lambda one, limit: blobs.read(one.digest, limit), blobs, "")


class _Blobs(FileBlobs):
    """Blobs of a client (`Provider`)."""

    def __init__(self, name: str, layout: LentLayout) -> None:
        self._name, self._layout = name, layout

    def _open(self, digest: str) -> tuple[BinaryIO, int]:
        digests.validate(digest)
        try:
            return self._layout.open(f"blobs/{digest.replace(':', '/')}")
        except FileNotFoundError:
            raise CacheFailed(f"{self._name}: the client has no {digest}") from None

    def read(self, digest: str, limit: int) -> bytes:
        """A document, verified."""
        file, size = self._open(digest)
        with file:
            if size > limit:
                raise CacheFailed(f"{self._name}: {digest} is larger than {limit} bytes")
            return digests.check(file.read(limit), digest)

    def open_blob(self, digest: str) -> BinaryIO:
        """See `FileBlobs`."""
        return self._open(digest)[0]


class LentTarget(LocalTarget):
    """A directory of the client that takes a cache (`CacheTarget`). What its index no longer names is his to remove."""

    def __init__(self, entry: CacheEntry, caches: LentCaches) -> None:
        """Check the options; no I/O."""
        super().__init__(entry)
        self._name, self._caches = entry.attrs["dest"], caches

    def save(self, chains: Chains, place: Place) -> Mapping[str, str]:
        """See `CacheTarget`: the client names the manifest, of which it is told."""
        document = make_document(chains, self.form)
        place.content.put(document.config)
        place.content.put(document.data)
        blobs = {blob.digest: blob.size for blob in document.blobs} | {document.root.digest: document.root.size}
        self._caches.write(self._name, blobs, place.content, cancelled=place.cancelled)
        for digest, size in blobs.items():
            if place.progress is not None:
                place.progress(digest, size, size, True)
        return {MANIFEST: dump_json(document.root.to_json()).decode()}
