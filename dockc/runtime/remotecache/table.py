"""Kinds of caches by name: a new kind is a new file and a line here. Loaded when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from dockc.base.record import replace
from dockc.errors import UsageError
from dockc.runtime.remotecache import base
from dockc.runtime.remotecache.base import CacheEntry, CacheSource, CacheTarget

SOURCES = {
    "registry": "registry:RegistrySource",
    "local": "local:LocalSource",
    "s3": "s3:source",
    "azblob": "azblob:source",
    "gha": "gha:source",
}
TARGETS = {
    "registry": "registry:RegistryTarget",
    "local": "local:LocalTarget",
    "s3": "s3:target",
    "azblob": "azblob:target",
    "gha": "gha:target",
}
INLINE = "inline"
"""A kind that is only written, by the exporter of the image that carries it."""
_WRITING = frozenset(
    ("mode", "ignore-error", "mounts", "reset", "gc", *base.packing_options(), "image-manifest", "oci-mediatypes")
)
_WITH_ENVIRONMENT = ("s3", "azblob", "gha")


def source_of(entry: CacheEntry, environment: Mapping[str, str]) -> CacheSource:
    """The cache of an entry, to be read; nothing is asked yet.

    Raises:
        UsageError: no such kind, or options that make no sense.
    """
    made: CacheSource = _make(SOURCES, entry, environment, "importer")
    return made


def target_of(entry: CacheEntry, environment: Mapping[str, str]) -> CacheTarget:
    """The cache of an entry, to be written; nothing is asked yet.

    Raises:
        UsageError: no such kind, or options that make no sense.
    """
    made: CacheTarget = _make(TARGETS, entry, environment, "exporter")
    return made


def counterpart(entry: CacheEntry) -> CacheEntry:
    """The entry that reads what this one writes."""
    attrs = {"src" if key == "dest" else key: value for key, value in entry.attrs.items() if key not in _WRITING}
    return replace(entry, attrs=attrs)


# two Protocols
def _make(kinds: Mapping[str, str], entry: CacheEntry, environment: Mapping[str, str], what: str):  # type: ignore[no-untyped-def]
    where = kinds.get(entry.type)
    if where is None:
        raise UsageError(f"unknown cache {what}: {entry.type!r}", hint=f"Choose one of {', '.join(sorted(kinds))}.")
    module, _, name = where.partition(":")
    maker = getattr(import_module(f"dockc.runtime.remotecache.{module}"), name)
    return maker(entry, environment) if entry.type in _WITH_ENVIRONMENT else maker(entry)
