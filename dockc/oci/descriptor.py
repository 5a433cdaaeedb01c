"""Descriptors: what a blob is, how large, and under which digest.

Source: OCI image specification, "Content Descriptors".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from dockc.base.record import Record, made
from dockc.golang.text import sorted_map
from dockc.oci import digest as digests
from dockc.oci.fields import Fields, InvalidDocument
from dockc.oci.platform import Platform

UNCOMPRESSED = "containerd.io/uncompressed"
CREATED_AT, DESCRIPTION = "buildkit/createdat", "buildkit/description"
"""Annotation key under which tools keep a layer's diff id next to its descriptor."""


class Descriptor(Record):
    """A reference to a blob.

    Attributes:
        media_type: what the bytes are.
        digest: `algorithm:hex`.
        size: bytes.
        urls: further places to fetch it from.
        annotations: free text by key.
        platform: for manifests in an index, what they run on.
        artifact_type: media type of the artifact behind a manifest, or "".
        data: the content itself, when it travels inside the descriptor.
    """

    media_type: str
    digest: str
    size: int
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = made(dict)
    platform: Platform | None = None
    artifact_type: str = ""
    data: bytes = b""

    @classmethod
    def from_fields(cls, fields: Fields) -> Descriptor:
        """Read and check a descriptor; `InvalidDocument` names the wrong field."""
        digest, size = fields.text("digest"), fields.integer("size")
        try:
            digests.validate(digest)
        except digests.InvalidDigest as error:
            raise InvalidDocument(f"{fields.where}: digest: {error.message}") from None
        if size < 0:
            raise InvalidDocument(f"{fields.where}: size: negative")
        raw_platform = fields.optional_object("platform")
        try:
            data = base64.b64decode(fields.text("data"), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidDocument(f"{fields.where}: data: not base64") from None
        return cls(
            media_type=fields.text("mediaType"),
            digest=digest,
            size=size,
            urls=fields.texts("urls"),
            annotations=fields.text_map("annotations"),
            platform=platform_from_fields(raw_platform) if raw_platform else None,
            artifact_type=fields.text("artifactType"),
            data=data,
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, fields in the specification's order, empty ones left out."""
        out: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.urls:
            out["urls"] = list(self.urls)
        if self.annotations:
            out["annotations"] = sorted_map(dict(self.annotations))
        if self.data:
            out["data"] = base64.b64encode(self.data).decode()
        if self.platform is not None:
            out["platform"] = platform_to_json(self.platform)
        if self.artifact_type:
            out["artifactType"] = self.artifact_type
        return out


def platform_from_fields(fields: Fields) -> Platform:
    """Read a platform object (also the top level of an image config)."""
    return Platform(
        os=fields.text("os"),
        architecture=fields.text("architecture"),
        variant=fields.text("variant"),
        os_version=fields.text("os.version"),
        os_features=fields.texts("os.features"),
    )


def platform_to_json(platform: Platform) -> dict[str, Any]:
    """The platform object in the specification's field order."""
    out: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        out["os.version"] = platform.os_version
    if platform.os_features:
        out["os.features"] = list(platform.os_features)
    if platform.variant:
        out["variant"] = platform.variant
    return out
