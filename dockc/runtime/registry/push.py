"""Sending an image to a registry: blobs first, several at once, then manifests, the named one last.

A blob that the registry has is not sent; one that another repository of the same registry has is taken over
from there; a layer that was never fetched is fetched only when it really has to be sent.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from dockc.base.record import Mutable, made
from dockc.errors import RegistryError
from dockc.oci import manifest as manifests
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import Descriptor
from dockc.oci.manifest import Index
from dockc.oci.reference import InvalidReference, Reference, parse_normalized
from dockc.runtime.cancel import Cancelled
from dockc.runtime.refs.fetching import fetch_by
from dockc.runtime.registry.client import AccessDenied, Busy, NotFound
from dockc.runtime.registry.transport import Unreachable, pause
from dockc.runtime.several import TRANSFERS, several

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.manager import ProviderFactory
    from dockc.runtime.refs.types import LayerDescriptor, Progress
    from dockc.runtime.registry.client import Client, Upload

Document = tuple[Descriptor, bytes, tuple[Descriptor, ...]]
"""A manifest, its bytes, and the blobs that it names."""

_ATTEMPTS = 3
_PAUSE = 0.25
"""Seconds before a busy registry is asked again; doubles each time."""
_ORIGIN = "docker-image://"


class Push(Mutable):
    """One image on its way to one name.

    Attributes:
        client: speaks to the registry.
        content: holds the manifests, the configs, and the blobs that are here.
        layers: layers by blob digest; their providers fetch what is not here.
        progress: told of every blob.
        cancelled: the build's cancel event.
        chunk: send blobs in parts of this many bytes; 0 sends each in one request.
        instead: fetch as whoever pushes, where a layer's provider cannot (`refs.fetching`).

    Mutable state: `_sent`, the repository of each registry that the last image went to, changed by `run` alone.
    """

    client: Client
    content: ContentStore
    layers: Mapping[str, LayerDescriptor] = made(dict)
    progress: Progress | None = None
    cancelled: threading.Event | None = None
    chunk: int = 0
    instead: Sequence[ProviderFactory] = ()
    _sent: dict[str, str] = made(dict)

    def run(self, ref: Reference, root: Descriptor, *, by_digest: bool = False) -> None:
        """Send the tree below `root`.

        Args:
            ref: the name it gets.
            root: manifest or index, in the content store.
            by_digest: do not tag it.

        Raises:
            RegistryError: the registry refuses or breaks; what was sent so far stays there, untagged.
        """
        self.send_manifests(ref, root, self.send_layers(ref, root), by_digest=by_digest)

    def send_layers(self, ref: Reference, root: Descriptor) -> list[Document]:
        """Send all but the manifests, which are given for `send_manifests`; raises as `run`."""
        documents = self._documents(root)
        blobs = {blob.digest: blob for _, _, found in documents for blob in found}
        self.send_blobs(ref, blobs.values())
        return documents

    def send_manifests(
        self, ref: Reference, root: Descriptor, documents: Sequence[Document], *, by_digest: bool = False
    ) -> None:
        """Send the manifests, whose blobs are there; raises as `run`."""
        for descriptor, data, _ in documents:
            top = descriptor.digest == root.digest
            name = descriptor.digest if by_digest or not top else (ref.tag or root.digest)
            self.client.put_manifest(ref, data, descriptor.media_type, name, cancelled=self.cancelled)
        self._sent[ref.domain] = ref.path

    def _documents(self, root: Descriptor) -> list[Document]:
        """Every manifest below `root` with its blobs, children before their index."""
        data = self.content.read(root.digest)
        parsed = manifests.parse(data, root.media_type)
        if not isinstance(parsed, Index):
            layers = tuple(layer for layer in parsed.layers if not mt.is_nondistributable(layer.media_type))
            return [(root, data, (parsed.config, *layers))]
        found: dict[str, tuple[Descriptor, bytes, tuple[Descriptor, ...]]] = {}
        for child in parsed.manifests:
            if child.media_type in mt.INDEXES:
                raise RegistryError(f"{root.digest}: an index inside an index cannot be pushed")
            for entry in self._documents(child):
                found[entry[0].digest] = entry
        return [*found.values(), (root, data, ())]

    def send_blobs(self, ref: Reference, blobs: Iterable[Descriptor]) -> None:
        """Send blobs, several at once; what the registry has is not sent."""

        def send(blob: Descriptor, _stop: threading.Event) -> None:
            self._send(ref, blob)

        several(send, blobs, TRANSFERS, cancelled=self.cancelled, name="push")

    def _send(self, ref: Reference, blob: Descriptor) -> None:
        layer = self.layers.get(blob.digest)
        for attempt in range(1, _ATTEMPTS + 1):
            sending = False
            try:
                if not self.client.has_blob(ref, blob.digest, cancelled=self.cancelled):
                    sending = True
                    self._transfer(ref, blob, layer)
                break
            except (Unreachable, AccessDenied, NotFound, Busy) as error:
                # A token, or the upload, may have run out in the middle of it. A question has been asked again already.
                if attempt == _ATTEMPTS or (isinstance(error, Busy) and not sending):
                    raise
                if isinstance(error, Busy):
                    longest = self.client.transport.limits.patience
                    pause(max(_PAUSE * 2**attempt, min(error.wait, longest)), self.cancelled)
        if self.progress is not None:
            self.progress(blob.digest, blob.size, blob.size, True)

    def _transfer(self, ref: Reference, blob: Descriptor, layer: LayerDescriptor | None) -> None:
        source = _source_repository(ref, layer.origin) if layer is not None else ""
        if not source and self._sent.get(ref.domain, ref.path) != ref.path:
            source = self._sent[ref.domain]
        upload = self._begin(ref, blob, source)
        if upload is None:
            return
        if not self.content.has_sound(blob.digest, self.cancelled):
            if layer is None or layer.provider is None:
                raise RegistryError(f"{ref}: blob {blob.digest} is not in the store")
            fetch_by(
                layer.provider,
                self.instead,
                layer.descriptor,
                layer.origin,
                self.content,
                cancelled=self.cancelled,
                progress=self.progress,
            )
        with self.content.open(blob.digest) as file:
            if not self.chunk or blob.size <= self.chunk:
                body = _Watched(file, self, blob)
                self.client.send(ref, upload, blob.digest, blob.size, body, cancelled=self.cancelled)
                return
            offset = 0
            while data := file.read(self.chunk):
                upload = self.client.send_chunk(ref, upload, data, offset, cancelled=self.cancelled)
                offset += len(data)
                if self.progress is not None:
                    self.progress(blob.digest, offset, blob.size, False)
        self.client.send(ref, upload, blob.digest, 0, b"", cancelled=self.cancelled)

    def _begin(self, ref: Reference, blob: Descriptor, source: str) -> Upload | None:
        """An upload session; None where the blob was taken over from the repository `source` of the same registry."""
        if source:
            try:
                return self.client.start_upload(ref, mount=blob.digest, source=source, cancelled=self.cancelled)
            except AccessDenied:
                pass  # who may write here may not read there
        return self.client.start_upload(ref, cancelled=self.cancelled)


def _source_repository(target: Reference, origin: str) -> str:
    """Repository of the target's registry that a layer came from, or "" when it is the target or elsewhere."""
    if not origin.startswith(_ORIGIN):
        return ""
    try:
        source = parse_normalized(origin.removeprefix(_ORIGIN))
    except InvalidReference:
        return ""
    return source.path if source.domain == target.domain and source.path != target.path else ""


class _Watched:
    """A blob's file that tells of its progress and stops when the build does."""

    def __init__(self, file: BinaryIO, push: Push, blob: Descriptor) -> None:
        self._file = file
        self._push = push
        self._blob = blob
        self._sent = 0

    def read(self, size: int = -1) -> bytes:
        if self._push.cancelled is not None and self._push.cancelled.is_set():
            raise Cancelled("cancelled")
        data = self._file.read(size)
        self._sent += len(data)
        if self._push.progress is not None:
            self._push.progress(self._blob.digest, self._sent, self._blob.size, False)
        return data
