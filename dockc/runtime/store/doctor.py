"""Verifying a store, and repairing it: `dockc doctor`.

A killed build leaves nothing to repair (opening the store cleans up). What is looked for here is damage from
outside: bits that have changed, files that were removed by hand, a file system that lost data. What keeps a store from
being opened at all is `salvage`'s matter, which comes first.
"""

from __future__ import annotations

import enum
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from dockc.base import record as lean
from dockc.errors import StoreError, UnsafePath
from dockc.runtime.archive.compress import Decompressor
from dockc.runtime.archive.tarheader import REGULAR, TarReader
from dockc.runtime.refs import database, inventory, moved
from dockc.runtime.refs.recovery import going_place
from dockc.runtime.snapshot.removal import remove_tree
from dockc.runtime.snapshot.rooted import clean_name
from dockc.runtime.source.registry import LocalNames

if TYPE_CHECKING:
    from pathlib import Path

    from dockc.runtime.refs.core import Core
    from dockc.runtime.refs.database import Record
    from dockc.runtime.refs.manager import RefManager
    from dockc.solver.cache.storage.base import CacheKeyStorage


_SHOWN = 3


class Problem(enum.StrEnum):
    """What can be wrong."""

    DATABASE = "database"
    BLOB_DAMAGED = "damaged blob"
    BLOB_MISSING = "missing blob"
    DIRECTORY_MISSING = "missing directory"
    PARENT_MISSING = "missing parent"
    DIRECTORY_UNKNOWN = "unknown directory"
    LAYER_CHANGED = "changed layer"
    STORE_OPEN = "open store"
    NAME_DAMAGED = "damaged name"
    IMAGE_MISSING = "missing image"
    RESULT_MISSING = "missing result"


class Finding(lean.Record):
    """One thing that is wrong.

    Attributes:
        problem: its kind.
        subject: the digest, ref or directory.
        message: one sentence for people.
        fixed: it has been put right.
    """

    problem: Problem
    subject: str
    message: str
    fixed: bool = False


class Report(lean.Record):
    """What was looked at and what was found."""

    blobs: int
    records: int
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong (any more)."""
        return all(finding.fixed for finding in self.findings)


def examine(
    refs: RefManager,
    *,
    keys: CacheKeyStorage | None = None,
    fix: bool = False,
    full: bool = False,
    before: Iterable[Finding] = (),
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Check every blob's digest, every record's directory, content and parents, and the solver's results.

    Args:
        refs: the store.
        keys: the solver's key graph, if it is to be checked too.
        fix: forget what cannot be used any more. Nothing that a living build holds is touched.
        full: look at all content of all layers, not at a sample.
        before: what was found, and put right, before the store was opened.
        progress: told what is being looked at.

    Raises:
        StoreError: the database is damaged beyond reading.
    """
    doctor = _Doctor(refs.core, fix, progress or (lambda _: None))
    doctor.findings += before
    doctor.findings += [
        Finding(Problem.STORE_OPEN, str(refs.root), line, "closed" in line) for line in refs.opened_to_others
    ]
    doctor.database()
    blobs = doctor.blobs()
    doctor.names()
    records = doctor.records()
    doctor.layers(full=full)
    doctor.directories()
    if keys is not None:
        doctor.results(keys, refs.exists)
    return Report(blobs, records, tuple(doctor.findings))


