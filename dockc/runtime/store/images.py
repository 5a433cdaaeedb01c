"""Named images of the store: listing them, forgetting a name, and a file system to run one in."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from dockc.base.pattern import pattern
from dockc.base.record import Record
from dockc.errors import DockcError, StoreError
from dockc.llb import attrs
from dockc.oci import digest as digests
from dockc.oci import manifest as manifests
from dockc.oci import platform as platforms
from dockc.oci import reference as references
from dockc.oci.config import ImageConfig
from dockc.oci.fields import InvalidDocument
from dockc.oci.manifest import Index, Manifest
from dockc.runtime.several import TRANSFERS, several
from dockc.runtime.source import image
from dockc.runtime.source.registry import LocalNames, RegistryOrigin, provider_for

if TYPE_CHECKING:
    from dockc.oci.descriptor import Descriptor
    from dockc.oci.platform import Platform
    from dockc.oci.reference import Reference
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.types import Progress
    from dockc.runtime.registry.client import Client
    from dockc.runtime.source.image import LoadedImage, Origin

_DIGITS = pattern(r"(?:sha256:)?([0-9a-f]{12,64})")
"""A digest, or enough of it."""


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
            if config is not None and _is_of_a_platform(config):
                runs_on.append(platforms.format_all(config.platform))
                created = created or (str(config.created) if config.created else "")
        found.append(NamedImage(ref.familiar(), target, tuple(runs_on), sum(blobs.values()), created))
    return sorted(found, key=lambda one: one.name)


def _is_of_a_platform(config: ImageConfig) -> bool:
    """Attestations stand beside images, in the same index and form."""
    return config.platform.os != "unknown"


def reachable(content: ContentStore) -> dict[str, str]:
    """Digests of all blobs that named images consist of, which pruning must not take, and whose they are, in words."""
    seen: dict[str, list[str]] = {}
    for ref, target in LocalNames(content).built():
        blobs: dict[str, int] = {}
        found: set[str] = set()
        for descriptor, manifest in _manifests(content, target, blobs):
            found |= {descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        for digest in found | set(blobs):
            seen.setdefault(digest, []).append(ref.familiar())
    return {digest: _whose(names) for digest, names in seen.items()}


def _whose(names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"image{'s' * (len(names) > 1)} {', '.join(names[:2])}{more}"


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
    ref, target = named(content, name)
    origin = RegistryOrigin(client, content, ref, "local")
    return ref, image.load(origin, ref, platform, content, root=target)


class Chosen(Record):
    """The image that a name stands for on one platform.

    Attributes:
        ref: its name.
        root: what the name stands for: a manifest or an index.
        target: its manifest.
        manifest, config: the documents, read.
    """

    ref: Reference
    root: Descriptor
    target: Descriptor
    manifest: Manifest
    config: ImageConfig


def named(content: ContentStore, name: str) -> tuple[Reference, Descriptor]:
    """A name of the store, and what it stands for; its digest, or 12 or more digits of it, does as well.

    Raises:
        DockcError: no image of that name.
    """
    names = LocalNames(content)
    if (ref := _reference(name)) is not None and (target := names.get(ref)) is not None:
        return ref, target
    if found := _by_digest(names, name):
        return found[0]
    if os.path.isfile(name):  # noqa: PTH113
        raise DockcError(
            f"no such image: {name}", hint=f"`dockc load -i {name}` takes an archive's images into the store."
        )
    shown = references.parse_normalized(name).tag_name_only() if ref is None else ref
    raise DockcError(f"no such image: {shown.familiar()}", hint="`dockc images` lists them.")


def named_by(content: ContentStore, text: str) -> list[Reference]:
    """The names that a name or a digest is about: none, one, or all of a digest.

    Raises:
        DockcError: the text is neither a name nor a digest.
    """
    names = LocalNames(content)
    ref = _reference(text)
    if ref is not None and names.get(ref) is not None:
        return [ref]
    found = [ref for ref, _ in _by_digest(names, text)]
    if ref is None and not found and not _DIGITS.fullmatch(text):
        references.parse_normalized(text)
    return found


def _reference(text: str) -> Reference | None:
    """What a text means as a name; None where it is none, as 64 digits are not."""
    try:
        return references.parse_normalized(text).tag_name_only()
    except DockcError:
        return None


def _by_digest(names: LocalNames, text: str) -> list[tuple[Reference, Descriptor]]:
    """All names of the image whose digest begins so.

    Raises:
        DockcError: several images' digests do.
    """
    match = _DIGITS.fullmatch(text)
    if match is None:
        return []
    found = [(ref, target) for ref, target in names.built() if target.digest.startswith(f"sha256:{match[1]}")]
    if len({target.digest for _, target in found}) > 1:
        raise DockcError(f"several images' digests begin with {match[1]}", hint="Give more digits.")
    return sorted(found, key=lambda one: one[0].familiar())


def choose(content: ContentStore, name: str, platform: Platform | None) -> Chosen:
    """The manifest of a named image for a platform, from the store alone.

    Args:
        content: the store's blobs.
        name: of the image.
        platform: wanted; None takes the only one, else this machine's.

    Raises:
        DockcError: no image of that name, or none for the platform.
    """
    ref, root = named(content, name)
    matcher = platforms.only(platform or platforms.default())
    found = []
    for target, manifest in _manifests(content, root, {}):
        config = _config(content, manifest)
        if config is not None and _is_of_a_platform(config):
            found.append(Chosen(ref, root, target, manifest, config))
    if platform is None and len(found) == 1:
        return found[0]
    fitting = [one for one in found if matcher.match(one.config.platform)]
    if not fitting:
        offered = ", ".join(platforms.format_all(one.config.platform) for one in found[:20])
        raise DockcError(
            f"{ref.familiar()}: not here for {platforms.format_all(platform or platforms.default())}",
            hint=f"It is here for {offered}." if offered else "Its documents are missing: build or pull it again.",
        )
    return matcher.sort(fitting, lambda one: one.config.platform)[0]


def complete(
    refs: RefManager,
    content: ContentStore,
    client: Client,
    ref: Reference,
    root: Descriptor,
    *,
    progress: Progress | None = None,
) -> None:
    """Fetch the blobs of an image that are not here: what was pushed without them is kept without them.

    Args:
        refs: knows where layers came from.
        content: the store's blobs.
        client: speaks to registries.
        ref: the image's name, where it was pushed to.
        root: what is wanted of it: a manifest, or an index whose manifests that are here are meant.
        progress: told of bytes.

    Raises:
        DockcError: one cannot be had.
    """
    parts = {
        part.digest: part
        for _, manifest in _manifests(content, root, {})
        for part in (manifest.config, *manifest.layers)
    }
    refs.bring(parts.values(), f"{attrs.SCHEME_IMAGE}{ref.name}", partial(provider_for, client), progress=progress)


def rename(content: ContentStore, source: str, target: str) -> Reference:
    """Give an image one more name.

    Raises:
        DockcError: no image of that name, or the new name is none.
    """
    _, root = named(content, source)
    ref = references.parse_normalized(target).tag_name_only()
    if ref.digest:
        raise DockcError(f"an image cannot be named by digest: {target}", hint="Give a name with a tag.")
    LocalNames(content).put(ref, root, built=True)
    return ref


def pull(
    content: ContentStore, client: Client, name: str, platform: Platform, *, progress: Progress | None = None
) -> Chosen:
    """Fetch an image of a registry, all of it, and keep it under its name; `progress` hears of its layers.

    Raises:
        NotFound: no such image, or none for the platform.
        RegistryError: the registry cannot be reached, or refuses.
        DockcError: a name by digest.
    """
    ref = references.parse_normalized(name).tag_name_only()
    if ref.digest:
        raise DockcError(f"an image is kept under a name with a tag: {name}", hint="Pull it by its tag.")
    origin = RegistryOrigin(client, content, ref, "pull")
    loaded = image.load(origin, ref, platform, content)
    _bring(content, origin, loaded, progress)
    for target, manifest in _manifests(content, loaded.root, {}):
        config = _config(content, manifest)
        if manifest == loaded.manifest and config is not None:
            # The manifest and not the index: what is kept is whole, and can be saved and pushed.
            LocalNames(content).put(ref, target, built=True)
            return Chosen(ref, loaded.root, target, manifest, config)
    raise DockcError(f"{ref.familiar()}: its manifest was removed while it was fetched")


def _bring(content: ContentStore, origin: Origin, loaded: LoadedImage, progress: Progress | None) -> None:
    """Fetch the layers that are not here, several at a time; the first error ends all."""
    wanted = {layer.descriptor.digest: layer.descriptor for layer in loaded.layers}

    def bring(one: Descriptor, stop: threading.Event) -> None:
        if content.has_sound(one.digest, stop):
            return
        origin.provider.fetch(one, content, cancelled=stop, progress=progress)

    several(bring, wanted.values(), TRANSFERS, name="pull")


def _manifests(
    content: ContentStore, target: Descriptor, seen: dict[str, int], depth: int = 0, read: set[str] | None = None
) -> Iterator[tuple[Descriptor, Manifest]]:
    """Manifests below a target whose documents are here, each once; indexes on the way are added to `seen`."""
    read = set() if read is None else read
    if depth > 4 or target.digest in read or not content.has(target.digest):
        return
    read.add(target.digest)
    try:
        parsed = manifests.parse(content.read(target.digest, manifests.SIZE_LIMIT), target.media_type)
    except (InvalidDocument, StoreError):
        return
    if isinstance(parsed, Index):
        seen[target.digest] = target.size
        for child in parsed.manifests:
            yield from _manifests(content, child, seen, depth + 1, read)
    elif isinstance(parsed, Manifest):
        yield target, parsed


def _config(content: ContentStore, manifest: Manifest) -> ImageConfig | None:
    try:
        data = content.read(manifest.config.digest, 8 << 20)
        return ImageConfig.parse(digests.check(data, manifest.config.digest))
    except (InvalidDocument, DockcError):
        return None
