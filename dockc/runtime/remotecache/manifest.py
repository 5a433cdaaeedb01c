"""Caches under a manifest: an OCI image manifest whose config is the cache config, an index that lists blobs, or an
image that carries records itself.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence

from dockc.base.record import Record, replace
from dockc.errors import DockcError, UsageError
from dockc.golang.text import dump_json
from dockc.oci import digest as digests
from dockc.oci import manifest as manifests
from dockc.oci import mediatypes as mt
from dockc.oci.config import ImageConfig
from dockc.oci.descriptor import CREATED_AT, DESCRIPTION, UNCOMPRESSED, Descriptor
from dockc.oci.manifest import Index, Manifest
from dockc.runtime.refs.types import LayerDescriptor, Provider
from dockc.runtime.remotecache import config as configs
from dockc.runtime.remotecache.base import CacheEntry, CacheFailed
from dockc.runtime.remotecache.chains import Chains, blob_descriptors
from dockc.runtime.remotecache.config import CacheRecord
from dockc.runtime.remotecache.keys import Imported

INLINE_FIELD = "moby.buildkit.cache.v0"
OPTIONS = ("image-manifest", "oci-mediatypes")
Read = Callable[[Descriptor, int], bytes]
"""Gives a document by its descriptor, verified, if it is not larger than so many bytes."""
_MOST_IMAGES = 100


class Form(Record):
    """How the manifest is written: with OCI's media types or Docker's, as an image manifest or as an index."""

    oci: bool = True
    image: bool = True


def form_of(entry: CacheEntry) -> Form:
    """What an entry asks for.

    Raises:
        UsageError: an image manifest without OCI media types, as in BuildKit.
    """
    oci = entry.flag("oci-mediatypes") is not False
    wanted = entry.flag("image-manifest")
    if wanted and not oci:
        raise UsageError(
            "invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format"
        )
    return Form(oci, oci if wanted is None else wanted)


class Document(Record):
    """A cache as documents: the config's bytes, the manifest's, and what the manifest lists besides."""

    config: bytes
    root: Descriptor
    data: bytes
    blobs: tuple[Descriptor, ...]


def make_document(chains: Chains, form: Form) -> Document:
    """The documents of a cache; the blobs are listed, not written."""
    blobs = blob_descriptors(chains, oci=form.oci)
    config = configs.dump(chains.config, annotated=False)
    described = Descriptor(configs.MEDIA_TYPE, digests.from_bytes(config), len(config))
    manifest: Manifest | Index
    if form.image:
        kind = mt.OCI_MANIFEST
        manifest = Manifest(kind, described, blobs)
    else:
        kind = mt.OCI_INDEX if form.oci else mt.DOCKER_LIST
        manifest = Index(kind, (*blobs, described))
    data = dump_json(manifest.to_json())
    return Document(config, Descriptor(kind, digests.from_bytes(data), len(data)), data, (*blobs, described))


def read_document(
    name: str, root: Descriptor, data: bytes, read: Read, provider: Provider, origin: str
) -> list[Imported]:
    """What a manifest says of a cache.

    Args:
        name: for messages.
        root: what the manifest is.
        data: its bytes.
        read: gives the other documents.
        provider: fetches blobs.
        origin: how a later process finds them (see `LayerDescriptor.origin`).

    Raises:
        DockcError: it is no manifest, or a document is missing or broken.
    """
    parsed = manifests.parse(data, root.media_type)
    if isinstance(parsed, Manifest):
        if parsed.config.media_type != configs.MEDIA_TYPE:
            return _inline(name, [parsed], read, provider, origin)
        config, blobs = parsed.config, parsed.layers
    else:
        found = next((one for one in parsed.manifests if one.media_type == configs.MEDIA_TYPE), None)
        if found is None:
            return _inline(name, list(_images(parsed, read)), read, provider, origin)
        config, blobs = found, tuple(one for one in parsed.manifests if one.media_type != configs.MEDIA_TYPE)
    by_digest = {blob.digest: blob for blob in blobs}
    cache = configs.parse(read(config, configs.LIMIT))
    layers = tuple(_layer(by_digest.get(one.blob), provider, origin) for one in cache.layers)
    return [Imported(name, cache, layers, provider)]


def _layer(blob: Descriptor | None, provider: Provider, origin: str) -> LayerDescriptor | None:
    """A layer that can be unpacked: one that says so, and whose uncompressed digest is known."""
    diff_id = blob.annotations.get(UNCOMPRESSED, "") if blob is not None else ""
    if blob is None or not mt.is_layer(blob.media_type):
        return None
    if not digests.is_valid(diff_id) or not digests.is_valid(blob.digest):
        return None
    return LayerDescriptor(diff_id, blob, provider, origin)


def _images(index: Index, read: Read) -> list[Manifest]:
    """The images of an index; an index inside is looked into once."""
    found: list[Manifest] = []
    waiting = list(index.manifests)
    seen: set[str] = set()
    while waiting and len(seen) < _MOST_IMAGES:
        one = waiting.pop(0)
        if one.digest in seen:
            continue
        seen.add(one.digest)
        parsed = manifests.parse(read(one, manifests.SIZE_LIMIT), one.media_type)
        if isinstance(parsed, Manifest):
            found.append(parsed)
        else:
            waiting += parsed.manifests
    return found


def _inline(name: str, images: Sequence[Manifest], read: Read, provider: Provider, origin: str) -> list[Imported]:
    """The caches that images carry in their configs."""
    found = []
    for image in images:
        if not image.layers:
            continue
        data = read(image.config, configs.LIMIT)
        try:
            records = json.loads(base64.b64decode(json.loads(data).get(INLINE_FIELD) or "", validate=True) or b"[]")
            config = ImageConfig.parse(data)
            diff_ids = config.diff_ids
        except (ValueError, AttributeError, TypeError, RecursionError, DockcError) as error:
            raise CacheFailed(f"{name}: the cache in the image's config cannot be read: {error}") from None
        if not records or not isinstance(records, list) or len(diff_ids) != len(image.layers):
            continue
        raw = [{"blob": layer.digest, "parent": at - 1} for at, layer in enumerate(image.layers)]
        cache = configs.of_lists(raw, records)
        layers = tuple(
            LayerDescriptor(
                diff_id,
                replace(layer, annotations={**layer.annotations, **notes, UNCOMPRESSED: diff_id}),
                provider,
                origin,
            )
            if digests.is_valid(diff_id) and mt.is_layer(layer.media_type)
            else None
            for diff_id, layer, notes in zip(diff_ids, image.layers, _told(config), strict=True)
        )
        found.append(Imported(name, cache, layers))
    return found


def _told(config: ImageConfig) -> list[dict[str, str]]:
    """What an image's history says of each layer, as annotations."""
    told = [one for one in config.history if not one.empty_layer]
    if len(told) != len(config.diff_ids):
        return [{} for _ in config.diff_ids]
    found = []
    for one in told:
        notes = {DESCRIPTION: one.created_by} if one.created_by else {}
        found.append(notes | ({CREATED_AT: str(one.created)} if one.created is not None else {}))
    return found


def with_inline(config: bytes, records: Sequence[CacheRecord]) -> bytes:
    """An image config that carries records whose results are the image's layers."""
    document = json.loads(config)
    document[INLINE_FIELD] = base64.b64encode(dump_json(configs.records_json(records, of_image=True))).decode()
    return dump_json(document)
