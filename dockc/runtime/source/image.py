"""Images as sources: find the manifest for a platform, read its config, hand over its layers unfetched.

Where manifests and blobs come from (a registry, an OCI layout) is an `Origin`; all else is the same. Manifests
and configs are kept in the content store; layers stay where they are until somebody mounts them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from dockc.base.record import Mutable, Record
from dockc.errors import RegistryError
from dockc.golang.text import dump_json
from dockc.oci import digest as digests
from dockc.oci import manifest as manifests
from dockc.oci import mediatypes as mt
from dockc.oci import platform as platforms
from dockc.oci.config import SIZE_LIMIT as CONFIG_LIMIT
from dockc.oci.config import ImageConfig, chain_id
from dockc.oci.descriptor import Descriptor
from dockc.oci.fields import InvalidDocument
from dockc.oci.manifest import Index, Manifest
from dockc.oci.platform import Platform
from dockc.oci.reference import InvalidReference, Reference, parse_normalized
from dockc.runtime.refs.types import LayerDescriptor, RecordType, blob_chains
from dockc.runtime.registry.client import NotFound
from dockc.runtime.registry.transport import printable
from dockc.runtime.source.base import BLOBS, Claim, SourceKey

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.runtime.refs.types import Provider
    from dockc.solver.op import Later, OpContext

_NESTING = 4
"""Indexes inside indexes that are followed."""
_SCHEMA1 = (
    "support Docker Image manifest version 2, schema 1 has been removed. "
    "More information at https://docs.docker.com/go/deprecated-image-specs/"
)


class Origin(Protocol):
    """A place that holds an image."""

    provider: Provider
    """Fetches the image's blobs."""
    name: str
    """How a later process finds the place again (`LayerDescriptor.origin`), digest left out."""

    def vouches(self, ref: Reference) -> bool:
        """Whether it is known that a reference by digest is found here, so that nobody need be asked."""
        ...

    def resolve(self, ref: Reference, cancelled: threading.Event | None) -> Descriptor:
        """What the reference stands for now."""
        ...

    def manifest(self, ref: Reference, cancelled: threading.Event | None) -> tuple[Descriptor, bytes]:
        """Manifest or index by name, verified."""
        ...


class LoadedImage(Record):
    """An image whose manifest and config are in the content store.

    Attributes:
        ref: the reference that was asked for.
        root: what the reference stands for: a manifest or an index.
        manifest: the manifest for the platform.
        config: the config's bytes.
        layers: lowest first, with diff ids.
    """

    ref: Reference
    root: Descriptor
    manifest: Manifest
    config: bytes
    layers: tuple[LayerDescriptor, ...]


def load(
    origin: Origin,
    ref: Reference,
    platform: Platform,
    content: ContentStore,
    *,
    root: Descriptor | None = None,
    cancelled: threading.Event | None = None,
) -> LoadedImage:
    """Find an image's manifest for a platform and read its config.

    Args:
        origin: where to look.
        ref: tag or digest of the image.
        platform: wanted; an image with a single manifest is taken whatever it runs on.
        content: where manifests and configs are kept; asked first for what has a digest.
        root: what the reference stands for, when that is known already.
        cancelled: the build's cancel event.

    Raises:
        NotFound: no such image, or none for the platform.
        RegistryError: the origin fails, or its documents do not make an image.
        DigestMismatch: it sent other bytes than it said.
    """
    matcher = platforms.only(platform)
    found = root or _known(ref, content, origin) or origin.resolve(ref, cancelled)
    top = here = found
    for _ in range(_NESTING):
        data = _document(origin, ref, here, content, cancelled)
        parsed = _parse(ref, data, here.media_type)
        if isinstance(parsed, Manifest):
            break
        here = _choose(ref, here, parsed, matcher)
    else:
        raise RegistryError(f"{ref}: more than {_NESTING} indexes inside each other")
    if not top.media_type:
        top = Descriptor(parsed.media_type, top.digest, top.size)
    config = _config(origin, ref, parsed, content, cancelled)
    layers = _layers(origin, ref, top, parsed, config)
    return LoadedImage(ref, top, parsed, config, layers)


