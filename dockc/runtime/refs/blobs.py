"""Making blobs of layers: tar of a change directory, compressed, into the content store."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from dockc.errors import StoreError
from dockc.oci import mediatypes
from dockc.oci.descriptor import Descriptor
from dockc.oci.digest import Hasher, VerifyingReader
from dockc.runtime.archive.compress import Compression, Compressor, Decompressor, gzip_library
from dockc.runtime.cancel import check_cancelled
from dockc.runtime.content.errors import store_error
from dockc.runtime.content.locks import locked
from dockc.runtime.refs.database import AS_CAME, Blob
from dockc.runtime.refs.moved import tree, tree_of
from dockc.runtime.refs.types import LayerDescriptor
from dockc.runtime.refs.unpack import blamed, ensure_directories, fetch_sound
from dockc.runtime.snapshot.changes import layer_changes
from dockc.runtime.snapshot.tarwrite import write_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dockc.runtime.refs.core import Core
    from dockc.runtime.refs.types import RemoteOptions

_BLOCK = 1 << 20
_TRIES = 3


def layer_descriptor(core: Core, blob: Blob) -> LayerDescriptor:
    """A blob of the store in the form that exporters take."""
    present = core.content.has(blob.descriptor.digest)
    return LayerDescriptor(
        diff_id=blob.diff_id,
        descriptor=blob.descriptor,
        provider=None if present else core.provider(blob),
        origin=blob.origin,
    )


def known_blobs(core: Core, record: str) -> list[Blob | None]:
    """Of each layer of a record, lowest first, the blob it came with, else any that was made of it, else None."""
    names = core.names(record)
    return [_known(core, layer, names.get(at)) for at, layer in enumerate(core.stack(record))]


def _known(core: Core, layer: str, called: Blob | None) -> Blob | None:
    blobs = core.db.blobs(layer)
    return _came(core, blobs, called) or (blobs[0] if blobs else None)


def _came(core: Core, blobs: Sequence[Blob], called: Blob | None) -> Blob | None:
    """The blob that a layer came with: in the image that it is of, as long as it can be had, else in any."""
    if called is not None and (core.content.has(called.descriptor.digest) or core.provider(called) is not None):
        return called
    return next((b for b in blobs if b.variant == AS_CAME), None)


def blob_of(
    core: Core, layer: str, options: RemoteOptions, cancelled: threading.Event | None, called: Blob | None = None
) -> Blob:
    """The blob of a layer that meets the options, made now if there is none.

    `called`: the blob by which its image calls the layer, where that is not the one it came with (`Core.names`).
    """
    made, came, variant = _candidate(core, layer, options, called)
    if made is not None and (made is came or core.content.has_sound(made.descriptor.digest, cancelled)):
        return made
    wanted = options.compression
    with locked(core.lock_path("unpack", layer), cancelled):
        for _ in range(_TRIES):
            new = _convert(core, came, wanted, cancelled) if came else _pack(core, layer, options, cancelled)
            blob = Blob(layer, variant, new.descriptor, new.diff_id, "")
            with core.db.transaction():
                # Another process may just have removed an equal blob that nobody had named.
                if core.content.has(blob.descriptor.digest):
                    core.db.add_blob(blob)
                    if came is None and options.rewrite_timestamp is None:
                        core.db.update(layer, diff_id=blob.diff_id)
                    return blob
    raise StoreError(f"the blob of layer {layer} keeps being removed")


def blob_at_hand(core: Core, layer: str, options: RemoteOptions, called: Blob | None = None) -> Blob | None:
    """What `blob_of` finds without reading or making anything, or None."""
    made, came, _ = _candidate(core, layer, options, called)
    return made if made is not None and (made is came or core.content.is_known(made.descriptor.digest)) else None


def _candidate(
    core: Core, layer: str, options: RemoteOptions, called: Blob | None
) -> tuple[Blob | None, Blob | None, str]:
    """The blob that meets the options, if one is known; the one that the layer came with; the variant of a new one."""
    wanted = options.compression
    blobs = core.db.blobs(layer)
    came = _came(core, blobs, called)
    if came is not None:
        same = mediatypes.layer_compression(came.descriptor.media_type) == wanted.name
        if not wanted.force or (same and wanted.level is None):
            return came, came, AS_CAME
    variant = _variant(wanted, None if came is not None else options.rewrite_timestamp)
    return next((b for b in blobs if b.variant == variant), None), came, variant


def _variant(compression: Compression, epoch: int | None) -> str:
    level = "" if compression.level is None else str(compression.level)
    library = gzip_library() if compression.name == "gzip" and not level else ""
    return json.dumps([compression.name, level, library, epoch])


def _pack(core: Core, layer: str, options: RemoteOptions, cancelled: threading.Event | None) -> LayerDescriptor:
    """The tar of a layer's change directory."""
    parents = core.db.parents(layer)
    below = tree_of(core, parents, cancelled=cancelled)
    ensure_directories(core, (layer,), cancelled=cancelled)
    with ExitStack() as stack:
        # Against what is below, entries that overlayfs copied up and nobody changed are left out.
        lower = stack.enter_context(tree(core, parents, cancelled=cancelled)) if below else None
        changes = layer_changes(core.changes_dir(layer), lower)

        def write(out: Callable[[bytes], object]) -> None:
            write_layer(changes, out, rewrite_timestamp=options.rewrite_timestamp, cancelled=cancelled)

        return _store(core, options.compression, write)


def _convert(core: Core, blob: Blob, compression: Compression, cancelled: threading.Event | None) -> LayerDescriptor:
    """The same tar in another compression."""
    fetch_sound(core, [blob], cancelled=cancelled)
    with core.content.open(blob.descriptor.digest) as stream:
        plain = VerifyingReader(Decompressor(stream, cancelled=cancelled), blob.diff_id)

        def read() -> bytes:
            try:
                return plain.read(_BLOCK)
            except StoreError as error:
                core.db.forget_blob(blob.record, blob.variant)
                raise blamed(core, blob, error) from error

        def write(out: Callable[[bytes], object]) -> None:
            while data := read():
                check_cancelled(cancelled)
                out(data)

        return _store(core, compression, write)


def _store(core: Core, compression: Compression, write: Callable[[Callable[[bytes], object]], None]) -> LayerDescriptor:
    diff = Hasher()
    try:
        with core.content.writer() as writer:
            encoder = Compressor(compression, writer.write)

            def take(data: bytes) -> None:
                diff.update(data)
                encoder.write(data)

            write(take)
            encoder.close()
            digest, size = writer.commit()
    except OSError as error:
        raise store_error(error, "making a layer", core.root) from error
    return LayerDescriptor(diff.digest(), Descriptor(compression.media_type, digest, size))
