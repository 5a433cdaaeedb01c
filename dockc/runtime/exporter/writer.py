"""From file systems and image configs to manifests and indexes in the content store."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dockc.base.record import Record, made, replace
from dockc.errors import DockcError
from dockc.golang.times import Time
from dockc.oci import digest as digests
from dockc.oci import mediatypes as mt
from dockc.oci import platform as platforms
from dockc.oci.config import ImageConfig, default_config
from dockc.oci.descriptor import CREATED_AT, DESCRIPTION, UNCOMPRESSED, Descriptor
from dockc.oci.manifest import Index, Manifest
from dockc.runtime.exporter import patch
from dockc.runtime.exporter.options import ImageOptions
from dockc.runtime.exporter.patch import LayerInfo
from dockc.runtime.exporter.source import ExportSource, PlatformResult, Report
from dockc.runtime.refs.types import LayerDescriptor, Remote, RemoteOptions

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.ref import ImmutableRef

REWRITTEN = "buildkit/rewritten-timestamp"
_SOURCE_PREFIX = "containerd.io/distribution.source."


class Written(Record):
    """An image in the content store.

    Attributes:
        root: manifest or index, with the platform and annotations that an index entry carries.
        config_digest: of the only image's config; "" for an index.
        layers: by digest of the blob; blobs need not be here yet.
    """

    root: Descriptor
    config_digest: str = ""
    layers: Mapping[str, LayerDescriptor] = made(dict)

    @property
    def remote(self) -> Remote:
        """All layers as something that can be fetched at once."""
        return Remote(tuple(self.layers.values()))


class ImageWriter:
    """Writes images into a content store."""

    def __init__(
        self,
        content: ContentStore,
        *,
        report: Report | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._content = content
        self._report = report
        self._cancelled = cancelled

    def write(self, source: ExportSource, options: ImageOptions) -> Written:
        """Write the image of a build: one manifest, or an index over several.

        Raises:
            DockcError: annotations for a platform that is not there, or several platforms without an index.
        """
        self._check(source, options)
        if not source.multi:
            return self._single(source.results[0], options)
        return self._index(source, options)

    def _check(self, source: ExportSource, options: ImageOptions) -> None:
        if not source.results:
            raise DockcError("nothing to export")
        known = {result.id for result in source.results}
        for name in options.annotations:
            # The one image of a build without an index takes the name of any platform, as in BuildKit.
            if name and name not in known and source.multi:
                raise DockcError(f"invalid annotation: no platform {name} found in source")
        if not source.multi:
            if len(source.results) > 1:
                raise DockcError("cannot export multiple platforms without multi-platform enabled")
            all_ = options.annotations_for()
            if all_.index or all_.index_descriptor:
                raise DockcError("index annotations not supported for single platform export")

    def _single(self, result: PlatformResult, options: ImageOptions) -> Written:
        notes = options.annotations_for()
        descriptor, config_digest, layers = self._image(result, options, notes.manifest)
        root = replace(descriptor, annotations=dict(notes.manifest_descriptor), platform=_platform_of(result))
        return Written(root, config_digest, layers)

    def _index(self, source: ExportSource, options: ImageOptions) -> Written:
        entries = []
        layers: dict[str, LayerDescriptor] = {}
        for result in source.results:
            notes = options.annotations_for(result.id)
            descriptor, _, found = self._image(result, options, notes.manifest)
            layers.update(found)
            entries.append(
                replace(
                    descriptor,
                    annotations=dict(notes.manifest_descriptor),
                    platform=platforms.normalize(result.platform),
                )
            )
        notes = options.annotations_for()
        kind = mt.OCI_INDEX if options.oci_types else mt.DOCKER_LIST
        data = Index(kind, tuple(entries), dict(notes.index)).marshal()
        digest = self._put("exporting manifest list", data)
        return Written(Descriptor(kind, digest, len(data), annotations=dict(notes.index_descriptor)), layers=layers)

    def _image(
        self, result: PlatformResult, options: ImageOptions, annotations: Mapping[str, str]
    ) -> tuple[Descriptor, str, dict[str, LayerDescriptor]]:
        """Write one platform's manifest and config; returns its descriptor, the config's digest, its layers."""
        epoch = result.epoch if options.epoch is None else options.epoch
        base = patch.parse_base(result.base_config)
        remote = self._layers(result.ref, options, epoch, base)
        config = result.config or default_config(platforms.normalize(result.platform))
        history = patch.normalize_history(patch.history_of(config), layer_infos(result.ref, len(remote.layers)))
        config = patch.patch_config(config, remote.diff_ids, history, epoch=epoch, base=base)
        blobs = tuple(_manifest_layer(layer.descriptor, options) for layer in remote.layers)
        config_kind = mt.OCI_CONFIG if options.oci_types else mt.DOCKER_CONFIG
        kind = mt.OCI_MANIFEST if options.oci_types else mt.DOCKER_MANIFEST
        described = Descriptor(config_kind, digests.from_bytes(config), len(config))
        body = Manifest(kind, described, blobs, dict(annotations)).marshal()
        digest = self._put("exporting manifest", body)
        self._put("exporting config", config)
        layers = {layer.descriptor.digest: layer for layer in remote.layers}
        return Descriptor(kind, digest, len(body)), described.digest, layers

    def _layers(
        self, ref: ImmutableRef | None, options: ImageOptions, epoch: int | None, base: ImageConfig | None
    ) -> Remote:
        if ref is None:
            return Remote(())
        self._tell("exporting layers", done=False)
        wanted = RemoteOptions(options.compression, epoch if options.rewrite_timestamp else None)
        remote = ref.remote(wanted, cancelled=self._cancelled)
        self._tell("exporting layers", done=True)
        return remote if wanted.rewrite_timestamp is None else _marked(remote, wanted.rewrite_timestamp, base)

    def _put(self, what: str, data: bytes) -> str:
        digest = digests.from_bytes(data)
        self._tell(f"{what} {digest}", done=False)
        self._content.put(data, digest)
        self._tell(f"{what} {digest}", done=True)
        return digest

    def _tell(self, what: str, *, done: bool) -> None:
        if self._report is not None:
            self._report(what, done)


def _platform_of(result: PlatformResult) -> platforms.Platform:
    """What the config says it runs on, else what was asked for."""
    if result.config:
        try:
            stated = ImageConfig.parse(result.config).platform
        except DockcError:
            return platforms.normalize(result.platform)
        if stated.os and stated.architecture:
            return platforms.normalize(stated)
    return platforms.normalize(result.platform)


def _marked(remote: Remote, epoch: int, base: ImageConfig | None) -> Remote:
    """The layers with a note on each whose times were rewritten: all above those of the base image."""
    known = base.diff_ids if base is not None else ()
    same = 0
    while same < min(len(known), len(remote.layers)) and known[same] == remote.layers[same].diff_id:
        same += 1
    note = {REWRITTEN: str(epoch)}
    marked = [
        replace(layer, descriptor=replace(layer.descriptor, annotations={**layer.descriptor.annotations, **note}))
        for layer in remote.layers[same:]
    ]
    return Remote((*remote.layers[:same], *marked))


def _manifest_layer(descriptor: Descriptor, options: ImageOptions) -> Descriptor:
    """A layer as a manifest lists it: of the right family, without the store's own notes."""
    kind = descriptor.media_type
    urls = descriptor.urls
    if not options.prefer_nondistributable and mt.is_nondistributable(kind):
        kind, urls = mt.distributable(kind), ()
    kind = mt.convert_layer(kind, oci=options.oci_types)
    kept = {}
    if options.oci_types:
        kept = {
            key: value
            for key, value in descriptor.annotations.items()
            if key not in (UNCOMPRESSED, CREATED_AT, DESCRIPTION) and not key.startswith(_SOURCE_PREFIX)
        }
    return replace(descriptor, media_type=kind, urls=urls, annotations=kept, platform=None, data=b"")


def layer_infos(ref: ImmutableRef | None, count: int) -> Sequence[LayerInfo]:
    """When and by what the `count` topmost layers of a ref were made."""
    if ref is None:
        return [LayerInfo()] * count
    found = [LayerInfo(Time.from_ns(record.created_at), record.description) for record in ref.layer_info()]
    if len(found) < count:
        found = [LayerInfo()] * (count - len(found)) + found
    return found[len(found) - count :]
