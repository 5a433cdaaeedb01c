"""Named images of the store: listing them, forgetting a name, and a file system to run one in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dockc.base.record import Record
from dockc.errors import DockcError, StoreError
from dockc.oci import digest as digests
from dockc.oci import manifest as manifests
from dockc.oci import platform as platforms
from dockc.oci import reference as references
from dockc.oci.config import ImageConfig
from dockc.oci.fields import InvalidDocument
from dockc.oci.manifest import Index, Manifest
from dockc.runtime.source import image
from dockc.runtime.source.registry import LocalNames, RegistryOrigin

if TYPE_CHECKING:
    from dockc.oci.descriptor import Descriptor
    from dockc.oci.platform import Platform
    from dockc.oci.reference import Reference
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.registry.client import Client
    from dockc.runtime.source.image import LoadedImage


class NamedImage(Record):
    """A name in the store.

    Attributes:
        name: familiar form with tag.
        target: manifest or index.
        platforms: what it runs on.
        size: bytes of its blobs, each counted once.
        created: time of the (first) config, or "".
    """

    name: str
    target: Descriptor
    platforms: tuple[str, ...]
    size: int
    created: str


def listing(content: ContentStore) -> list[NamedImage]:
    """All images that were built under a name, by name."""
    found = []
    for ref, target in LocalNames(content).built():
        blobs: dict[str, int] = {}
        runs_on: list[str] = []
        created = ""
        for descriptor, manifest in _manifests(content, target, blobs):
            blobs[descriptor.digest] = descriptor.size
            for part in (manifest.config, *manifest.layers):
                blobs[part.digest] = part.size
            config = _config(content, manifest)
            if config is not None:
                runs_on.append(platforms.format_all(config.platform))
                created = created or (str(config.created) if config.created else "")
        found.append(NamedImage(ref.familiar(), target, tuple(runs_on), sum(blobs.values()), created))
    return sorted(found, key=lambda one: one.name)


def reachable(content: ContentStore) -> set[str]:
    """Digests of all blobs that named images consist of: what pruning must not take."""
    seen: set[str] = set()
    for _, target in LocalNames(content).built():
        blobs: dict[str, int] = {}
        for descriptor, manifest in _manifests(content, target, blobs):
            seen |= {descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        seen |= set(blobs)
    return seen


def forget(content: ContentStore, name: str) -> None:
    """Take a name away; what only it kept goes with the next prune.

    Raises:
        DockcError: no image of that name.
    """
    ref = references.parse_normalized(name).tag_name_only()
    if not LocalNames(content).remove(ref):
        raise DockcError(f"no such image: {ref.familiar()}", hint="`dockc images` lists them.")


def find(content: ContentStore, client: Client, name: str, platform: Platform) -> tuple[Reference, LoadedImage]:
    """A named image for a platform, from the store alone.

    Raises:
        DockcError: no image of that name, or none for the platform.
    """
    ref = references.parse_normalized(name).tag_name_only()
    target = LocalNames(content).get(ref)
    if target is None:
        raise DockcError(f"no such image: {ref.familiar()}", hint="`dockc images` lists them.")
    origin = RegistryOrigin(client, content, ref, "local")
    return ref, image.load(origin, ref, platform, content, root=target)


def _manifests(
    content: ContentStore, target: Descriptor, seen: dict[str, int], depth: int = 0
) -> Iterator[tuple[Descriptor, Manifest]]:
    """Manifests below a target whose documents are here; indexes on the way are added to `seen`."""
    if depth > 4 or not content.has(target.digest):
        return
    try:
        parsed = manifests.parse(content.read(target.digest, manifests.SIZE_LIMIT), target.media_type)
    except (InvalidDocument, StoreError):
        return
    if isinstance(parsed, Index):
        seen[target.digest] = target.size
        for child in parsed.manifests:
            yield from _manifests(content, child, seen, depth + 1)
    elif isinstance(parsed, Manifest):
        yield target, parsed


def _config(content: ContentStore, manifest: Manifest) -> ImageConfig | None:
    try:
        data = content.read(manifest.config.digest, 8 << 20)
        return ImageConfig.parse(digests.check(data, manifest.config.digest))
    except (InvalidDocument, DockcError):
        return None