class _Doctor:
    def __init__(self, core: Core, fix: bool, progress: Callable[[str], None]) -> None:
        self._core = core
        self._fix = fix
        self._progress = progress
        self.findings: list[Finding] = []

    def _found(self, problem: Problem, subject: str, message: str, repair: Callable[[], bool] | None = None) -> None:
        fixed = self._fix and repair is not None and repair()
        self.findings.append(Finding(problem, subject, message, fixed))

    def database(self) -> None:
        self._progress("database")
        for line in self._core.db.check():
            self._found(Problem.DATABASE, "store.db", f"the database is damaged: {line}")

    def blobs(self) -> int:
        count = 0
        for digest in sorted(self._core.content.digests()):
            self._progress(digest)
            count += 1
            try:
                self._core.content.verify(digest)
            except (StoreError, OSError) as error:
                self._found(
                    Problem.BLOB_DAMAGED,
                    digest,
                    f"the bytes are not what the digest says ({error.message if isinstance(error, StoreError) else error.strerror})",
                    partial(self._drop_blob, digest),
                )
        self._missing_blobs()
        return count

    def _drop_blob(self, digest: str) -> bool:
        with self._core.db.transaction():
            self._core.content.remove(digest)
            self._core.db.drop_blobs(digest)
        return True

    def names(self) -> None:
        """Names of images: that each can be read, and that what it names is here."""
        names = LocalNames(self._core.content)
        for file in names.damaged():
            message = "nobody can tell which image had this name"
            self._found(Problem.NAME_DAMAGED, file.name, message, partial(_unlink, file))
        gone = [(ref, target) for ref, target in names.built() if not self._core.content.has(target.digest)]
        still = list(names.built()) if gone else []
        for ref, target in gone:
            if (ref, target) in still:  # nobody has given the name to another image, or taken it away, meanwhile
                self._found(
                    Problem.IMAGE_MISSING,
                    ref.familiar(),
                    f"its document {target.digest} is gone: build or pull it again",
                    partial(names.remove, ref),
                )

    def _missing_blobs(self) -> None:
        """Blobs made here can be made again: their absence is no loss, only a wrong entry."""
        for blob in self._core.db.blobs():
            digest = blob.descriptor.digest
            if not blob.came and not self._core.content.has(digest):
                self._found(
                    Problem.BLOB_MISSING,
                    digest,
                    f"the blob of layer {blob.record} is gone",
                    partial(self._drop_blob, digest),
                )

    def records(self) -> int:
        self._progress("records")
        records = {record.id: record for record in self._core.db.records()}
        for record in records.values():
            lost = [parent for parent in self._core.db.parents(record.id) if parent not in records]
            if lost:
                self._found(
                    Problem.PARENT_MISSING,
                    record.id,
                    f"it stands on {lost[0]}, which is gone",
                    partial(self._remove_with_children, [record.id]),
                )
            elif (
                record.snapshot
                and not self._core.changes_dir(record.id).is_dir()
                and not os.path.lexists(going_place(self._core.root, record.id))
            ):
                self._found(
                    Problem.DIRECTORY_MISSING,
                    record.id,
                    "its directory is gone",
                    partial(self._repair_directory, record),
                )
        return len(records)

    def _repair_directory(self, record: Record) -> bool:
        core = self._core
        blobs = core.db.blobs(record.id)
        if any(core.content.has(blob.descriptor.digest) or blob.origin for blob in blobs):
            core.db.update(record.id, snapshot=0, size=-1)  # it is unpacked again when needed
            return True
        return self._remove_with_children([record.id])

    def _remove_with_children(self, roots: Iterable[str]) -> bool:
        """Remove records and all that stands on them; False when a living build holds one of them."""
        core = self._core
        children: dict[str, list[str]] = {}
        for child, parent in core.db.all_parents():
            children.setdefault(parent, []).append(child)
        order: list[str] = []
        todo = list(roots)
        while todo:
            current = todo.pop()
            if current in order:
                order.remove(current)
            order.append(current)
            todo.extend(children.get(current, ()))
        if any(core.db.is_held(record) for record in order):
            return False
        # Outermost first: each goes when nothing stands on it any more. Those removed before answer -1 too.
        for record in reversed(order):
            core.remove(record)
        return not any(core.db.find(record) for record in order)

    def layers(self, *, full: bool) -> None:
        """Compare layers with their inventories, and larger content with their blobs."""
        self._progress("layers")
        core = self._core
        for record in core.db.records():
            if not record.snapshot or record.state != database.COMMITTED or record.kind != database.LAYER:
                continue
            place = core.snapshot_dir(record.id)
            if not (place / "fs").is_dir():
                continue
            self._progress(record.id)
            listed = inventory.read(place)
            if listed is not None and self._stands_elsewhere(record, listed):
                continue
            different = list(islice(inventory.compare(listed, place / "fs", full=full), _SHOWN + 1)) if listed else []
            if (
                full
                and not different
                and (listed is None or not listed.whole or any(i.size and not i.more for i in listed.items))
            ):
                different = list(islice(self._against_blob(record, place / "fs"), _SHOWN + 1))
            if different:
                shown = "; ".join(f"{path}: {what}" for path, what in different[:_SHOWN])
                more = " and more" if len(different) > _SHOWN else ""
                self._found(Problem.LAYER_CHANGED, record.id, f"{shown}{more}", partial(self._renew, record))

    def _stands_elsewhere(self, record: Record, listed: inventory.Inventory) -> bool:
        """Whether the database has a layer stand on other layers than it was made on."""
        told, parents = listed.about.get("parents"), self._core.db.parents(record.id)
        if not isinstance(told, list | tuple) or tuple(map(str, told)) == parents:
            return False
        message = f"it was made on {', '.join(map(str, told)) or 'nothing'}, and the database says on {', '.join(parents) or 'nothing'}"
        self._found(Problem.PARENT_MISSING, record.id, message, partial(self._remove_with_children, [record.id]))
        return True

    def _against_blob(self, record: Record, tree: Path) -> Iterator[tuple[str, str]]:
        """What differs from the layer's blob, where that is here: the content of regular files."""
        blob = next((b for b in self._core.db.blobs(record.id) if self._core.content.has(b.descriptor.digest)), None)
        if blob is None:
            return
        wanted: dict[str, tuple[int, str]] = {}
        try:
            with self._core.content.open(blob.descriptor.digest) as stream:
                reader = TarReader(Decompressor(stream))
                for member in reader:
                    path = clean_name(member.name)
                    if member.kind != REGULAR or member.sparse is not None or not path:
                        wanted.pop(path, None)
                        continue
                    hasher = hashlib.blake2b(digest_size=16)
                    while data := reader.read(1 << 20):
                        hasher.update(data)
                    wanted[path] = member.size, hasher.hexdigest()
        except (StoreError, UnsafePath):
            return  # the blob's own check has told
        for path, (size, digest) in wanted.items():
            if path.rpartition("/")[2].startswith(".wh.") or any(
                p.is_symlink() for p in (tree / path).parents if p != tree
            ):
                continue
            file = tree / path
            if file.is_symlink() or not file.is_file():
                continue  # a later member, or a whiteout, may have taken its place
            if file.stat().st_size != size or inventory.content(str(file)) != digest:
                yield path, "its content is not that of the layer's blob"

    def _renew(self, record: Record) -> bool:
        """Throw a changed directory away: it is unpacked again from its blob, or the step runs again."""
        core = self._core
        with core.db.transaction():
            if core.db.is_held(record.id):
                return False
            can = any(core.content.has(b.descriptor.digest) or b.origin for b in core.db.blobs(record.id))
            if can:
                core.db.update(record.id, snapshot=0, size=-1)
                core.db.set_meta(record.id, database.PROVEN, None)
                core.ready.discard(record.id)
                core.trees.clear()
        if not can:
            return self._remove_with_children([record.id])
        core.discard(core.snapshot_dir(record.id))
        core.squashed.clean(everything=True)
        moved.forget(core)
        return True

    def directories(self) -> None:
        self._progress("directories")
        core = self._core
        with core.db.transaction():
            known = {record.id for record in core.db.records()}
            places = list((core.root / "snapshots").iterdir())
            marks = {going_place(core.root, name).name for name in known}  # `recover` finishes these
            strangers = [path for path in places if path.name not in known and path.name not in marks]
        for path in strangers:
            message = "no record owns this directory"
            self._found(Problem.DIRECTORY_UNKNOWN, path.name, message, partial(self._discard, path))
        if self._fix:
            core.squashed.clean()

    def _discard(self, path: Path) -> bool:
        self._core.discard(path)
        return True

    def results(self, keys: CacheKeyStorage, exists: Callable[[str], bool]) -> None:
        self._progress("cache")
        for result in keys.result_ids():
            if exists(result):
                continue
            if self._core.db.find(result) is not None:
                continue  # an image that was never fetched: known again when its source is
            message = "the cache names a result that is gone"
            self._found(Problem.RESULT_MISSING, result, message, partial(_release, keys, result))


def _unlink(file: Path) -> bool:
    remove_tree(file)
    return True


def _release(keys: CacheKeyStorage, result: str) -> bool:
    keys.release(result)
    return True
