"""Caches elsewhere in a build: read before it, written after its outputs.

A cache that cannot be read is told and done without: the build runs. One that cannot be written fails the build, unless
`ignore-error=true`, which is what the command line says where nobody says otherwise.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from dockc.base.record import replace
from dockc.engine import mounts
from dockc.engine.connect import registry_client
from dockc.errors import DockcError, UsageError
from dockc.runtime.remotecache import base, table
from dockc.runtime.remotecache.base import CacheEntry, CacheSource, Place
from dockc.runtime.remotecache.chains import Chains, inline_records, make_chains
from dockc.solver.cache.export import ExportMode
from dockc.solver.cache.export import export as export_keys
from dockc.solver.progress import SolveStatus, VertexWarning

if TYPE_CHECKING:
    from dockc.engine.bridge import Bridge, Ref, Result
    from dockc.engine.progress import Steps
    from dockc.engine.request import BuildRequest
    from dockc.runtime.archive.compress import Compression
    from dockc.runtime.exporter.source import ExportSource
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.runtime.refs.types import LayerDescriptor, Offered, Provider, Remote
    from dockc.runtime.registry.client import Client
    from dockc.runtime.remotecache.config import CacheRecord
    from dockc.runtime.remotecache.keys import Imported
    from dockc.solver.cache.storage.base import CacheResult, KeyRecord

_TITLES = {
    "registry": "exporting cache to registry",
    "local": "exporting cache to client directory",
    "s3": "exporting cache to Amazon S3",
    "azblob": "exporting cache to Azure Blob Storage",
    "gha": "exporting to GitHub Actions Cache",
}
_INLINE_ARGUMENT = "build-arg:BUILDKIT_INLINE_CACHE"


# --- what is asked ------------------------------------------------------------------------------------


def imports_of(request: BuildRequest) -> tuple[CacheEntry, ...]:
    """The caches that a build reads, those that frontend options name included; each once.

    Raises:
        UsageError: an option that cannot be understood.
    """
    found = list(request.cache_from)
    if text := request.attrs.get("cache-imports", ""):
        try:
            found += [
                CacheEntry(str(one["Type"]), {str(k): str(v) for k, v in (one.get("Attrs") or {}).items()})
                for one in json.loads(text)
            ]
        except RecursionError:
            raise UsageError("failed to unmarshal cache-imports: nested too deeply") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError("failed to unmarshal cache-imports: it is no list of caches") from None
    found += [CacheEntry("registry", {"ref": ref}) for ref in request.attrs.get("cache-from", "").split(",") if ref]
    seen: dict[str, CacheEntry] = {}
    for entry in found:
        seen.setdefault(f"{entry.type} {sorted(entry.attrs.items())}", entry)
    return tuple(seen.values())


def exports_of(request: BuildRequest) -> tuple[CacheEntry, ...]:
    """The caches that a build writes beside its images."""
    return tuple(entry for entry in request.cache_to if entry.type != table.INLINE)


def is_inline(request: BuildRequest) -> bool:
    """Whether images carry their cache."""
    return (
        any(entry.type == table.INLINE for entry in request.cache_to)
        or (request.attrs.get(_INLINE_ARGUMENT) or "0") in base.TRUE
    )


def check(request: BuildRequest) -> None:
    """Refuse caches that cannot work, before anything is asked or run.

    Raises:
        UsageError: no such kind, or options that make no sense.
    """
    for entry in imports_of(request):
        table.source_of(entry, os.environ)
    for entry in request.cache_to:
        entry.flag("ignore-error")
        mode = base.mode_of(entry)
        if entry.type != table.INLINE:
            table.target_of(entry, os.environ)
        elif base.mounts_of(entry):
            raise UsageError("an inline cache carries no cache mounts", hint="Use another type of cache for them.")
        elif mode != "min":
            raise UsageError("an inline cache has mode=min only", hint="Use type=registry for mode=max.")
        else:
            base.check_options(entry)


# --- read ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def imported(bridge: Bridge) -> AsyncIterator[None]:
    """The solver reads the build's caches too, for as long as the block runs.

    When it fails because of one of them, or of one that an earlier build has read, nothing of theirs that is not here
    yet is left: the next try does without.
    """
    joined: list[int] = []
    clients: list[Client] = []
    layers: list[str] = []
    offered: list[Offered] = []
    try:
        read: list[CacheEntry] = []

        async def join(entry: CacheEntry) -> None:
            if entry not in read:
                read.append(entry)
                joined.extend(await _join(bridge, entry, clients, layers, offered))

        bridge.join_cache = join
        for entry in imports_of(bridge.request):
            await join(entry)
        yield
    except DockcError as error:
        if (lost := lost_in(error)) is not None:
            await bridge.work.blocking(partial(bridge.work.worker.refs.abandon, {*layers, *lost}))
        raise
    finally:
        for number in joined:
            bridge.work.cache.leave(number)
        for one in offered:
            bridge.work.worker.refs.withdraw_mounts(one)
        for client in clients:
            client.close()


async def _join(
    bridge: Bridge, entry: CacheEntry, clients: list[Client], layers: list[str], offered: list[Offered]
) -> list[int]:
    from dockc.runtime.remotecache.keys import ImportedKeys, ImportedResults
    from dockc.solver.cache.cachemanager import LocalCache

    cancelled = threading.Event()
    place = _place(bridge, cancelled, clients)
    vertex = ""
    try:
        with bridge.steps.step(
            f"importing cache manifest from {entry.attrs.get('ref') or entry.attrs.get('src') or entry.type}"
        ) as vertex:
            source = _source(bridge, entry)
            found = await bridge.work.blocking(partial(source.load, place), cancelled=cancelled)
    except DockcError as error:
        bridge.warn(vertex, f"cache {entry.shown()} is not used: {error.message}")
        return []
    refs = bridge.work.worker.refs
    joined = []
    for one in found:
        if (carried := mounts.carried(entry, one, refs)) is not None:
            if entry.flag("replace-mounts"):
                await bridge.work.blocking(partial(_replace_mounts, bridge, vertex, carried), cancelled=cancelled)
            offered.append(mounts.offering(carried, bridge.steps.step, bridge.warn))
            refs.offer_mounts(offered[-1])
    for one in map(_cautious, found):
        layers += [layer.descriptor.digest for layer in one.layers if layer is not None]
        refs.renew(layer for layer in one.layers if layer is not None)
        # its own layers
        keys = ImportedKeys(one.config, lambda at, layers=one.layers: layers[at] is not None)  # type: ignore[misc]
        bridge.imports.append((keys, one))
        joined.append(bridge.work.cache.join(LocalCache(keys, ImportedResults(one, refs))))
    return joined


def _source(bridge: Bridge, entry: CacheEntry) -> CacheSource:
    if entry.type == "local" and bridge.session.caches is not None:
        from dockc.runtime.remotecache.lent import LentSource

        return LentSource(entry, bridge.session.caches)
    return table.source_of(entry, os.environ)


def _replace_mounts(bridge: Bridge, vertex: str, carried: mounts.CarriedMounts) -> None:
    try:
        busy = mounts.remove_those_of(carried, bridge.work.worker.refs)
    except DockcError as error:
        bridge.warn(vertex, f"cache mounts are not replaced: {error.message}")
        return
    for name in busy:
        bridge.warn(vertex, f"cache mount {name} is not replaced: it is in use")


def _cautious(imported: Imported) -> Imported:
    """The same cache, whose layers say whose fault it is when they cannot be had."""
    from dockc.runtime.remotecache.keys import CautiousProvider

    guards: dict[int, CautiousProvider] = {}
    digests = tuple(layer.descriptor.digest for layer in imported.layers if layer is not None)

    def guarded(layer: LayerDescriptor | None) -> LayerDescriptor | None:
        if layer is None or layer.provider is None:
            return layer
        inner = layer.provider
        guard = CautiousProvider(f"cache {imported.name}", inner, digests)
        return replace(layer, provider=guards.setdefault(id(inner), guard))

    return replace(imported, layers=tuple(map(guarded, imported.layers)))


def left_behind(client: Client, origin: str) -> Provider | None:
    """Who fetches layers that an earlier process has seen and not fetched; a build that cannot have one goes without."""
    from dockc.runtime.remotecache.keys import CautiousProvider
    from dockc.runtime.source.registry import provider_for

    found = provider_for(client, origin)
    return None if found is None else CautiousProvider(f"layers of an earlier build from {origin}", found)


def without_imports(request: BuildRequest) -> BuildRequest:
    """The same request, which reads no caches."""
    attrs = {key: value for key, value in request.attrs.items() if key not in ("cache-from", "cache-imports")}
    return replace(request, cache_from=(), attrs=attrs)


def told(error: DockcError, steps: Steps) -> None:
    """Say that the build begins again, and why."""
    with steps.step("[internal] building again without imported caches") as vertex:
        steps.send(SolveStatus(warnings=(VertexWarning(vertex, 1, error.message),)))


def is_of_a_cache(error: BaseException) -> bool:
    """Whether a build failed because a layer of a cache could not be had."""
    return lost_in(error) is not None


def lost_in(error: BaseException) -> tuple[str, ...] | None:
    """The layers of caches that could not be had, by digest, where that is why a build failed; else None."""
    from dockc.runtime.refs.types import CacheLayerFailed

    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        if isinstance(at, CacheLayerFailed):
            return at.layers
        seen.add(id(at))
        at = at.__cause__ or at.__context__
    return None


def _place(bridge: Bridge, cancelled: threading.Event, clients: list[Client] | None = None, vertex: str = "") -> Place:
    def client(insecure: bool = False) -> Client:
        request, session = bridge.request, bridge.session
        made = registry_client(
            insecure=insecure or request.insecure,
            offline=request.offline,
            uploads=session.uploads,
            credentials=session.credentials,
        )
        if clients is not None:
            clients.append(made)
        return made

    meter = bridge.steps.meter(vertex) if vertex else None
    return Place(bridge.work.worker.content, client, os.environ, cancelled, meter, partial(bridge.warn, vertex))


# --- write --------------------------------------------------------------------------------------------


async def export(bridge: Bridge, result: Result) -> Mapping[str, str]:
    """Write the build's caches; returns what clients are told.

    Raises:
        DockcError: one could not be written, and that is not to be ignored.
    """
    from dockc.runtime.remotecache.lent import LentTarget

    response: dict[str, str] = {}
    for entry in exports_of(bridge.request):
        lends = bridge.session.caches
        target = LentTarget(entry, lends) if entry.type == "local" and lends else table.target_of(entry, os.environ)
        cancelled = threading.Event()
        vertex = ""
        try:
            with bridge.steps.step(_TITLES[entry.type]) as vertex:
                place = _place(bridge, cancelled, vertex=vertex)
                work = partial(_write, bridge, result, entry, target, place, vertex)
                response |= await bridge.work.blocking(work, cancelled=cancelled)
        except DockcError as error:
            if not entry.flag("ignore-error"):
                raise
            bridge.warn(vertex, f"cache {entry.shown()} was not written: {error.message}")
    return response


def _write(
    bridge: Bridge, result: Result, entry: CacheEntry, target: base.CacheTarget, place: Place, vertex: str
) -> Mapping[str, str]:
    mode = ExportMode(base.mode_of(entry))
    chains = gather(
        bridge,
        [ref for ref in result.refs.values() if ref is not None],
        mode,
        target.compression,
        place.cancelled,
        fetched=entry.type != "registry",  # which takes layers over from where they are
    )
    refs = bridge.work.worker.refs
    elsewhere = entry.type == "local" and bridge.session.caches is not None
    source = None if elsewhere else table.source_of(table.counterpart(entry), os.environ)
    return mounts.save(refs, entry, target, chains, place, partial(bridge.warn, vertex), source)


def gather(
    bridge: Bridge,
    refs: Sequence[Ref],
    mode: ExportMode,
    compression: Compression,
    cancelled: threading.Event | None,
    *,
    fetched: bool = False,
) -> Chains:
    """The keys of results, and the layers that go along; blocks.

    What the build's caches have goes along too, whether the build needed it or not: a cache that is read and written
    loses nothing. With `fetched`, results go along only if their blobs can be had, and those are fetched.
    """
    from dockc.runtime.ops.source import proven_name
    from dockc.runtime.refs.manager import RefNotFound
    from dockc.runtime.refs.result import PROVIDERS
    from dockc.runtime.refs.types import Remote, RemoteOptions
    from dockc.runtime.remotecache.keys import WithImported

    refs_ = bridge.work.worker.refs
    packing = refs_.packing(RemoteOptions(compression), dated=True, cancelled=cancelled)
    known = WithImported(bridge.work.worker.keys, bridge.imports)

    def instead(record: KeyRecord | None) -> str:
        return proven_name(record, refs_)

    sound: set[str] = set()

    def find(found: CacheResult) -> ImmutableRef | None:
        """A hold on the file system of a result for as long as this takes; None where it is gone."""
        if found.id not in held:
            try:
                held[found.id] = stack.enter_context(refs_.get(found.id))
            except RefNotFound:
                held[found.id] = None
        return held[found.id]

    def look(found: CacheResult, may_work: bool) -> Remote | None:
        """Whether there is a result; nothing is made yet."""
        return Remote(known.layers(found.id) or ()) if known.layers(found.id) is not None or find(found) else None

    def resolve(found: CacheResult, may_work: bool) -> Remote | None:
        if (layers := known.layers(found.id)) is not None:
            return here(Remote(layers))
        ref = find(found)
        if ref is not None and (may_work or ref.packed() is not None):
            return here(packing.remote(ref.id))
        return None

    def here(remote: Remote) -> Remote | None:
        """Its blobs are in the store, where they are to be; None where a cache that has them fails."""
        try:
            new = tuple(layer for layer in remote.layers if layer.descriptor.digest not in sound)
            if fetched and new:
                refs_.ensure_blobs(Remote(new), cancelled=cancelled, instead=bridge.lends.lent(PROVIDERS))
                sound.update(layer.descriptor.digest for layer in new)
        except DockcError as error:
            if not is_of_a_cache(error):
                raise
            return None
        return remote

    with ExitStack() as stack:
        held: dict[str, ImmutableRef | None] = {}
        keys: list[str] = []
        for ref in refs:
            if ref.built is not None:
                packing.prepare([bridge.file_system(ref).id])  # what lies below is packed with it
                keys += ref.built.keys
        if mode is ExportMode.MAX:
            export_keys(known, keys, look, mode=mode, instead=instead)
            packing.prepare([ref.id for ref in held.values() if ref is not None])
        return make_chains(export_keys(known, keys, resolve, mode=mode, instead=instead))


async def inlined(bridge: Bridge, result: Result, source: ExportSource) -> ExportSource:
    """The source of the outputs with the cache in its image configs, where that is asked for."""
    if not is_inline(bridge.request):
        return source
    cancelled = threading.Event()
    work = partial(_inlined, bridge, result, source, cancelled)
    with bridge.steps.step("preparing layers for inline cache"):
        return await bridge.work.blocking(work, cancelled=cancelled)


def _inlined(bridge: Bridge, result: Result, source: ExportSource, cancelled: threading.Event) -> ExportSource:
    from dockc.runtime.archive.compress import Compression
    from dockc.runtime.refs.types import RemoteOptions
    from dockc.runtime.remotecache.manifest import with_inline

    chains = gather(
        bridge, [ref for ref in result.refs.values() if ref is not None], ExportMode.MIN, Compression(), cancelled
    )
    found = []
    for one in source.results:
        records: tuple[CacheRecord, ...] = ()
        if one.ref is not None and one.config:
            records = inline_records(chains, one.ref.remote(RemoteOptions(Compression()), cancelled=cancelled).diff_ids)
        found.append(replace(one, config=with_inline(one.config, records)) if records else one)
    return replace(source, results=tuple(found))
