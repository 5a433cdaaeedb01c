"""What refs stand on: records and their layers, holds, providers, directories. Private to `dockc.runtime.refs`."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from dockc.base.record import Mutable, made
from dockc.errors import StoreError
from dockc.runtime.archive.limits import Limits
from dockc.runtime.fsutil import marks
from dockc.runtime.refs import database
from dockc.runtime.refs.chains import Chains
from dockc.runtime.refs.database import Blob, Database, Record
from dockc.runtime.snapshot.removal import remove_tree

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.leases import Lease
    from dockc.runtime.refs.plan import Guests
    from dockc.runtime.refs.types import Offered, Provider
    from dockc.runtime.snapshot.base import Snapshotter
    from dockc.runtime.snapshot.squash import SquashCache
    from dockc.solver.op import Later

log = logging.getLogger(__name__)

ProviderFactory = Callable[[str], "Provider | None"]
"""From `LayerDescriptor.origin` to a provider, for layers that an earlier process knew and never fetched."""


class RefNotFound(StoreError):
    """No ref of that id (any more)."""


def now() -> int:
    """Nanoseconds since the epoch."""
    return time.time_ns()


def new_id() -> str:
    """A fresh id: 25 characters of lower-case base 36, as BuildKit's are."""
    number, out = secrets.randbits(130), ""
    for _ in range(25):
        number, digit = divmod(number, 36)
        out += "0123456789abcdefghijklmnopqrstuvwxyz"[digit]
    return out


