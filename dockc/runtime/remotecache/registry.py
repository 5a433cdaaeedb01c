"""`type=registry`: a cache under a name in a registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

from dockc.errors import UsageError
from dockc.golang.text import dump_json
from dockc.oci import digest as digests
from dockc.oci.descriptor import Descriptor
from dockc.oci.reference import Reference, parse_normalized
from dockc.runtime.registry.client import Client, NotFound
from dockc.runtime.registry.fetch import RegistryProvider
from dockc.runtime.registry.push import Push
from dockc.runtime.registry.transport import document as whole_document
from dockc.runtime.remotecache import base
from dockc.runtime.remotecache.base import CacheEntry, Place
from dockc.runtime.remotecache.chains import Chains
from dockc.runtime.remotecache.keys import Imported
from dockc.runtime.remotecache.manifest import OPTIONS, form_of, make_document, read_document

MANIFEST = "cache.manifest"
"""Under this name clients are told the descriptor of the manifest."""


def _ref(entry: CacheEntry) -> Reference:
    text = entry.attrs.get("ref", "")
    if not text:
        raise UsageError("ref is required for a registry cache", hint="Write it as type=registry,ref=NAME.")
    return parse_normalized(text).tag_name_only()


class RegistrySource:
    """A registry's cache, or the one in an image (`CacheSource`)."""

    def __init__(self, entry: CacheEntry) -> None:
        """Check the options; no I/O."""
        base.check_options(entry, "ref", "insecure", "registry.insecure")
        self._name = entry.shown()
        self._ref = _ref(entry)
        self._insecure = bool(entry.flag("registry.insecure") or entry.flag("insecure"))

    def load(self, place: Place) -> Sequence[Imported]:
        """See `CacheSource`; a name that the registry does not know is an error, as in BuildKit."""
        client = place.client(self._insecure)  # lives as long as its layers may be fetched; its maker closes it
        root, data = client.manifest(self._ref, cancelled=place.cancelled)
        provider = RegistryProvider(client, self._ref.trim())

        def read(descriptor: Descriptor, limit: int) -> bytes:
            return _document(client, self._ref, descriptor, limit, place)

        return read_document(self._name, root, data, read, provider, f"docker-image://{self._ref.name}")


def _document(client: Client, ref: Reference, descriptor: Descriptor, limit: int, place: Place) -> bytes:
    """A config or a manifest by its descriptor."""
    digests.validate(descriptor.digest)
    if descriptor.size > limit:
        raise base.CacheFailed(f"{ref}: {descriptor.digest} is larger than {limit} bytes")
    try:
        _, data = whole_document(
            lambda: client.open_blob(ref, descriptor, cancelled=place.cancelled), limit, place.cancelled
        )
        return digests.check(data, descriptor.digest)
    except NotFound:  # a manifest is no blob
        found, data = client.manifest(Reference(ref.domain, ref.path, "", descriptor.digest), cancelled=place.cancelled)
        return digests.check(data, found.digest)


class RegistryTarget:
    """A registry that takes a cache (`CacheTarget`)."""

    def __init__(self, entry: CacheEntry) -> None:
        """Check the options; no I/O."""
        base.check_options(entry, "ref", "insecure", "registry.insecure", *OPTIONS, *base.packing_options())
        self._ref = _ref(entry)
        self._form = form_of(entry)
        self._insecure = bool(entry.flag("registry.insecure") or entry.flag("insecure"))
        self.compression = base.compression_of(entry)

    def save(self, chains: Chains, place: Place) -> Mapping[str, str]:
        """See `CacheTarget`: blobs first, the name last."""
        document = make_document(chains, self._form)
        place.content.put(document.config)
        with closing(place.client(self._insecure)) as client:
            push = Push(client, place.content, chains.layers, place.progress, place.cancelled)
            push.send_blobs(self._ref, document.blobs)
            client.put_manifest(
                self._ref, document.data, document.root.media_type, self._ref.tag, cancelled=place.cancelled
            )
        return {MANIFEST: dump_json(document.root.to_json()).decode()}
