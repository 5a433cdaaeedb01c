"""What every kind of cache offers, and the options they have in common."""

from __future__ import annotations

import csv
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, Protocol

from dockc.base.record import Record, made, replace
from dockc.errors import DockcError, UsageError
from dockc.runtime.archive.compress import Compression

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.oci.descriptor import Descriptor
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.types import Progress
    from dockc.runtime.registry.client import Client
    from dockc.runtime.remotecache.chains import Chains
    from dockc.runtime.remotecache.keys import Imported

MODES = ("min", "max")
TRUE, _FALSE = (
    frozenset(("1", "t", "T", "TRUE", "true", "True", "")),
    frozenset(("0", "f", "F", "FALSE", "false", "False")),
)
_COMPRESSION = ("compression", "compression-level", "force-compression")
_COMMON = ("mode", "ignore-error", "mounts", "replace-mounts")


class CacheFailed(DockcError):
    """A cache elsewhere cannot be read or written."""


class CacheEntry(Record):
    """What was asked for: the kind of cache, and its options."""

    type: str
    attrs: Mapping[str, str] = made(dict)

    def shown(self) -> str:
        """The entry for messages, without what is secret."""
        for key in ("ref", "dest", "src", "name", "scope"):
            if self.attrs.get(key):
                return f"{self.type} {self.attrs[key]}"
        return self.type

    def flag(self, key: str) -> bool | None:
        """A boolean option; None where it is not given.

        Raises:
            UsageError: neither yes nor no.
        """
        text = self.attrs.get(key)
        if text is None:
            return None
        if text not in TRUE | _FALSE:
            raise UsageError(f"invalid value {text!r} for {key} of a {self.type} cache: expected true or false")
        return text in TRUE


def parse_entry(text: str) -> CacheEntry:
    """Read `type=TYPE[,KEY=VALUE]`, or the name of an image, as buildctl and buildx take it.

    Raises:
        UsageError: it is neither.
    """
    try:
        fields = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise UsageError(f"invalid cache {text!r}: {error}") from None
    if fields and not any("=" in field for field in fields):
        if len(fields) > 1:
            raise UsageError(f"invalid value {fields[1]} in {text}")
        return CacheEntry("registry", {"ref": text})
    attrs: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals:
            raise UsageError(f"invalid value {field} in {text}")
        attrs[key.strip().lower()] = value
    kind = attrs.pop("type", "")
    if not kind:
        raise UsageError(f"type is required for a cache: {text}")
    return CacheEntry(kind, attrs)


class Place(Record):
    """What a cache works with.

    Attributes:
        content: the store's blobs.
        client: makes a registry client; the argument says whether any certificate and plain HTTP are accepted.
        environment: variables that say what options do not.
        cancelled: the build's event.
        progress: told of every blob.
        warn: told in a sentence of what went wrong and does not matter to the build.
    """

    content: ContentStore
    client: ClientFactory
    environment: Mapping[str, str] = os.environ
    cancelled: threading.Event | None = None
    progress: Progress | None = None
    warn: Callable[[str], object] = lambda text: None


class ClientFactory(Protocol):
    """Makes a registry client."""

    def __call__(self, insecure: bool = False) -> Client:
        """A client; the caller's to close."""
        ...


class CacheSource(Protocol):
    """A cache to be read. `load` blocks."""

    def load(self, place: Place) -> Sequence[Imported]:
        """Read what the cache says of itself; blobs stay where they are. Nothing where there is no cache yet.

        Raises:
            DockcError: it cannot be read.
        """
        ...


class CacheTarget(Protocol):
    """A cache to be written. `save` blocks."""

    @property
    def compression(self) -> Compression:
        """How layers become blobs."""
        ...

    def save(self, chains: Chains, place: Place) -> Mapping[str, str]:
        """Write a cache; returns what clients are told, such as `cache.manifest`.

        Raises:
            DockcError: it cannot be written.
        """
        ...


class FileBlobs:
    """Blobs that can be opened by digest (`Provider`)."""

    def open_blob(self, digest: str) -> BinaryIO:
        """A blob from its beginning; nothing is verified.

        Raises:
            CacheFailed: it is not there.
        """
        raise NotImplementedError

    def fetch(
        self,
        descriptor: Descriptor,
        content: ContentStore,
        *,
        cancelled: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Copy a blob into the store, which verifies it."""
        from dockc.runtime.content.copying import copy_in  # words about caches are read where there is no store, too

        def opened() -> tuple[BinaryIO, int]:
            return self.open_blob(descriptor.digest), descriptor.size + 1  # one that is longer is not what it should be

        copy_in(descriptor, content, opened, cancelled=cancelled, progress=progress)


def lenient(entry: CacheEntry) -> CacheEntry:
    """The same, but a build does not fail because of it where the entry does not say `ignore-error` itself."""
    return replace(entry, attrs={"ignore-error": "true", **entry.attrs})


def mounts_of(entry: CacheEntry) -> tuple[str, ...]:
    """The ids of cache mounts that an entry names, as the mounts' `id=` or target has them."""
    return tuple(dict.fromkeys(name for name in entry.attrs.get("mounts", "").replace(",", ";").split(";") if name))


def names_of(entry: CacheEntry) -> tuple[str, ...]:
    """The names of a cache in an object store: the first is read, all are written."""
    return tuple(entry.attrs.get("name", "buildkit").split(";"))


def mode_of(entry: CacheEntry) -> str:
    """`min` or `max`.

    Raises:
        UsageError: another word.
    """
    mode = entry.attrs.get("mode", "min")
    if mode not in MODES:
        raise UsageError(f"invalid mode {mode!r} of a {entry.type} cache", hint=f"Choose one of {', '.join(MODES)}.")
    return mode


def compression_of(entry: CacheEntry) -> Compression:
    """How an entry wants its layers packed.

    Raises:
        UsageError: an unknown kind or level.
    """
    from dockc.runtime.archive import compress

    name = entry.attrs.get("compression", "gzip")
    if name == "estargz":
        raise UsageError("compression=estargz is not supported")
    return compress.parse(name, entry.attrs.get("compression-level", ""), force=bool(entry.flag("force-compression")))


def check_options(entry: CacheEntry, *known: str) -> None:
    """Refuse options that do nothing.

    Raises:
        UsageError: an option that this kind of cache does not have.
    """
    unknown = sorted(set(entry.attrs) - {*known, *_COMMON})
    if unknown:
        raise UsageError(
            f"unknown option {unknown[0]} of a {entry.type} cache", hint=f"Known: {', '.join(sorted(known))}."
        )


def packing_options() -> Sequence[str]:
    """Names of the options that `compression_of` reads."""
    return _COMPRESSION