def _known(ref: Reference, content: ContentStore, origin: Origin) -> Descriptor | None:
    """A reference by digest whose document is here, and came from there, needs no question."""
    if not ref.digest or not content.has(ref.digest) or not origin.vouches(ref):
        return None
    return Descriptor("", ref.digest, content.size(ref.digest))


def _document(
    origin: Origin,
    ref: Reference,
    descriptor: Descriptor,
    content: ContentStore,
    cancelled: threading.Event | None,
) -> bytes:
    known = content.find(descriptor.digest, manifests.SIZE_LIMIT)
    if known is not None:
        return known
    if descriptor.data and digests.from_bytes(descriptor.data) == descriptor.digest:
        data = descriptor.data
    else:
        _, data = origin.manifest(ref.trim().with_digest(descriptor.digest), cancelled)
    content.put(data, descriptor.digest)
    return data


def _parse(ref: Reference, data: bytes, media_type: str) -> Manifest | Index:
    try:
        return manifests.parse(data, media_type)
    except InvalidDocument as error:
        message = _SCHEMA1 if "schema 1" in error.message else error.message
        raise RegistryError(f"{ref}: {message}") from None


def _choose(ref: Reference, index: Descriptor, parsed: Index, matcher: platforms.Matcher) -> Descriptor:
    """The manifest that fits best; one without a platform serves when nothing else does."""
    stated = [(m, m.platform) for m in parsed.manifests if m.platform is not None]
    fitting = matcher.sort([pair for pair in stated if matcher.match(pair[1])], lambda pair: pair[1])
    if fitting:
        return fitting[0][0]
    for candidate in parsed.manifests:
        if candidate.platform is None and (candidate.media_type in mt.MANIFESTS | mt.INDEXES):
            return candidate
    offered = sorted({platforms.format_all(p) for _, p in stated if p.os != "unknown"})
    raise NotFound(
        f"{ref}: no match for platform in manifest {index.digest}: not found",
        hint=printable(f"the image is made for {', '.join(offered[:20])}") if offered else "",
    )


def _config(
    origin: Origin,
    ref: Reference,
    manifest: Manifest,
    content: ContentStore,
    cancelled: threading.Event | None,
) -> bytes:
    descriptor = manifest.config
    if descriptor.media_type not in mt.CONFIGS:
        raise RegistryError(f"{ref}: not an image: its config is of type {descriptor.media_type!r}")
    if descriptor.size > CONFIG_LIMIT:
        raise RegistryError(f"{ref}: image config is larger than {CONFIG_LIMIT} bytes")
    known = content.find(descriptor.digest, CONFIG_LIMIT)
    if known is not None:
        return known
    origin.provider.fetch(descriptor, content, cancelled=cancelled)
    return content.read(descriptor.digest, CONFIG_LIMIT)


def _layers(
    origin: Origin, ref: Reference, root: Descriptor, manifest: Manifest, config: bytes
) -> tuple[LayerDescriptor, ...]:
    try:
        diff_ids = ImageConfig.parse(config).diff_ids
    except InvalidDocument as error:
        raise RegistryError(f"{ref}: {error.message}") from None
    if len(diff_ids) != len(manifest.layers):
        raise RegistryError(
            f"{ref}: mismatched image rootfs and manifest layers: {len(diff_ids)} diff ids for "
            f"{len(manifest.layers)} layers"
        )
    for layer in manifest.layers:
        if not mt.is_layer(layer.media_type):
            raise RegistryError(f"{ref}: layer {layer.digest} is of unknown type {layer.media_type!r}")
    place = f"{origin.name}@{root.digest}"
    return tuple(
        LayerDescriptor(diff_id, layer, origin.provider, place)
        for diff_id, layer in zip(diff_ids, manifest.layers, strict=True)
    )


