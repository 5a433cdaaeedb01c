"""Kinds of caches by name: a new kind is a new file and a line here. Loaded when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module

from dockc.base.record import replace
from dockc.errors import UsageError
from dockc.runtime.remotecache import base
from dockc.runtime.remotecache.base import CacheEntry, CacheSource, CacheTarget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.runtime.remotecache.objects import Connect

SOURCES = {"registry": "registry:RegistrySource", "local": "local:LocalSource"}
TARGETS = {"registry": "registry:RegistryTarget", "local": "local:LocalTarget"}
OBJECT_STORES = ("s3", "azblob", "gha")
"""Modules that have `settings` and `connect`; the rest is the same for all."""
INLINE = "inline"
"""A kind that is only written, by the exporter of the image that carries it."""
_WRITING = frozenset(
    ("mode", "ignore-error", "mounts", "reset", "gc", *base.packing_options(), "image-manifest", "oci-mediatypes")
)


def source_of(entry: CacheEntry, environment: Mapping[str, str]) -> CacheSource:
    """The cache of an entry, to be read; nothing is asked yet.

    Raises:
        UsageError: no such kind, or options that make no sense.
    """
    if entry.type in OBJECT_STORES:
        from dockc.runtime.remotecache.objects import ObjectSource

        return ObjectSource(entry.shown(), _connect(entry, environment))
    made: CacheSource = _named(SOURCES, entry, "importer")(entry)
    return made


def target_of(entry: CacheEntry, environment: Mapping[str, str]) -> CacheTarget:
    """The cache of an entry, to be written; nothing is asked yet.

    Raises:
        UsageError: no such kind, or options that make no sense.
    """
    if entry.type in OBJECT_STORES:
        from dockc.runtime.remotecache.objects import ObjectTarget

        return ObjectTarget(_connect(entry, environment))
    made: CacheTarget = _named(TARGETS, entry, "exporter")(entry)
    return made


def counterpart(entry: CacheEntry) -> CacheEntry:
    """The entry that reads what this one writes."""
    attrs = {"src" if key == "dest" else key: value for key, value in entry.attrs.items() if key not in _WRITING}
    return replace(entry, attrs=attrs)


def _connect(entry: CacheEntry, environment: Mapping[str, str]) -> Connect:
    module = import_module(f"dockc.runtime.remotecache.{entry.type}")
    return partial(module.connect, module.settings(entry, environment))


# a class of either Protocol
def _named(kinds: Mapping[str, str], entry: CacheEntry, what: str):  # type: ignore[no-untyped-def]
    where = kinds.get(entry.type)
    if where is None:
        known = ", ".join(sorted((*kinds, *OBJECT_STORES)))
        raise UsageError(f"unknown cache {what}: {entry.type!r}", hint=f"Choose one of {known}.")
    module, _, name = where.partition(":")
    return getattr(import_module(f"dockc.runtime.remotecache.{module}"), name)
