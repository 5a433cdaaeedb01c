"""Image manifests and indexes.

Source: OCI image specification, "Image Manifest" and "Image Index"; Docker schema 2 has the same shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dockc.base.record import Record, made
from dockc.golang.text import dump_json, sorted_map
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import Descriptor
from dockc.oci.fields import Fields, InvalidDocument, decode

SIZE_LIMIT = 4 << 20
"""Manifests larger than this are refused, as registries do (bytes)."""


class Manifest(Record):
    """One image: its config and its layers, lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = made(dict)
    artifact_type: str = ""
    subject: Descriptor | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON object, fields in the specification's order."""
        out: dict[str, Any] = {"schemaVersion": 2}
        if self.media_type:
            out["mediaType"] = self.media_type
        if self.artifact_type:
            out["artifactType"] = self.artifact_type
        out["config"] = self.config.to_json()
        out["layers"] = [layer.to_json() for layer in self.layers]
        if self.subject is not None:
            out["subject"] = self.subject.to_json()
        if self.annotations:
            out["annotations"] = sorted_map(dict(self.annotations))
        return out

    def marshal(self) -> bytes:
        """The bytes to store: two spaces of indent."""
        return dump_json(self.to_json(), indent=2)


class Index(Record):
    """Several manifests under one name, usually one per platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = made(dict)
    artifact_type: str = ""
    subject: Descriptor | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON object, fields in the specification's order."""
        out: dict[str, Any] = {"schemaVersion": 2}
        if self.media_type:
            out["mediaType"] = self.media_type
        if self.artifact_type:
            out["artifactType"] = self.artifact_type
        out["manifests"] = [manifest.to_json() for manifest in self.manifests]
        if self.subject is not None:
            out["subject"] = self.subject.to_json()
        if self.annotations:
            out["annotations"] = sorted_map(dict(self.annotations))
        return out

    def marshal(self, *, indent: int | None = 2) -> bytes:
        """The bytes to store: two spaces of indent unless told otherwise."""
        return dump_json(self.to_json(), indent=indent)


def parse(data: bytes, media_type: str = "") -> Manifest | Index:
    """Read a manifest or an index.

    Args:
        data: the document.
        media_type: what the transport said it is; the document's own `mediaType` wins, and the shape decides
            when neither says anything.

    Raises:
        InvalidDocument: broken JSON, a wrong field, schema 1, or a document that is both (an ambiguity
            that would let two tools see two images).
    """
    if len(data) > SIZE_LIMIT:
        raise InvalidDocument(f"manifest: larger than {SIZE_LIMIT} bytes")
    fields = decode(data, "manifest")
    kind = fields.text("mediaType") or media_type.partition(";")[0].strip()
    if kind in (mt.DOCKER_SCHEMA1, mt.DOCKER_SCHEMA1_SIGNED) or fields.integer("schemaVersion") == 1:
        raise InvalidDocument("manifest: schema 1 images are not supported")
    has_list, has_image = "manifests" in fields, "config" in fields or "layers" in fields
    if has_list and has_image:
        raise InvalidDocument("manifest: both an index and an image manifest")
    if kind in mt.INDEXES or (kind not in mt.MANIFESTS and has_list):
        if has_image:
            raise InvalidDocument("manifest: an index with image fields")
        return _parse_index(fields, kind)
    if kind in mt.MANIFESTS or has_image:
        if has_list:
            raise InvalidDocument("manifest: an image manifest with a list of manifests")
        return _parse_manifest(fields, kind)
    raise InvalidDocument(f"manifest: unknown media type {kind!r}")


def _parse_manifest(fields: Fields, kind: str) -> Manifest:
    if "config" not in fields:
        raise InvalidDocument("manifest: config: missing")
    return Manifest(
        media_type=kind or mt.OCI_MANIFEST,
        config=Descriptor.from_fields(fields.object("config")),
        layers=tuple(Descriptor.from_fields(item) for item in fields.objects("layers")),
        annotations=fields.text_map("annotations"),
        artifact_type=fields.text("artifactType"),
        subject=_subject(fields),
    )


def _parse_index(fields: Fields, kind: str) -> Index:
    return Index(
        media_type=kind or mt.OCI_INDEX,
        manifests=tuple(Descriptor.from_fields(item) for item in fields.objects("manifests")),
        annotations=fields.text_map("annotations"),
        artifact_type=fields.text("artifactType"),
        subject=_subject(fields),
    )


def _subject(fields: Fields) -> Descriptor | None:
    raw = fields.optional_object("subject")
    return None if raw is None else Descriptor.from_fields(raw)
