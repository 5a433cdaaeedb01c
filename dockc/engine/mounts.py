"""Cache mounts in the caches of a build: restored when a step first asks for one that is not here, written with the
steps' results.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from dockc.base.record import replace
from dockc.errors import DockcError
from dockc.runtime.cancel import Cancelled
from dockc.runtime.content.store import ContentStore
from dockc.runtime.refs.mounttree import read_tree, write_tree
from dockc.runtime.remotecache import base, mounts, table
from dockc.runtime.remotecache.base import CacheEntry, CacheFailed, CacheSource, CacheTarget, Place
from dockc.runtime.remotecache.config import CacheConfig, MountsAt
from dockc.runtime.remotecache.mounts import MountIndex, MountReader, MountWriter, StoredMount

if TYPE_CHECKING:
    from pathlib import Path

    from dockc.oci.descriptor import Descriptor
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.types import Fill
    from dockc.runtime.registry.client import Client
    from dockc.runtime.remotecache.chains import Chains
    from dockc.runtime.remotecache.keys import Imported

log = logging.getLogger(__name__)

Step = Callable[[str], AbstractContextManager[str]]
Tell = Callable[[str], None]


# --- reading ------------------------------------------------------------------------------------------


class CarriedMounts:
    """The mounts that a cache carries; its index is fetched when somebody asks.

    Mutable: the index, once it is known. Any thread.
    """

    def __init__(self, cache: Imported, refs: RefManager, wanted: tuple[str, ...] | None = None) -> None:
        """Ask nothing yet.

        Args:
            cache: what was read of it.
            refs: the store.
            wanted: ids of the mounts that are taken; None: all.
        """
        self._cache = cache
        self._refs = refs
        self._wanted = wanted
        self._index: MountIndex | None = None
        self._lock = threading.Lock()

    def index(self, cancelled: threading.Event | None = None) -> MountIndex:
        """What the cache has.

        Raises:
            DockcError: it cannot be had, or is not what it should be.
        """
        with self._lock:
            if self._index is None:
                self._index = read_index(self._cache, self._refs, cancelled)
            return self._index

    def find(self, name: str, based: bool) -> StoredMount | None:
        """A mount that is wanted from here, by its id."""
        if self._wanted is not None and name not in self._wanted:
            return None
        return self.index().find(name, based)

    def restore(
        self, mount: StoredMount, target: Path, cancelled: threading.Event | None = None,
        progress: Callable[[str, int, int, bool], None] | None = None,
    ) -> None:  # fmt: skip
        """Put the files of a mount into a directory.

        Raises:
            DockcError: they cannot be had, or are not what they should be; some may have been written.
        """
        provider = self._cache.provider
        assert provider is not None
        with self._refs.workspace("mounts") as folder:
            content = ContentStore(folder)
            stream = MountReader(self.index(), mount, provider, content, cancelled=cancelled, progress=progress)
            try:
                read_tree(stream, target, cancelled=cancelled)
            except OSError as error:
                raise CacheFailed(f"cannot write the files of cache mount {mount.id}: {error.strerror}") from error


def read_index(cache: Imported, refs: RefManager, cancelled: threading.Event | None = None) -> MountIndex:
    """The mounts that a cache says it has; nothing where it speaks of none.

    Raises:
        DockcError: the index cannot be had, or is not what it should be.
    """
    at, provider = cache.config.mounts, cache.provider
    if at is None or provider is None:
        return MountIndex()
    with refs.workspace("mounts") as folder:
        content = ContentStore(folder)
        provider.fetch(_index_blob(at), content, cancelled=cancelled)
        return mounts.parse(content.read(at.digest, at.size))


def _index_blob(at: MountsAt) -> Descriptor:
    from dockc.oci.descriptor import Descriptor

    if at.size > mounts.INDEX_LIMIT:
        raise CacheFailed(f"the index of cache mounts is larger than {mounts.INDEX_LIMIT} bytes")
    return Descriptor(mounts.INDEX_TYPE, at.digest, at.size)


def carried(entry: CacheEntry, cache: Imported, refs: RefManager) -> CarriedMounts | None:
    """The mounts that an entry of `--cache-from` brings; None where the cache has none, or none is wanted."""
    if cache.config.mounts is None or entry.attrs.get("mounts") == "":
        return None
    return CarriedMounts(cache, refs, base.mounts_of(entry) or None)


def offering(found: CarriedMounts, step: Step, warn: Callable[[str, str], None]) -> Callable[[str, bool], Fill | None]:
    """What a store is told to ask when a mount is to be made (`RefManager.offer_mounts`).

    Args:
        found: the cache's mounts.
        step: shows a step of the build, for as long as a block runs.
        warn: tells of trouble in a step.
    """

    def offered(name: str, based: bool) -> Fill | None:
        try:
            mount = found.find(name, based)
        except DockcError as error:
            warn("", f"the cache mounts of a cache cannot be read: {error.message}")
            return None
        return partial(fill, mount) if mount is not None else None

    def fill(mount: StoredMount, target: Path, cancelled: threading.Event | None) -> None:
        with step(f"restoring cache mount {mount.id}") as vertex:
            try:
                found.restore(mount, target, cancelled)
            except Cancelled:
                raise
            except DockcError as error:
                warn(vertex, f"cache mount {mount.id} begins empty: {error.message}")
                raise

    return offered


def remove_those_of(found: CarriedMounts, refs: RefManager) -> list[str]:
    """`replace-mounts`: remove the store's mounts that the cache has, too; returns the ids of those that are in use."""
    same = [one for one in refs.cache_mounts() if found.find(one.id, one.based) is not None]
    return [one.id for one in same if refs.remove_mount(one) < 0]