class ImageSource(Mutable):
    """A `docker-image://` or `oci-layout://` source operation (`source.base.Source`).

    Attributes:
        ref: which image.
        platform: for which platform.
        origin: finds where the image is, given the build's values.
        content: keeps manifests and configs.
        refs: makes the ref.
        layer_limit: take only this many layers from the bottom, or None.
        checksum: digest that the reference must stand for, or "".
        record_type: what `dockc du` files the layers under.

    Mutable: what `key` has found; `_later` shows the layers' way here, as long as a build wants the image.
    """

    ref: Reference
    platform: Platform
    origin: Callable[[OpContext], Origin]
    content: ContentStore
    refs: RefManager
    layer_limit: int | None = None
    checksum: str = ""
    record_type: RecordType = RecordType.REGULAR
    _loaded: LoadedImage | None = None
    _later: Later | None = None

    def key(self, ctx: OpContext) -> SourceKey:
        """The image's digest and the platform; its layers are a second name."""
        what = f"resolve {self.ref}"
        ctx.status(what)
        image = load(self.origin(ctx), self.ref, self.platform, self.content, cancelled=ctx.cancelled)
        ctx.status(what, done=True)
        if self.checksum and image.root.digest != self.checksum:
            raise RegistryError(
                f"image digest {image.root.digest} for {self.ref} does not match expected checksum {self.checksum}"
            )
        count = len(image.layers)
        if self.layer_limit is not None and self.layer_limit > count:
            raise RegistryError(
                f"layer limit {self.layer_limit} is greater than the number of layers in the image {count}"
            )
        self._loaded = image
        layers = image.layers[: self.layer_limit]
        self._later = ctx.later(waiting=not self.refs.is_present(layers))
        self.refs.offer(layers, later=self._later, cancelled=ctx.cancelled)
        preimage = manifest_preimage(image.root.digest, self.platform, self.layer_limit)
        return SourceKey(
            key=digests.from_bytes(dump_json(preimage)),
            pin=image.root.digest,
            preimage=preimage,
            more=(BLOBS + blob_chains(layers)[-1],) if layers else (),
            claim=self._claim(layers) if layers else None,
        )

    def _claim(self, layers: tuple[LayerDescriptor, ...]) -> Claim:
        """The chain of diff ids, which BuildKit knows images by too; good for all once the store has proof that these
        blobs hold it.

        A diff id is what a config says: an image that lies about it must not share a name with one that does not.
        """
        top, chain, refs = blob_chains(layers)[-1], chain_id(layer.diff_id for layer in layers), self.refs
        return Claim(chain, lambda: refs.is_proven(top, chain))

    def snapshot(self, ctx: OpContext) -> ImmutableRef | None:
        """The layers as a ref; nothing is fetched."""
        if self._loaded is None:
            self.key(ctx)
        image = self._loaded
        if image is None or not image.layers:
            return None
        return self.refs.from_layers(
            image.layers[: self.layer_limit],
            description=f"pulled from {image.ref}",
            record_type=self.record_type,
            cancelled=ctx.cancelled,
        )


def manifest_preimage(digest: str, platform: Platform, layer_limit: int | None) -> Mapping[str, object]:
    """What the cache key of an image is made of."""
    out: dict[str, object] = {"Digest": digest, "OS": platform.os, "Arch": platform.architecture}
    if platform.variant:
        out["Variant"] = platform.variant
    if platform.os_version:
        out["OSVersion"] = platform.os_version
    if platform.os_features:
        out["OSFeatures"] = list(platform.os_features)
    if layer_limit is not None:
        out["Limit"] = layer_limit
    return out


def parse_identifier(identifier: str, scheme: str) -> Reference:
    """The reference behind `scheme://`; `InvalidReference` when it names no exact object."""
    ref = parse_normalized(identifier.removeprefix(scheme))
    if ref.is_name_only:
        raise InvalidReference("object required")
    return ref
