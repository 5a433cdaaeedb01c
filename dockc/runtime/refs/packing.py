"""Layers as blobs, for as long as an export takes: each is looked for, made and looked at once, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dockc.base.record import replace
from dockc.golang.times import Time
from dockc.oci.descriptor import CREATED_AT
from dockc.runtime.refs.blobs import blob_at_hand, blob_of, layer_descriptor
from dockc.runtime.refs.types import LayerDescriptor, Remote, RemoteOptions
from dockc.runtime.several import several, workers

if TYPE_CHECKING:
    from dockc.runtime.refs.core import Core
    from dockc.runtime.refs.database import Blob


class Packing:
    """Makes blobs of layers as some options want them, and keeps what it has found.

    Args:
        core: the store.
        options: how layers become blobs.
        dated: say of each layer when it was made, where nothing is said yet.
        cancelled: the build's event.

    Mutable: `_found`; one thread's.
    """

    def __init__(
        self,
        core: Core,
        options: RemoteOptions | None = None,
        *,
        dated: bool = False,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._core = core
        self._options = options or RemoteOptions()
        self._dated = dated
        self._cancelled = cancelled
        self._found: dict[tuple[str, str], LayerDescriptor] = {}

    def prepare(self, records: Sequence[str]) -> None:
        """Make the blobs of all layers of these records, which somebody holds.

        Raises:
            StoreError: a layer that cannot be packed, or the disk is full.
            Cancelled: `cancelled` was set.
        """
        core = self._core
        layers = {key: called for record in records for key, called in self._layers(record)}
        new = {key: called for key, called in layers.items() if key not in self._found}
        blobs = {key: blob_at_hand(core, key[0], self._options, called) for key, called in new.items()}

        def make(key: tuple[str, str], stop: threading.Event) -> Blob:
            return blob_of(core, key[0], self._options, stop, new[key])

        missing = [key for key, blob in blobs.items() if blob is None]
        made = several(make, missing, workers(), cancelled=self._cancelled, name="pack")
        blobs |= dict(zip(missing, made, strict=True))
        for key, blob in blobs.items():
            assert blob is not None
            self._found[key] = self._described(key[0], blob)

    def remote(self, record: str) -> Remote:
        """The layers of a record as blobs, lowest first; raises as `prepare`."""
        self.prepare((record,))
        return Remote(tuple(self._found[key] for key, _ in self._layers(record)))

    def _layers(self, record: str) -> Iterator[tuple[tuple[str, str], Blob | None]]:
        """Each layer with the digest of the blob by which its image calls it, or "", and that blob."""
        names = self._core.names(record)
        for at, layer in enumerate(self._core.stack(record)):
            called = names.get(at)
            yield (layer, called.descriptor.digest if called is not None else ""), called

    def _described(self, layer: str, blob: Blob) -> LayerDescriptor:
        found = layer_descriptor(self._core, blob)
        notes = found.descriptor.annotations
        if not self._dated or CREATED_AT in notes:
            return found
        moment = {CREATED_AT: str(Time.from_ns(self._core.record(layer).created_at))}
        return replace(found, descriptor=replace(found.descriptor, annotations={**moment, **notes}))
