"""Refs: holds on file systems. A ref is one holder's; whoever needs it longer takes a `clone()`."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dockc.base.record import Record
from dockc.errors import StoreError
from dockc.runtime.content.errors import telling
from dockc.runtime.refs import database, inventory
from dockc.runtime.refs.blobs import known_blobs, layer_descriptor
from dockc.runtime.refs.core import now
from dockc.runtime.refs.moved import mounted, tree, tree_of
from dockc.runtime.refs.packing import Packing
from dockc.runtime.refs.types import LayerDescriptor, Progress, Remote, RemoteOptions
from dockc.runtime.refs.unpack import ensure_record, inherit_root, settle
from dockc.runtime.snapshot.files import drop_marks

if TYPE_CHECKING:
    from dockc.runtime.refs.core import Core, ProviderFactory

log = logging.getLogger(__name__)


class LayerInfo(Record):
    """What is known about one layer without looking at its content.

    Attributes:
        id: of the record that owns the layer.
        description: of the step that made it.
        created_at: nanoseconds since the epoch.
    """

    id: str
    description: str
    created_at: int


class ImmutableRef:
    """A hold on a committed file system (nothing writes to it ever again)."""

    def __init__(self, core: Core, record_id: str) -> None:
        """Takes over one hold that the caller has made on the record."""
        self._core = core
        self._id = record_id
        self._open = True

    @property
    def id(self) -> str:
        """Stable identity over processes."""
        return self._id

    @property
    def description(self) -> str:
        """What people see in `dockc du`."""
        return self._core.record(self._id).description

    def clone(self) -> ImmutableRef:
        """One more hold on the same file system."""
        self._check()
        self._core.hold(self._id)
        return ImmutableRef(self._core, self._id)

    def release(self) -> None:
        """Give up this hold; the content stays until it is pruned. Once per hold."""
        self._check()
        self._open = False
        self._core.unhold(self._id)

    def drop(self) -> None:
        """Give up this hold on what nothing in the store leads to; with the last hold the content goes."""
        from dockc.runtime.refs.recovery import going_place
        from dockc.runtime.snapshot.removal import remove_tree

        core = self._core
        self._check()
        self._open = False
        with core.db.lock:
            going = core.holds[self._id] == 1 and not core.db.has_children(self._id)
        if not going:
            core.unhold(self._id)
            return
        # Files first, as of what is not finished: on a full disk there is room to write that down only afterwards.
        mark = going_place(core.root, self._id)
        try:
            with suppress(FileNotFoundError):  # it has blobs alone
                core.snapshot_dir(self._id).rename(mark)
                for path in list(mark.iterdir()):
                    core.discard(path)
        finally:
            core.unhold(self._id)
        try:
            if core.remove(self._id) >= 0:
                remove_tree(mark)
        except StoreError as error:
            log.debug("%s stays marked: %s", self._id, error)

    @contextmanager
    def mount(self, *, cancelled: threading.Event | None = None, progress: Progress | None = None) -> Iterator[Path]:
        """A directory with the whole file system, for reading only, fetched and unpacked as needed."""
        self._check()
        with tree(self._core, (self._id,), cancelled=cancelled, progress=progress) as path:
            yield path

    @contextmanager
    def reading(self, *, cancelled: threading.Event | None = None) -> Iterator[Path]:
        """The same for this process alone, which writes nothing and shows it to nobody: a layer that stands alone is read
        where it lies. That is quicker than a mount, and blocks can be shared with what is copied from it.
        """
        self._check()
        core = self._core
        directories = tree_of(core, (self._id,), cancelled=cancelled)
        alone = Path(directories[0]) if len(directories) == 1 else None
        if alone is not None and inventory.is_plain(alone.parent):
            yield alone
        else:
            with tree(core, (self._id,), cancelled=cancelled) as path:
                yield path

    def prefetch(
        self,
        *,
        cancelled: threading.Event | None = None,
        progress: Progress | None = None,
        instead: Sequence[ProviderFactory] = (),
    ) -> None:
        """Fetch and unpack now what `mount` would need; see `ensure_record`."""
        self._check()
        ensure_record(self._core, self._id, cancelled=cancelled, progress=progress, instead=instead)

    def layers(self) -> tuple[LayerDescriptor | None, ...]:
        """Each layer, lowest first; None for one that has not been made a blob yet."""
        self._check()
        blobs = known_blobs(self._core, self._id)
        return tuple(None if blob is None else layer_descriptor(self._core, blob) for blob in blobs)

    def layer_info(self) -> tuple[LayerInfo, ...]:
        """Who made each layer and when, lowest first; as long as `remote().layers`."""
        self._check()
        records = [self._core.record(layer) for layer in self._core.stack(self._id)]
        return tuple(LayerInfo(r.id, r.description, r.created_at) for r in records)

    def remote(self, options: RemoteOptions | None = None, *, cancelled: threading.Event | None = None) -> Remote:
        """The layers as blobs; those not there yet are made now. Base image blobs stay as they came.

        Raises:
            StoreError: a layer that cannot be packed, or the disk is full.
            Cancelled: `cancelled` was set.
        """
        self._check()
        return Packing(self._core, options, cancelled=cancelled).remote(self._id)

    def packed(self) -> Remote | None:
        """The layers as blobs, where each has one already; None where one would have to be made."""
        self._check()
        found = known_blobs(self._core, self._id)
        blobs = [blob for blob in found if blob is not None]
        return Remote(tuple(layer_descriptor(self._core, blob) for blob in blobs)) if len(blobs) == len(found) else None

    def get_meta(self, key: str) -> bytes | None:
        """Metadata kept with the ref."""
        return self._core.db.meta(self._id, key)

    def set_meta(self, key: str, value: bytes | None) -> None:
        """Keep metadata with the ref (None removes it); `RefManager.find` searches by it."""
        self._check()
        self._core.db.set_meta(self._id, key, value)

    def _check(self) -> None:
        if not self._open:
            raise StoreError(f"ref {self._id} has been released")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self.release()

    def __repr__(self) -> str:
        return f"ImmutableRef({self._id}{'' if self._open else ', released'})"


class MutableRef:
    """A hold on a file system that is being written.

    Mutable state: `_mounted` and `_open`, under the core's lock.
    """

    def __init__(self, core: Core, record_id: str, lock: int | None = None) -> None:
        """Takes over one hold on the record, and the lock (a descriptor) of a retained one."""
        self._core = core
        self._id = record_id
        self._lock = lock
        self._mounted = False
        self._open = True

    @property
    def id(self) -> str:
        """Stable identity over processes."""
        return self._id

    @contextmanager
    def mount(
        self, *, to_step: bool = False, cancelled: threading.Event | None = None, progress: Progress | None = None
    ) -> Iterator[Path]:
        """A directory with the whole file system, writable; may be mounted again, one at a time.

        `to_step`: foreign programs write there. On a file system of its own nothing keeps them from making what a layer
        reads as its marks; that is removed afterwards.
        """
        core = self._core
        with core.db.lock:
            self._check()
            if self._mounted:
                raise StoreError(f"ref {self._id} is mounted already")
            self._mounted = True
        try:
            parents = core.db.parents(self._id)
            folder = core.snapshot_dir(self._id)

            def directories() -> Sequence[str]:
                lowers = tree_of(core, parents, cancelled=cancelled, progress=progress)
                self._prepare(lowers)
                return lowers

            def writable(lowers: Sequence[str]) -> AbstractContextManager[Path]:
                return core.snapshotter.writable(lowers, folder / "fs", folder / "work")

            with ExitStack() as stack:
                path = mounted(core, stack, directories, writable)
                yield path
                if to_step and path == folder / "fs":  # nothing is below
                    drop_marks(path)
        finally:
            self._mounted = False

    def commit(self, *, description: str | None = None) -> ImmutableRef:
        """Freeze it; this hold becomes the returned one. It must not be mounted."""
        core = self._core
        self._check()
        if not core.record(self._id).snapshot:
            with self.mount():  # never mounted: an empty change on what is below
                pass
        with core.db.lock:
            self._check()
            if self._mounted:
                raise StoreError(f"ref {self._id} is still mounted")
            inventory.write(core, self._id, core.snapshot_dir(self._id))
            changes: dict[str, object] = {"state": database.COMMITTED, "retain": 0, "size": -1}
            if description is not None:
                changes["description"] = description
            core.db.update(self._id, **changes)
            self._open = False
            self._unlock()
        core.discard(core.snapshot_dir(self._id) / "work")
        return ImmutableRef(core, self._id)

    def release(self) -> None:
        """Give it up: removed, unless it was made with `retain`. After `commit` it does nothing."""
        core = self._core
        with core.db.lock:
            if not self._open:
                return
            self._open = False
            record = core.db.find(self._id)
            going = record is not None and not record.retain and core.holds[self._id] == 1
        try:
            if going:  # before it is written down: on a full disk there is room for that only afterwards
                core.discard(core.snapshot_dir(self._id))
        finally:
            if core.unhold(self._id) and going:
                core.remove(self._id)
            self._unlock()

    def get_meta(self, key: str) -> bytes | None:
        """Metadata kept with the ref."""
        return self._core.db.meta(self._id, key)

    def set_meta(self, key: str, value: bytes | None) -> None:
        """Keep metadata with the ref (None removes it)."""
        self._check()
        self._core.db.set_meta(self._id, key, value)

    def _prepare(self, lowers: Sequence[str]) -> None:
        """Make the change directory, once."""
        core = self._core
        if core.record(self._id).snapshot:
            return
        with telling("beginning a snapshot", core.root), core.workspace("new") as folder:
            (folder / "new" / "fs").mkdir(parents=True)
            (folder / "new" / "work").mkdir()
            inherit_root(folder / "new" / "fs", lowers)
            settle(core, self._id, folder / "new")

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check(self) -> None:
        if not self._open:
            raise StoreError(f"ref {self._id} has been committed or released")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"MutableRef({self._id}{'' if self._open else ', closed'})"


def fresh_record(
    record_id: str,
    *,
    kind: str,
    state: str,
    record_type: str,
    description: str,
    retain: bool = False,
    chain_id: str = "",
    diff_id: str = "",
    created_at: int = 0,
) -> database.Record:
    """A record that has just come to be; its content may be older (`created_at`, nanoseconds since the epoch)."""
    moment = now()
    return database.Record(
        id=record_id,
        kind=kind,
        state=state,
        retain=int(retain),
        snapshot=0,
        diff_id=diff_id,
        chain_id=chain_id,
        size=-1,
        record_type=record_type,
        description=description,
        created_at=created_at or moment,
        last_used_at=moment,
        usage_count=0,
    )