class Core(Mutable):
    """Shared state of one process's view of a store.

    Mutable state: `holds`, `providers`, `remembered`, `stacks`, `away`, `called`, `ready` and `trees`, under `db.lock`;
    `rule` and `guests`.

    Attributes:
        holds: how often this process holds each record; the database knows only whether.
        providers: where blobs can be fetched from, by digest, as builds of this process have said.
        remembered: where else, as the database remembers; found when it is asked for.
        laters: what shows the blobs' way here as the work of the step that named them, by digest; kept by that step.
        stacks: layers of committed records, which never change.
        away: for those that have any, the positions in the stack of layers that stand elsewhere than where they were
            made, each with the combination that has put it there and its position in that one.
        called: for those that have any, the blobs by which an image calls layers that came as others, by the position
            in the stack.
        ready: layers whose directories this process has seen to be finished.
        trees: the directories of records without layers that stand elsewhere, as this process has seen them last.
        on_removed: told the id of every record that is removed, before it is, and `rule`.
        rule: by which rule records are removed at the moment, in words; for explanations.
        mounts_offered: who may have the files of a cache mount that is to be made (`Offered`).
        guests: what is counted and collected with the store.
    """

    root: Path
    content: ContentStore
    db: Database
    lease: Lease
    snapshotter: Snapshotter
    squashed: SquashCache
    opaque: str
    limits: Limits = made(Limits)
    provider_factory: ProviderFactory | None = None
    on_removed: Callable[[str, str], None] | None = None
    holds: dict[str, int] = made(dict)
    providers: dict[str, Provider] = made(dict)
    remembered: dict[str, Provider] = made(dict)
    laters: WeakValueDictionary[str, Later] = made(WeakValueDictionary)
    stacks: Chains = made(Chains)
    away: dict[str, dict[int, tuple[str, int]]] = made(dict)
    called: dict[str, dict[int, Blob]] = made(dict)
    ready: set[str] = made(set)
    trees: Chains = made(Chains)
    rule: str = ""
    mounts_offered: list[Offered] = made(list)
    guests: Guests | None = None

    # -- places

    def snapshot_dir(self, record_id: str) -> Path:
        """Where a record's change directory (`fs`) and working directory (`work`) are."""
        return self.root / "snapshots" / record_id

    def changes_dir(self, record_id: str) -> Path:
        """A record's change directory."""
        return self.snapshot_dir(record_id) / "fs"

    def lock_path(self, kind: str, record_id: str) -> Path:
        """A lock file: `unpack`, `moved`, `cache` or `mutable`."""
        return self.root / "locks" / f"{kind}-{record_id}"

    # -- records

    def record(self, record_id: str) -> Record:
        """The record; raises RefNotFound."""
        found = self.db.find(record_id)
        if found is None:
            raise RefNotFound(f"ref {record_id} is not in the store")
        return found

    def hold(self, record_id: str) -> None:
        """One more hold of this process on a record, which keeps it and all it stands on."""
        with self.db.lock:
            count = self.holds.get(record_id, 0)
            if count == 0:
                self.db.hold(self.lease.id, record_id)
            self.holds[record_id] = count + 1

    def unhold(self, record_id: str) -> bool:
        """One hold less; returns whether it was this process's last.

        A disk too full to write that down is no error: the hold goes with the process's lease.
        """
        with self.db.lock:
            count = self.holds[record_id] - 1
            if count:
                self.holds[record_id] = count
                return False
            del self.holds[record_id]
            try:
                self.db.unhold(self.lease.id, now(), record_id)
            except StoreError as error:
                log.debug("letting go of %s: %s", record_id, error)
            return True

    def acquire(self, record_id: str) -> Record:
        """Hold a committed record; raises RefNotFound."""
        with self.db.transaction():
            found = self.db.find(record_id)
            if found is None or found.state != database.COMMITTED:
                raise RefNotFound(f"ref {record_id} is not in the store")
            self.hold(record_id)
            return found

    def stack(self, record_id: str) -> tuple[str, ...]:
        """Ids of the layers of a record, lowest first (its own included, for a layer).

        Kept for the record itself and for what branches below it, not for each layer of a long chain.
        """
        with self.db.lock:
            todo = [record_id]
            while todo:
                current = todo[-1]
                if current in self.stacks:
                    todo.pop()
                    continue
                above, record, parents = self._chain(current)
                missing = [parent for parent in parents if parent not in self.stacks]
                if missing:
                    todo.extend(missing)
                    continue
                below = self._combine(record, [self.stacks[p] for p in parents])
                self.stacks[current] = (*below, *reversed(above))
                if away := self._away(record, parents):
                    self.away[current] = away
                if called := self._called(record, parents):
                    self.called[current] = called
                todo.pop()
            found = self.stacks[record_id]
            for forgotten in self.stacks.trim():
                self.away.pop(forgotten, None)
                self.called.pop(forgotten, None)
            return found

    def _chain(self, record_id: str) -> tuple[list[str], Record, tuple[str, ...]]:
        """Layers that stand one on the other from a record down, then the record below them with its parents."""
        above: list[str] = []
        while True:
            record, parents = self.record(record_id), self.db.parents(record_id)
            if record.kind != database.LAYER or len(parents) != 1 or parents[0] in self.stacks:
                return above, record, parents
            above.append(record_id)
            (record_id,) = parents

    @staticmethod
    def _combine(record: Record, parents: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        if record.kind == database.DIFF:
            lower, upper = parents
            return upper[len(lower) :]
        below = tuple(chain.from_iterable(parents))
        return (*below, record.id) if record.kind == database.LAYER else below

    def moved(self, record_id: str) -> Mapping[int, tuple[str, int]]:
        """Which positions of `stack` hold a layer that was not made on the layers below it there; see `away`."""
        with self.db.lock:
            self.stack(record_id)
            return self.away.get(record_id, {})

    def _away(self, record: Record, parents: Sequence[str]) -> dict[int, tuple[str, int]]:
        if record.kind == database.DIFF:
            lower, upper = (len(self.stacks[parent]) for parent in parents)
            return {index: (record.id, index) for index in range(upper - lower)}
        found = dict(self.away.get(parents[0], {})) if parents else {}
        at = len(self.stacks[parents[0]]) if parents else 0
        for parent in parents[1:]:
            for index, layer in enumerate(self.stacks[parent], at):
                if self.db.parents(layer):  # what was made on nothing sets all that it holds, wherever it stands
                    found[index] = record.id, index
            at += len(self.stacks[parent])
        return found

    def names(self, record_id: str) -> Mapping[int, Blob]:
        """The blobs by which an image calls layers of a record that came as others; see `called`."""
        with self.db.lock:
            self.stack(record_id)
            return self.called.get(record_id, {})

    def _called(self, record: Record, parents: Sequence[str]) -> dict[int, Blob]:
        if record.kind == database.DIFF:
            lower, upper = parents
            below = len(self.stacks[lower])
            return {at - below: blob for at, blob in self.called.get(upper, {}).items() if at >= below}
        found: dict[int, Blob] = {}
        height = 0
        for parent in parents:
            found |= {height + at: blob for at, blob in self.called.get(parent, {}).items()}
            height += len(self.stacks[parent])
        if self.is_image(record, parents):
            found |= {int(b.variant.removeprefix(database.NAMED)): b for b in self.db.blobs(record.id)}
        return found

    @staticmethod
    def is_image(record: Record, parents: Sequence[str]) -> bool:
        """Whether a record is but the names that an image has for the layers of another."""
        return record.kind == database.MERGE and len(parents) == 1

    def proven(self, record_id: str) -> bytes | None:
        """The chain of diff ids that the directories of an image's layers are known to be."""
        found = self.db.meta(record_id, database.PROVEN)
        if found is None:
            parents = self.db.parents(record_id)
            if self.is_image(self.record(record_id), parents):
                return self.proven(parents[0])
        return found

    def below(self, layer_id: str) -> tuple[str, ...]:
        """The layers on which a layer was made."""
        return tuple(layer for parent in self.db.parents(layer_id) for layer in self.stack(parent))

    def directories(self, layers: Sequence[str], instead: Mapping[int, str] | None = None) -> list[str]:
        """Change directories of layers, lowest first. What an opaque root hides is left out.

        Args:
            layers: lowest first.
            instead: other directories for some positions (see `refs.moved`).

        Raises:
            StoreError: a directory is missing (the store was damaged from outside).
        """
        top = str(self.root / "snapshots")
        instead = instead or {}
        found: list[str] = []
        for index in reversed(range(len(layers))):
            if index in instead:
                found.append(instead[index])
                continue
            path = f"{top}/{layers[index]}/fs"
            if not os.path.isdir(path):  # noqa: PTH112 - thousands of layers
                raise StoreError(
                    f"the directory of layer {layers[index]} is missing from the store",
                    hint="`dockc doctor --fix` forgets what cannot be used any more.",
                )
            found.append(path)
            if marks.is_opaque(path):
                break
        found.reverse()
        return found

    def has_directory(self, layer: str) -> bool:
        """Whether a layer's change directory is there and finished."""
        if not os.path.isdir(f"{self.root}/snapshots/{layer}/fs"):  # noqa: PTH112 - thousands of layers
            return False
        if layer not in self.ready:
            with self.db.lock:
                if not self.record(layer).snapshot:
                    return False
                self.ready.add(layer)
        return True

    # -- blobs

    def provider(self, blob: Blob) -> Provider | None:
        """Where the blob can be fetched from, or None."""
        with self.db.lock:
            digest = blob.descriptor.digest
            known = self.providers.get(digest) or self.remembered.get(digest)
            if known is None and blob.origin and self.provider_factory is not None:
                known = self.provider_factory(blob.origin)
                if known is not None:
                    self.remembered[digest] = known
            return known

    def is_available(self, record: Record) -> bool:
        """Whether all content of a record is here or can be fetched."""
        if record.kind == database.LAYER and self.has_directory(record.id):
            return True  # its directory was made on top of those below
        for layer in self.stack(record.id):
            if self.db.find(layer) is None:
                return False
            if self.has_directory(layer):
                continue
            if not any(self.content.has(b.descriptor.digest) or self.provider(b) for b in self.db.blobs(layer)):
                return False
        return True

    # -- removal

    def remove(self, record_id: str) -> int:
        """Remove a record on which nothing stands and which nobody holds; returns bytes freed, -1 if kept."""
        with self.db.transaction():
            found = self.db.find(record_id)
            if found is None or self.db.has_children(record_id) or self.db.is_held(record_id):
                return -1
            blobs = self.db.blobs(record_id)
            # First of all, so that a kill never leaves a key that leads to what is gone.
            if self.on_removed is not None:
                self.on_removed(record_id, self.rule)
            self.db.delete(record_id)
            self.stacks.drop(record_id)
            self.trees.drop(record_id)
            self.away.pop(record_id, None)
            self.called.pop(record_id, None)
            self.ready.discard(record_id)
        # The record goes first: killed in between, we leave blobs that nobody names, never names without blobs.
        freed = max(found.size, 0)
        with self.db.transaction():
            for digest in {blob.descriptor.digest for blob in blobs}:
                if not self.db.blob_users(digest):
                    freed += self.content.remove(digest)
                    self.providers.pop(digest, None)
                    self.remembered.pop(digest, None)
        self.discard(self.snapshot_dir(record_id))
        for kind in ("unpack", "moved", "cache", "mutable"):
            self.lock_path(kind, record_id).unlink(missing_ok=True)
        return freed

    def discard(self, path: Path) -> None:
        """Remove a directory: first out of the way at once, then for good."""
        trash = f"{self.lease.staging}/trash-{secrets.token_hex(6)}"
        try:
            os.rename(path, trash)  # noqa: PTH104 - no name for Python's table of names, step after step
        except FileNotFoundError:
            return
        remove_tree(trash)

    @contextmanager
    def workspace(self, what: str) -> Iterator[Path]:
        """A directory of this process, removed at the end; a killed process's goes with the next cleaning."""
        path = self.lease.staging / f"{what}-{secrets.token_hex(6)}"
        path.mkdir()
        try:
            yield path
        finally:
            remove_tree(path)