# --- writing ------------------------------------------------------------------------------------------


def save(
    refs: RefManager,
    entry: CacheEntry,
    target: CacheTarget,
    chains: Chains,
    place: Place,
    tell: Tell,
    source: CacheSource | None,
) -> Mapping[str, str]:
    """Write a cache with the mounts that its entry names; returns what clients are told.

    Args:
        refs: the store.
        entry: what was asked for.
        target: the cache.
        chains: its steps.
        place: what it works with.
        tell: hears of mounts that are not there.
        source: reads what the target has already; None where nobody can.

    Raises:
        DockcError: it cannot be written.
    """
    names = base.mounts_of(entry)
    if not names:
        return target.save(chains, place) if chains.layers else {}
    known = _known(refs, source, place) if source is not None else None
    try:
        return _save(refs, names, known, target, chains, place, tell)
    except Cancelled:
        raise
    except DockcError as error:
        if known is None:
            raise
        log.debug("%s: writing all mounts anew: %s", entry.shown(), error.message)
        return _save(refs, names, None, target, chains, place, tell)


def _save(
    refs: RefManager, names: tuple[str, ...], known: MountIndex | None, target: CacheTarget, chains: Chains, place: Place,
    tell: Tell,
) -> Mapping[str, str]:  # fmt: skip
    writer = MountWriter(place.content, known)
    extra: list[str] = []
    try:
        collect(refs, names, known, writer, tell, place.cancelled)
        index = writer.close()
        if not index.mounts:
            return target.save(chains, place) if chains.layers else {}
        data = mounts.dump(index)
        at = MountsAt(place.content.put(data), len(data))
        extra.append(at.digest)
        others = (_index_blob(at), *(pack.descriptor for pack in index.packs))
        return target.save(replace(chains, config=replace(chains.config, mounts=at), others=others), place)
    finally:
        for digest in (*writer.made, *extra):
            place.content.remove(digest)


def collect(
    refs: RefManager, names: tuple[str, ...], known: MountIndex | None, writer: MountWriter, tell: Tell,
    cancelled: threading.Event | None,
) -> None:  # fmt: skip
    """Take in mounts of the store by their ids; of those that are not here, what the place has of them stays."""
    here = refs.cache_mounts()
    for name in names:
        written = []
        for based in (False, True):
            candidates = [one for one in here if (one.id, one.based) == (name, based)]
            for mount in sorted(candidates, key=lambda one: one.busy):
                with refs.enter_mount(mount, cancelled) as folder:
                    if folder is not None:
                        writer.add(name, based, partial(write_tree, folder, cancelled=cancelled), cancelled=cancelled)
                        written.append(based)
                        break
            old = known.find(name, based) if known is not None and based not in written else None
            if known is not None and old is not None:
                writer.keep(known, old)
                written.append(based)
        if not written:
            tell(f"there is no cache mount {name} to write")


def steps_of(entry: CacheEntry, place: Place) -> Chains:
    """The steps that a place holds already, to be written again beside other mounts; none where there is no cache yet.

    Raises:
        CacheFailed: they cannot be kept.
    """
    from dockc.runtime.refs.types import LayerDescriptor
    from dockc.runtime.registry.client import NotFound
    from dockc.runtime.remotecache.chains import Chains

    try:
        found = table.source_of(table.counterpart(entry), os.environ).load(place)
    except NotFound:
        found = ()
    for cache in found:
        layers = {one.descriptor.digest: one for one in cache.layers if isinstance(one, LayerDescriptor)}
        if any(layer.blob not in layers for layer in cache.config.layers):
            raise CacheFailed(f"{entry.shown()}: what it holds cannot be kept", hint="Choose another name.")
        return Chains(replace(cache.config, mounts=None), layers)
    return Chains(CacheConfig())


def _known(refs: RefManager, source: CacheSource, place: Place) -> MountIndex | None:
    """The mounts that the place has already; None where it has none, or they cannot be read."""
    clients: list[Client] = []

    def client(insecure: bool = False) -> Client:
        clients.append(place.client(insecure))
        return clients[-1]

    try:
        for cache in source.load(replace(place, client=client)):
            if cache.config.mounts is not None:
                return read_index(cache, refs, place.cancelled)
    except Cancelled:
        raise
    except DockcError as error:
        log.debug("what a cache has of mounts: %s", error.message)
    finally:
        for one in clients:
            one.close()
    return None
