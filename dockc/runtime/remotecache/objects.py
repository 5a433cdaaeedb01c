"""Caches in object stores: blobs under their digests, the config under a name. S3, Azure Blob Storage and the cache of
GitHub Actions are the stores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, Protocol

from dockc.errors import RegistryError
from dockc.oci import digest as digests
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import CREATED_AT, UNCOMPRESSED, Descriptor
from dockc.runtime.archive.compress import Compression
from dockc.runtime.content.store import ContentStore
from dockc.runtime.refs.types import LayerDescriptor
from dockc.runtime.registry.resume import bring
from dockc.runtime.registry.transport import Response, document
from dockc.runtime.remotecache import config as configs
from dockc.runtime.remotecache.base import CacheFailed, Place
from dockc.runtime.remotecache.chains import Chains
from dockc.runtime.remotecache.config import CacheLayer
from dockc.runtime.remotecache.keys import Imported
from dockc.runtime.several import several

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.runtime.refs.types import Progress


class ObjectStore(Protocol):
    """Where objects are. Calls block and come from several threads; `CacheFailed` or `RegistryError` when the store
    does not do it.
    """

    @property
    def parallel(self) -> int:
        """How many blobs are sent at once."""
        ...

    def configs(self, place: Place) -> Sequence[bytes]:
        """The configs that a build reads; none where there is no cache yet."""
        ...

    def has_blob(self, digest: str, place: Place) -> bool:
        """Whether a blob is there; one that is there is kept from being cleaned up."""
        ...

    def put_blob(self, digest: str, size: int, file: BinaryIO, place: Place) -> bool:
        """Send a blob; False where another has begun to and is not ready, so that it may be there one day or never."""
        ...

    def open_blob(self, digest: str, offset: int, cancelled: threading.Event | None) -> Response:
        """The bytes of a blob from an offset on."""
        ...

    def put_config(self, data: bytes, place: Place) -> None:
        """Write the config under its name."""
        ...


Connect = Callable[[Place], ObjectStore]


class NamedStore:
    """An `ObjectStore` whose blobs and configs lie under paths that the options tell, as S3 and Azure have them.

    Attributes:
        range: the header that asks for the rest of a blob.
    """

    range = "range"

    def __init__(self, names: Sequence[str], blobs: str, manifests: str) -> None:
        """Ask nothing yet.

        Args:
            names: of the config; the first is read, all are written.
            blobs: what stands before the digest of a blob.
            manifests: what stands before the name of a config.
        """
        self._names, self._blobs, self._manifests = names, blobs, manifests

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
        """What the store answers, whatever the status; signed."""
        raise NotImplementedError

    def put(self, path: str, data: bytes, place: Place) -> None:
        """Write a whole object."""
        raise NotImplementedError

    def configs(self, place: Place) -> Sequence[bytes]:
        """See `ObjectStore`."""

        def ask() -> Response:
            answer = self.ask("GET", self._manifests + self._names[0], place.cancelled)
            return checked(answer, "cannot read the cache's manifest", 200, 404)

        answer, data = document(ask, configs.LIMIT, place.cancelled)
        return () if answer.status == 404 else (data,)

    def open_blob(self, digest: str, offset: int, cancelled: threading.Event | None) -> Response:
        """See `ObjectStore`."""
        headers = {self.range: f"bytes={offset}-"} if offset else {}
        answer = self.ask("GET", self._blobs + digest, cancelled, headers=headers)
        return checked(answer, f"cannot read {digest}", 200, 206)

    def put_config(self, data: bytes, place: Place) -> None:
        """See `ObjectStore`; under every name."""
        for name in self._names:
            self.put(self._manifests + name, data, place)


class ObjectSource:
    """An object store's cache (`CacheSource`)."""

    def __init__(self, name: str, connect: Connect) -> None:
        self._name = name
        self._connect = connect

    def load(self, place: Place) -> Sequence[Imported]:
        """See `CacheSource`."""
        store = self._connect(place)
        provider = ObjectProvider(store)
        found = []
        for data in store.configs(place):
            cache = configs.parse(data)
            layers = tuple(_layer(one, provider) for one in cache.layers)
            found.append(Imported(self._name, cache, layers, provider))
        return found


def _layer(layer: CacheLayer, provider: ObjectProvider) -> LayerDescriptor | None:
    """A layer with all that the config says of it; without its uncompressed digest, and if it is none, it cannot be used."""
    if not layer.blob or not layer.diff_id or not mt.is_layer(layer.media_type):
        return None
    notes = {UNCOMPRESSED: layer.diff_id}
    if layer.created_at and not layer.created_at.startswith("0001-"):
        notes[CREATED_AT] = layer.created_at
    return LayerDescriptor(
        layer.diff_id, Descriptor(layer.media_type, layer.blob, layer.size, annotations=notes), provider
    )


class ObjectProvider:
    """Fetches blobs of an object store, going on where a connection broke (`Provider`)."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def fetch(
        self,
        descriptor: Descriptor,
        content: ContentStore,
        *,
        cancelled: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Bring a blob into the content store, which verifies it."""
        if content.has(descriptor.digest):
            return

        def open_at(place: int) -> Response:
            return self._store.open_blob(descriptor.digest, place, cancelled)

        bring(f"blob {descriptor.digest}", descriptor, content, open_at, cancelled=cancelled, progress=progress)
        if progress is not None:
            progress(descriptor.digest, descriptor.size, descriptor.size, True)


class ObjectTarget:
    """An object store that takes a cache (`CacheTarget`)."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self.compression = Compression()

    def save(self, chains: Chains, place: Place) -> Mapping[str, str]:
        """See `CacheTarget`: blobs first, several at once, the config last. It names nothing that is not there."""
        store = self._connect(place)
        missing: set[str] = set()

        def send(blob: Descriptor, _stop: threading.Event) -> None:
            if not self._send(store, blob, place):
                missing.add(blob.digest)

        several(send, chains.blobs, store.parallel, cancelled=place.cancelled, name="cache")
        if missing:
            place.warn(f"{len(missing)} blobs are not in the cache: others have begun to send them and are not ready")
        store.put_config(configs.dump(configs.without(chains.config, missing), annotated=True), place)
        return {}

    def _send(self, store: ObjectStore, blob: Descriptor, place: Place) -> bool:
        digests.validate(blob.digest)
        if not store.has_blob(blob.digest, place):
            with place.content.open(blob.digest) as file:
                if not store.put_blob(blob.digest, blob.size, file, place):
                    return False
        if place.progress is not None:
            place.progress(blob.digest, blob.size, blob.size, True)
        return True


def checked(answer: Response, what: str, *fine: int) -> Response:
    """The answer, if its status is one of `fine`.

    Raises:
        CacheFailed: with the reason that the store gives.
    """
    if answer.status in fine:
        return answer
    with answer:
        try:
            text = answer.read_all(4096).decode("utf-8", "replace")
        except RegistryError:
            text = ""
    reason = " ".join(text.split())[:200]
    raise CacheFailed(f"{what}: {answer.status}{f': {reason}' if reason else ''}")
