"""RefManager: the one door to file systems in the store.

<root>/store.db             records, parents, blobs, metadata, holds (SQLite)
<root>/content/             blobs, as an OCI layout
<root>/snapshots/<id>/fs    change directories
<root>/snapshots/<id>/moved layers that stand elsewhere than where they were made
<root>/squashed/            read-only combinations of them, made of hard links
<root>/leases/<lease>       one locked file a living process
<root>/staging/<lease>/     that process's unfinished work and mount points
<root>/locks/               locks on single records
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dockc.errors import DiskFull, DockcError, StoreError
from dockc.golang.times import Time
from dockc.oci import digest as digests
from dockc.oci.config import chain_id, chain_ids
from dockc.oci.descriptor import CREATED_AT, DESCRIPTION
from dockc.runtime.archive.limits import Limits
from dockc.runtime.cancel import check_cancelled
from dockc.runtime.content.errors import telling
from dockc.runtime.content.locks import try_lock
from dockc.runtime.content.store import ContentStore
from dockc.runtime.fsutil import marks
from dockc.runtime.refs import cachedirs, database
from dockc.runtime.refs.blobs import known_blobs
from dockc.runtime.refs.core import Core, ProviderFactory, RefNotFound, new_id, now
from dockc.runtime.refs.database import AS_CAME, Blob, Database
from dockc.runtime.refs.leases import Lease
from dockc.runtime.refs.packing import Packing
from dockc.runtime.refs.plan import Census, Guests, Plan
from dockc.runtime.refs.policy import Rule
from dockc.runtime.refs.privacy import close_to_others
from dockc.runtime.refs.prune import Pruned, Told, collect, planned, prune
from dockc.runtime.refs.recovery import clear_staging, recover
from dockc.runtime.refs.ref import ImmutableRef, MutableRef, fresh_record
from dockc.runtime.refs.types import (
    CacheMount,
    Fill,
    LayerDescriptor,
    Offered,
    Progress,
    RecordType,
    Remote,
    RemoteOptions,
    Sharing,
    UsageRecord,
    blob_chains,
)
from dockc.runtime.refs.unpack import fetch, fetch_sound, inherit_root
from dockc.runtime.refs.usage import Keep, Keeper, census, usage
from dockc.runtime.snapshot.changes import tree_changes
from dockc.runtime.snapshot.choose import snapshotter
from dockc.runtime.snapshot.squash import SquashCache

if TYPE_CHECKING:
    from types import TracebackType

    from dockc.oci.descriptor import Descriptor
    from dockc.runtime.snapshot.base import Snapshotter
    from dockc.solver.op import Later


def _moment(text: str) -> int:
    """What a cache says of when a layer was made (nanoseconds since the epoch); 0 where it says nothing that can be."""
    try:
        told = Time.parse(text)
    except DockcError:
        return 0
    moment = told.seconds * 1_000_000_000 + told.nanos
    return moment if 0 < moment < now() else 0


def _description(layer: LayerDescriptor, given: str) -> str:
    return layer.descriptor.annotations.get(DESCRIPTION) or given or f"imported {layer.descriptor.digest}"


MAX_LAYERS = 1 << 14
"""Layers that a merge may put on each other."""


class RefManager:
    """Makes, finds and removes refs. Any thread may call; several processes share one root.

    Args:
        root: the store; made if missing.
        snapshotter_name: `auto`, `overlay` or `native`.
        provider_factory: see `ProviderFactory`.
        on_removed: told the id of every ref that is removed, so that caches can forget it, and by which rule.
        limits: what one layer may unpack to.

    Attributes:
        opened_to_others: what was wrong with the store's permissions when it was opened; one sentence each.

    Raises:
        StoreError: the store cannot be opened or written.
    """

    def __init__(
        self,
        root: Path,
        *,
        snapshotter_name: str = "auto",
        provider_factory: ProviderFactory | None = None,
        on_removed: Callable[[str, str], None] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._closed = False
        with telling("opening the store", root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            root = root.resolve()
            self.opened_to_others = close_to_others(root)
            lease = Lease(root)
        with ExitStack() as undo:
            undo.callback(lease.end)
            undo.callback(clear_staging, lease.staging)
            self._core = self._opened(root, lease, snapshotter_name, provider_factory, on_removed, limits)
            undo.callback(self._core.db.close)
            with telling("cleaning the store", root):
                recover(self._core)
            undo.pop_all()

    @staticmethod
    def _opened(
        root: Path,
        lease: Lease,
        snapshotter_name: str,
        provider_factory: ProviderFactory | None,
        on_removed: Callable[[str, str], None] | None,
        limits: Limits | None,
    ) -> Core:
        opaque = marks.opened(root, lease.staging)
        squashed = SquashCache(root / "squashed", opaque)
        tool = snapshotter(snapshotter_name, lease.staging, squashed, user=opaque.startswith("user."))
        return Core(
            root=root,
            content=ContentStore(root / "content"),
            db=Database(root / "store.db"),
            lease=lease,
            snapshotter=tool,
            squashed=squashed,
            opaque=opaque,
            limits=limits or Limits(),
            provider_factory=provider_factory,
            on_removed=on_removed,
        )

    @property
    def root(self) -> Path:
        """The store's directory."""
        return self._core.root

    @property
    def content(self) -> ContentStore:
        """The blobs."""
        return self._core.content

    @property
    def snapshotter(self) -> Snapshotter:
        """What mounts."""
        return self._core.snapshotter

    @property
    def core(self) -> Core:
        """For the store's own tools (doctor)."""
        return self._core

    @property
    def staging(self) -> Path:
        """A directory of this process inside the store, removed at `close` and after a crash."""
        return self._core.lease.staging

    def need(self) -> None:
        """See that the store is still the one that was opened, as who begins something that takes long wants to know.

        Raises:
            StoreError: somebody has removed it meanwhile, and perhaps another one stands in its place.
        """
        if not self.staging.is_dir():
            raise StoreError(
                f"the store {self.root} has been removed while this process uses it",
                hint="Start the daemon or the build again: it makes a new one.",
            )

    def shrink(self) -> None:
        """Give back memory that the database had for reading.

        Raises:
            StoreError: it is damaged.
        """
        self._core.db.shrink()

    def close(self) -> None:
        """Let go of everything this process holds; a second time does nothing."""
        core = self._core
        if self._closed:
            return
        self._closed = True
        with core.db.lock:
            unfinished = [r for r in map(core.db.find, core.holds) if r and r.state == database.MUTABLE]
            core.holds.clear()
        try:
            core.db.unhold(core.lease.id, now())
            for record in unfinished:
                if not record.retain:
                    core.remove(record.id)
        except DiskFull:
            pass  # what a dead process held is nobody's: the next one that can write sees to it
        clear_staging(core.lease.staging)
        core.db.close()
        core.lease.end()
        marks.closed(core.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- making refs

    def scratch(self) -> ImmutableRef:
        """The empty file system."""
        return self.merge(())

    def from_layers(
        self,
        layers: Sequence[LayerDescriptor],
        *,
        description: str = "",
        record_type: RecordType = RecordType.REGULAR,
        cancelled: threading.Event | None = None,
    ) -> ImmutableRef:
        """The file system of an image's layers, lowest first.

        Nothing is fetched or unpacked before the first mount. Layers of the same blobs are one ref. Others of the same
        diff ids share its directories, once it has been proved that these are theirs (what an image says of itself
        binds nobody), and go out as the blobs they are called here: an image on this one has the layers of this one.

        Raises:
            InvalidDigest: a diff id that is no digest.
            Cancelled: `cancelled` was set.
        """
        core = self._core
        if not layers:
            return self.scratch()
        for layer in layers:
            digests.validate(layer.diff_id)
        identities = blob_chains(layers)
        names = zip(layers, identities, chain_ids([layer.diff_id for layer in layers]), strict=True)
        with core.db.transaction():
            parent, shared = "", False
            for height, (layer, identity, chain) in enumerate(names):
                check_cancelled(cancelled)
                known = core.db.by_chain(identity) or core.db.proven(chain)
                record_id = known.id if known else new_id()
                if known is None:
                    if shared:
                        parent = self._called(parent, layers[:height], identities[height - 1], description)
                    notes = layer.descriptor.annotations
                    record = fresh_record(
                        record_id,
                        kind=database.LAYER,
                        state=database.COMMITTED,
                        record_type=record_type,
                        description=_description(layer, description),
                        chain_id=identity,
                        diff_id=layer.diff_id,
                        created_at=_moment(notes.get(CREATED_AT, "")),
                    )
                    core.db.add(record, (parent,) if parent else ())
                shared = known is not None and known.chain_id != identity
                if known is not None and known.kind == database.MERGE:
                    self._call(record_id, layers[: height + 1])
                elif not shared:
                    self._know(record_id, layer)
                parent = record_id
            if shared:
                parent = self._called(parent, layers, identities[-1], description)
            core.hold(parent)
            return ImmutableRef(core, parent)

    def _called(self, record_id: str, layers: Sequence[LayerDescriptor], identity: str, description: str) -> str:
        """The record of layers as an image calls them: that of the layers themselves, where they came so."""
        core = self._core
        came = known_blobs(core, record_id)
        if [blob and blob.descriptor.digest for blob in came] == [layer.descriptor.digest for layer in layers]:
            return record_id
        below = core.record(record_id)
        made = fresh_record(
            new_id(),
            kind=database.MERGE,
            state=database.COMMITTED,
            record_type=RecordType(below.record_type),
            description=_description(layers[-1], description),
            chain_id=identity,
        )
        core.db.add(made, (record_id,))
        self._call(made.id, layers)
        return made.id

    def _call(self, record_id: str, layers: Sequence[LayerDescriptor]) -> None:
        core = self._core
        for at, layer in enumerate(layers):
            core.db.add_blob(Blob(record_id, f"{database.NAMED}{at}", layer.descriptor, layer.diff_id, layer.origin))
            if layer.provider is not None:
                core.providers[layer.descriptor.digest] = layer.provider

    def offer(
        self,
        layers: Sequence[LayerDescriptor],
        *,
        later: Later | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        """Tell where layers (lowest first) can be had: refs that an earlier build left may name a place that is
        gone. Their way here is shown by `later`, as long as somebody else keeps that.
        """
        core = self._core
        if later is not None:
            with core.db.lock:
                core.laters |= {layer.descriptor.digest: later for layer in layers}
        for layer, identity in zip(layers, blob_chains(layers), strict=True):
            check_cancelled(cancelled)
            if layer.provider is None:
                continue
            with core.db.lock:
                core.providers[layer.descriptor.digest] = layer.provider
            known = core.db.by_chain(identity)
            if known is None or known.snapshot or known.kind != database.LAYER:
                continue
            if any(core.content.has(blob.descriptor.digest) for blob in core.db.blobs(known.id)):
                continue
            with core.db.transaction():
                if core.db.find(known.id) is not None:
                    self._know(known.id, layer)

    def is_present(self, layers: Sequence[LayerDescriptor]) -> bool:
        """Whether layers (lowest first) are unpacked here: the topmost is, which was unpacked last."""
        core = self._core
        if not layers:
            return True
        chain = chain_id(layer.diff_id for layer in layers)
        known = core.db.by_chain(blob_chains(layers)[-1]) or core.db.proven(chain)
        return known is not None and all(map(core.has_directory, core.stack(known.id)))

    def is_proven(self, blobs: str, chain: str) -> bool:
        """Whether layers, known by their blobs (the last of `blob_chains`), hold the chain of diff ids that is said."""
        return self.proven_chain(blobs) == chain

    def proven_chain(self, blobs: str) -> str:
        """The chain of diff ids that layers, known by their blobs, have been found to hold; "" where nobody has looked."""
        known = self._core.db.by_chain(blobs)
        found = self._core.db.meta(known.id, database.PROVEN) if known is not None else None
        return found.decode() if found is not None else ""

    def _know(self, record_id: str, layer: LayerDescriptor) -> None:
        core = self._core
        core.db.add_blob(Blob(record_id, AS_CAME, layer.descriptor, layer.diff_id, layer.origin))
        if layer.provider is not None:
            core.providers[layer.descriptor.digest] = layer.provider

    def packing(
        self,
        options: RemoteOptions | None = None,
        *,
        dated: bool = False,
        cancelled: threading.Event | None = None,
    ) -> Packing:
        """Makes blobs of the layers of many refs; see `refs.packing`."""
        return Packing(self._core, options, dated=dated, cancelled=cancelled)

    def new_mutable(
        self,
        parent: ImmutableRef | None = None,
        *,
        description: str = "",
        record_type: RecordType = RecordType.REGULAR,
        retain: bool = False,
    ) -> MutableRef:
        """A writable file system on top of `parent` (which stays the caller's).

        With `retain` an uncommitted ref outlives `release()` and the process and is found again by its metadata
        (`find_mutable`); without, `release()` removes it.
        """
        core = self._core
        record_id = new_id()
        record = fresh_record(
            record_id,
            kind=database.LAYER,
            state=database.MUTABLE,
            record_type=record_type,
            description=description,
            retain=retain,
        )
        lock = try_lock(core.lock_path("mutable", record_id)) if retain else None
        with core.db.transaction():
            core.db.add(record, (parent.id,) if parent is not None else ())
            core.hold(record_id)
        return MutableRef(core, record_id, lock)

    def merge(self, refs: Sequence[ImmutableRef], *, description: str = "") -> ImmutableRef:
        """The layers of all `refs` on top of each other, later ones winning. No data is copied.

        Raises:
            StoreError: there are more of them than may be: a merge of a merge with itself doubles them each time.
        """
        sizes = [len(self._core.stack(ref.id)) for ref in refs]
        if sum(sizes) > MAX_LAYERS:
            raise StoreError(f"a merge of {sum(sizes)} layers: no more than {MAX_LAYERS} may lie on each other")
        full = [ref for ref, size in zip(refs, sizes, strict=True) if size]
        if len(full) == 1:
            return full[0].clone()
        return self._combined(database.MERGE, tuple(ref.id for ref in full), description)

    def diff(
        self,
        lower: ImmutableRef | None,
        upper: ImmutableRef | None,
        *,
        description: str = "",
        cancelled: threading.Event | None = None,
    ) -> ImmutableRef:
        """What has to be applied to `lower` to get `upper`: known layers where possible, computed otherwise."""
        core = self._core
        below = core.stack(lower.id) if lower is not None else ()
        above = core.stack(upper.id) if upper is not None else ()
        if upper is not None and lower is not None and below and above[: len(below)] == below:
            if above == below:
                return self.scratch()
            return self._combined(database.DIFF, (lower.id, upper.id), description)
        if upper is not None and not below:
            return upper.clone()
        if lower is None or not below:
            return self.scratch()
        return self._computed(lower, upper, description, cancelled)

    def _combined(self, kind: str, parents: tuple[str, ...], description: str) -> ImmutableRef:
        """A ref without a layer of its own; equal combinations are one ref."""
        core = self._core
        identity = f"{kind}:{digests.from_bytes(' '.join(parents).encode())}"
        with core.db.transaction():
            known = core.db.by_chain(identity)
            if known is None:
                known = fresh_record(
                    new_id(),
                    kind=kind,
                    state=database.COMMITTED,
                    record_type=RecordType.REGULAR,
                    description=description or (kind if parents else "scratch"),
                    chain_id=identity,
                )
                core.db.add(known, parents)
            core.hold(known.id)
        return ImmutableRef(core, known.id)

    def _computed(
        self,
        lower: ImmutableRef,
        upper: ImmutableRef | None,
        description: str,
        cancelled: threading.Event | None,
    ) -> ImmutableRef:
        """A layer of the differences of two trees that have no layers in common."""
        from dockc.runtime.refs.difference import gather

        core = self._core
        new = upper if upper is not None else self.scratch()
        try:
            with (
                lower.mount(cancelled=cancelled) as old_tree,
                new.mount(cancelled=cancelled) as new_tree,
                self.new_mutable(description=description or "diff") as made,
            ):
                with made.mount() as target, telling("computing a difference", core.root):
                    gather(tree_changes(old_tree, new_tree, times=False), target)
                    inherit_root(target, [str(new_tree)])
                return made.commit()
        finally:
            if upper is None:
                new.release()

    # -- finding refs

    def get(self, ref_id: str) -> ImmutableRef:
        """A new hold on a committed ref; raises `RefNotFound`."""
        self._core.acquire(ref_id)
        return ImmutableRef(self._core, ref_id)

    def drop(self, ref: ImmutableRef) -> None:
        """Give up the hold on a ref, and the ref itself where nobody else has it."""
        ref.release()
        self._core.remove(ref.id)

    def exists(self, ref_id: str) -> bool:
        """Whether `get` finds it and all of its content is here or can be fetched."""
        found = self._core.db.find(ref_id)
        return found is not None and found.state == database.COMMITTED and self._core.is_available(found)

    def find(self, key: str, value: bytes) -> tuple[str, ...]:
        """Ids of committed refs whose metadata `key` is `value`, latest used first."""
        return tuple(record.id for record in self._core.db.by_meta(key, value, database.COMMITTED))

    def find_mutable(self, key: str, value: bytes) -> MutableRef | None:
        """A retained mutable ref with this metadata, locked for the caller; None if there is none or all are busy."""
        core = self._core
        for record in core.db.by_meta(key, value, database.MUTABLE):
            lock = try_lock(core.lock_path("mutable", record.id))
            if lock is None:
                continue
            with core.db.transaction():
                found = core.db.find(record.id)
                if found is not None and found.state == database.MUTABLE and found.retain:
                    core.hold(record.id)
                    return MutableRef(core, record.id, lock)
            os.close(lock)
        return None

    def cache_dir(
        self,
        key: str,
        sharing: Sharing = Sharing.SHARED,
        base: ImmutableRef | None = None,
        *,
        cancelled: threading.Event | None = None,
        description: str = "",
    ) -> AbstractContextManager[Path]:
        """The persistent directory of a cache mount, writable.

        On first use it is a copy of `base`. SHARED: used by many at once; LOCKED: waits until it is alone;
        PRIVATE: another directory of the same key is taken (or made) while this one is in use.
        """
        return cachedirs.cache_dir(self._core, key, sharing, base, cancelled, description)

    def forget_cache_dirs(self, names: Collection[str]) -> None:
        """The directories of these cache mounts start anew, with or without a base; one that is in use stays so."""
        from dockc.runtime.refs.cachedirs import forget

        forget(self._core, names)

    def cache_mounts(self) -> list[CacheMount]:
        """All cache mounts, latest used first."""
        return cachedirs.cache_mounts(self._core)

    def enter_mount(
        self, mount: CacheMount, cancelled: threading.Event | None = None
    ) -> AbstractContextManager[Path | None]:
        """The directory of a cache mount, which nobody removes while the block runs; None when it is gone.

        Waits for steps that have it for themselves. It may be written to.
        """
        return cachedirs.entered(self._core, mount, cancelled)

    def remove_mount(self, mount: CacheMount) -> int:
        """Remove a cache mount; returns the bytes it took, -1 if it is in use."""
        return cachedirs.remove(self._core, mount)

    def make_mount(self, name: str, fill: Fill, cancelled: threading.Event | None = None) -> bool:
        """Make the cache mount `name` with these files; False where there is one already.

        Raises:
            DockcError: the files cannot be had; nothing is made.
        """
        return cachedirs.make_filled(self._core, name, fill, cancelled)

    def offer_mounts(self, offered: Offered) -> None:
        """Ask for files of each cache mount that is made from now on, until `withdraw_mounts`."""
        self._core.mounts_offered.append(offered)

    def withdraw_mounts(self, offered: Offered) -> None:
        """Ask no more."""
        self._core.mounts_offered.remove(offered)

    def workspace(self, what: str) -> AbstractContextManager[Path]:
        """A directory of this process, removed at the end; a killed process's goes with the next cleaning."""
        return self._core.workspace(what)

    def abandon(self, digests_: Iterable[str]) -> None:
        """Blobs that were to be fetched late cannot be had after all: file systems that need one of them are not there
        any more.

        So it is with all that the database alone remembers to come from where they do. Blobs that are in the content
        store stay. Who knows another place for one may say so again.
        """
        core = self._core
        with core.db.transaction():
            lost = set(digests_)
            beside: set[str] = set()
            for digest in lost:
                if digest not in beside:
                    beside.update(core.db.of_origin(digest))
            for digest in lost | {one for one in beside if one not in core.providers}:
                if not core.content.has(digest):
                    core.providers.pop(digest, None)
                    core.remembered.pop(digest, None)
                    core.db.forget_origin(digest)

    def ensure_blobs(
        self,
        remote: Remote,
        *,
        cancelled: threading.Event | None = None,
        progress: Progress | None = None,
        instead: Sequence[ProviderFactory] = (),
    ) -> None:
        """Fetch every blob of `remote` that is not in the content store, or is damaged there; see `fetching`."""
        for layer in remote.layers:
            if layer.provider is not None:
                with self._core.db.lock:
                    self._core.providers.setdefault(layer.descriptor.digest, layer.provider)
        blobs = [Blob("", AS_CAME, layer.descriptor, layer.diff_id, layer.origin) for layer in remote.layers]
        fetch_sound(self._core, blobs, cancelled=cancelled, progress=progress, instead=instead)

    def renew(self, layers: Iterable[LayerDescriptor]) -> None:
        """Layers that are known and have not come are fetched from where it is said here, from now on."""
        core = self._core
        with core.db.lock:
            for layer in layers:
                digest = layer.descriptor.digest
                if layer.provider is not None and (digest in core.providers or digest in core.remembered):
                    core.providers[digest] = layer.provider

    def bring(
        self,
        blobs: Iterable[Descriptor],
        place: str,
        find: ProviderFactory,
        *,
        progress: Progress | None = None,
    ) -> None:
        """Fetch blobs that are not here from where an image that stood on them came from, else from `place`.

        Args:
            blobs: which.
            place: an origin (`LayerDescriptor.origin`).
            find: finds the provider of an origin.
            progress: told of bytes.

        Raises:
            StoreError, RegistryError: one cannot be had.
        """
        core = self._core
        wanted = [blob for blob in blobs if not core.content.has(blob.digest)]
        if not wanted:
            return
        origins = {blob.descriptor.digest: blob.origin for blob in core.db.blobs() if blob.origin}
        for blob in wanted:
            provider = find(origins.get(blob.digest, place)) or find(place)
            if provider is not None:
                with core.db.lock:
                    core.providers.setdefault(blob.digest, provider)
        fetch(core, [Blob("", AS_CAME, blob, "", "") for blob in wanted], progress=progress)

    # -- keeping house

    def usage(self, keep: Keep | None = None) -> list[UsageRecord]:
        """Every record with its size and state; `keep` are blobs of images with a name."""
        return usage(self._core, keep)

    def census(self, keep: Keep | None = None) -> Census:
        """The whole store with all that it takes on the disk, for `dockc du`."""
        return census(self._core, keep, whole=True, guests=self._core.guests)

    def host(self, guests: Guests) -> None:
        """Count and collect directories beside the store with it, while this process has it open."""
        self._core.guests = guests

    def planned(self, rules: Sequence[Rule] = (Rule(),), keep: Keep | None = None) -> Plan:
        """What `prune` would do now."""
        return planned(self._core, rules, keep)

    def prune(
        self, rules: Sequence[Rule] = (Rule(),), keep: Keep | Keeper | None = None, told: Told | None = None
    ) -> Pruned:
        """Remove what nobody needs, as the rules say; what is held, and what that stands on, stays."""
        return prune(self._core, rules, keep, told)

    def collect(self, rules: Sequence[Rule], keep: Keeper = dict) -> Pruned:
        """Keep the store within its rules; for the end of a build. See `prune.collect`."""
        return collect(self._core, rules, keep)


__all__ = ["ProviderFactory", "Pruned", "RefManager", "RefNotFound", "Rule", "StoreError"]
