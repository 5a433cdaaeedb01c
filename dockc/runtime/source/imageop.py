"""From the attributes of an image source operation to an `ImageSource`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dockc.errors import SolveError
from dockc.llb import attrs
from dockc.oci import digest as digests
from dockc.oci.platform import Platform
from dockc.runtime.refs.types import RecordType
from dockc.runtime.source import ocilayout
from dockc.runtime.source.base import oci_stores, registry_of
from dockc.runtime.source.image import ImageSource, Origin, parse_identifier
from dockc.runtime.source.registry import RegistryOrigin, parse_mode

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.source.base import Backing
    from dockc.solver.op import OpContext

_RECORD_TYPES = {
    "": RecordType.REGULAR,
    "regular": RecordType.REGULAR,
    "internal": RecordType.INTERNAL,
    "frontend": RecordType.FRONTEND,
}


def image_source(
    identifier: str,
    attributes: Mapping[str, str],
    platform: Platform,
    content: ContentStore,
    refs: RefManager,
) -> ImageSource:
    """The source behind `docker-image://` or `oci-layout://`.

    Raises:
        DockcError: a broken reference or attribute.
    """
    if identifier.startswith(attrs.SCHEME_OCI_LAYOUT):
        ref = parse_identifier(identifier, attrs.SCHEME_OCI_LAYOUT)
        store = attributes.get(attrs.OCI_STORE) or ref.name
        limit = _limit(attributes.get(attrs.OCI_LAYER_LIMIT))

        def layout(ctx: OpContext) -> Origin:
            return ocilayout.open_store(oci_stores(ctx), store, ctx.cancelled)

        return ImageSource(ref, platform, layout, content, refs, layer_limit=limit)

    ref = parse_identifier(identifier, attrs.SCHEME_IMAGE)
    mode = parse_mode(attributes.get(attrs.IMAGE_RESOLVE_MODE, ""))
    kind = record_type(attributes.get(attrs.IMAGE_RECORD_TYPE, ""))
    checksum = attributes.get(attrs.IMAGE_CHECKSUM, "")
    if checksum:
        try:
            digests.validate(checksum)
        except digests.InvalidDigest as error:
            raise SolveError(f"invalid image checksum {checksum}: {error.message}") from None

    def registry(ctx: OpContext) -> Origin:
        return RegistryOrigin(registry_of(ctx), content, ref, mode)

    return ImageSource(
        ref,
        platform,
        registry,
        content,
        refs,
        layer_limit=_limit(attributes.get(attrs.IMAGE_LAYER_LIMIT)),
        checksum=checksum,
        record_type=kind,
    )


def record_type(text: str) -> RecordType:
    """What kind of record an image's or a blob's files are to be.

    Raises:
        SolveError: there is no such kind.
    """
    if text not in _RECORD_TYPES:
        raise SolveError(f"invalid record type {text}")
    return _RECORD_TYPES[text]


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0 and len(text) < 9):
        raise SolveError(f"invalid layer limit {text}")
    return int(text)


def make(identifier: str, attributes: Mapping[str, str], platform: Platform, backing: Backing) -> ImageSource:
    """See `table.SOURCES`."""
    return image_source(identifier, attributes, platform, backing.content, backing.refs)
