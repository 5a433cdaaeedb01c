"""What hangs on a build of the history: the indexes, manifests and configs of the images that it made, and attestations that
frontends have added. The bytes lie with the images in the store, and go with them.

Source: buildx, commands/history (`allAttachments`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dockc.base.record import Record
from dockc.oci import manifest as manifests
from dockc.oci import mediatypes as mt
from dockc.oci import platform as platforms
from dockc.oci.descriptor import Descriptor, platform_from_fields
from dockc.oci.fields import Fields, InvalidDocument, decode
from dockc.oci.keys import DESCRIPTOR
from dockc.oci.manifest import Index, Manifest

if TYPE_CHECKING:
    from dockc.engine.history import BuildRecord
    from dockc.runtime.content.store import ContentStore

PREDICATE = "in-toto.io/predicate-type"
"""Annotation of a layer that is an attestation: what kind it is."""
KINDS = {
    "index": mt.INDEXES,
    "manifest": mt.MANIFESTS,
    "image": (mt.OCI_CONFIG, mt.DOCKER_CONFIG),
    "provenance": ("https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2"),
    "sbom": ("https://spdx.dev/Document",),
}
"""Words for kinds, each with the media types or predicates that it stands for."""
_ATTESTATIONS = ("vnd.docker.reference.type", "attestation-manifest")
_DEEP = 4


class Attachment(Record):
    """A document of a build, and the platform that it is about: "" for one that is about all."""

    descriptor: Descriptor
    platform: str = ""

    @property
    def kind(self) -> str:
        """The predicate of an attestation, the media type of anything else."""
        return self.descriptor.annotations.get(PREDICATE) or self.descriptor.media_type

    def fits(self, kind: str, platform: str) -> bool:
        """Whether it is of a kind (a word, a media type or a predicate) and for a platform; "" is any."""
        kinds = KINDS.get(kind, (kind,))
        return (not kind or self.kind in kinds) and (not platform or self.platform == platform)


def attachments_of(record: BuildRecord, content: ContentStore) -> list[Attachment]:
    """The documents of a build that are in the store, the whole before its parts; each once."""
    found: dict[tuple[str, str], Attachment] = {}
    for root in _roots(record):
        for one in _walk(content, root, "", "", _DEEP):
            found.setdefault((one.descriptor.digest, one.platform), one)
    return list(found.values())


def _roots(record: BuildRecord) -> Iterator[Descriptor]:
    """The images that a build says it has made."""
    made = record.more.get("made")
    for one in made if isinstance(made, list) else ():
        if isinstance(one, list) and len(one) == 5:
            fields = {"mediaType": one[1], "digest": one[2], "size": one[3], "annotations": one[4]}
            yield from _descriptor(Fields(fields, "result"))
    text = record.results.get(DESCRIPTOR, "")
    try:
        yield from _descriptor(decode(base64.b64decode(text), "result")) if text else ()
    except (binascii.Error, ValueError, InvalidDocument):
        return


def _descriptor(fields: Fields) -> Iterator[Descriptor]:
    try:
        yield Descriptor.from_fields(fields)
    except InvalidDocument:
        return


def _walk(content: ContentStore, at: Descriptor, platform: str, about: str, depth: int) -> Iterator[Attachment]:
    """A document, and what it names; `about` is the platform that attestations speak of."""
    data = content.find(at.digest, manifests.SIZE_LIMIT)
    if data is None or not depth:
        return
    attests = at.annotations.get(_ATTESTATIONS[0]) == _ATTESTATIONS[1]
    try:
        found = manifests.parse(data, at.media_type)
    except InvalidDocument:
        return
    if not attests:
        platform = platform or _platform_of(found, content)
        yield Attachment(at, platform)
    if isinstance(found, Index):
        by_digest = {one.digest: platforms.format_all(one.platform) for one in found.manifests if one.platform}
        for one in found.manifests:
            target = by_digest.get(one.annotations.get("vnd.docker.reference.digest", ""), "")
            yield from _walk(content, one, by_digest.get(one.digest, ""), target, depth - 1)
    elif attests:
        yield from (Attachment(one, about) for one in found.layers if PREDICATE in one.annotations)
    else:
        yield Attachment(found.config, platform)


def _platform_of(found: Manifest | Index, content: ContentStore) -> str:
    """What an image that no index speaks of says that it is for."""
    data = content.find(found.config.digest, manifests.SIZE_LIMIT) if isinstance(found, Manifest) else None
    if data is None:
        return ""
    try:
        return platforms.format_all(platform_from_fields(decode(data, "config")))
    except InvalidDocument:
        return ""
