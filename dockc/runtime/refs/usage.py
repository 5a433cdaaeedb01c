"""What takes space (`dockc du`): every record with its size and who holds it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dockc.errors import StoreError, UnsafePath
from dockc.oci import digest as digests
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.fsutil.holder import Holder
from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.refs import database
from dockc.runtime.refs.core import now
from dockc.runtime.refs.plan import Census, Guests, Item
from dockc.runtime.refs.policy import Disk
from dockc.runtime.refs.types import RecordType, UsageRecord

if TYPE_CHECKING:
    from dockc.runtime.refs.core import Core
    from dockc.runtime.refs.database import Database, Record

_BLOCK = 512  # what `st_blocks` counts in (stat(2))
Keep = Mapping[str, str]
"""Digests of blobs that must stay, and who wants them, in words."""
Keeper = Callable[[], Keep]
"""Looks which blobs must stay now: images get names while somebody looks at the rest of the store."""


def blocks(status: os.stat_result) -> int:
    """Bytes that a file takes on the disk."""
    return status.st_blocks * _BLOCK


def disk_usage(path: Path) -> int:
    """Bytes that a directory takes on the disk, itself included; a file with several names counts once."""
    return _measure([str(path)])


def _measure(places: Iterable[str], *, skip: frozenset[str] = frozenset(), linked: bool = True) -> int:
    """Bytes of trees on one disk. Without `linked`, files with several names are somebody else's."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for place in places:
        try:
            status = os.lstat(place)
        except OSError:
            continue
        total += blocks(status)
        if stat.S_ISDIR(status.st_mode):
            total += _below(place, status.st_dev, seen, skip=skip, linked=linked)
    return total


def _below(place: str, device: int, seen: set[tuple[int, int]], *, skip: frozenset[str], linked: bool) -> int:
    """What lies in a directory; `seen` are files with several names that count already."""
    total, todo = 0, [""]
    try:
        root = Root(Path(place))
    except FileError:
        return 0
    with root, Holder(root, read=True) as holder:
        while todo:
            folder = todo.pop()
            try:
                entries = list(os.scandir(holder.folder(folder)))
            except (OSError, FileError, UnsafePath):
                continue  # removed meanwhile, or not ours to read; the same below
            before = f"{folder}/" if folder else ""
            for entry in entries:
                path = before + entry.name
                if skip and f"{place}/{path}" in skip:
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    if status.st_dev != device:
                        continue  # what a running build has mounted there
                    todo.append(path)
                elif status.st_nlink > 1:
                    if not linked or (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                total += blocks(status)
    return total


class Seen(Protocol):
    """A store, as far as a census looks at it: an open one (`Core`), or one that is not."""

    @property
    def root(self) -> Path:
        """Its directory."""
        ...

    @property
    def db(self) -> Database:
        """Its table of contents."""
        ...


def kept_now(keep: Keep | Keeper | None) -> Keep:
    """The blobs that must stay, looked up now where they can be."""
    return keep() if callable(keep) else keep or {}


def usage(core: Core, keep: Keep | None = None) -> list[UsageRecord]:
    """Every record, oldest first; see `census`."""
    return census(core, keep, guests=core.guests).records


def census(
    core: Seen,
    keep: Keep | Keeper | None = None,
    *,
    whole: bool = False,
    alive: Collection[str] | None = None,
    note: bool = True,
    guests: Guests | None = None,
) -> Census:
    """What the store holds now; sizes that nobody has measured yet are measured.

    Args:
        core: the store.
        keep: blobs of images with a name; looked up when it is known what builds hold: one that has ended by then has
            named its image.
        whole: with everything that is no record, which takes a walk through it.
        alive: only these leases hold what they hold; None: all.
        note: write down what was measured.
        guests: what is counted with it.
    """
    here = dict(_blobs(_blob_folder(core)))
    records = core.db.records()
    parents: dict[str, list[str]] = {}
    for child, parent in core.db.all_parents():
        parents.setdefault(child, []).append(parent)
    own: dict[str, list[str]] = {}
    with_blobs: set[str] = set()
    users: dict[str, int] = {}
    for digest, record_id in sorted({(b.descriptor.digest, b.record) for b in core.db.blobs()}):
        with_blobs.add(record_id)
        if digest in here:
            own.setdefault(record_id, []).append(digest)
            users[digest] = users.get(digest, 0) + 1
    holds = [(lease, held) for lease, held in core.db.holds() if alive is None or lease in alive]
    holders = _holders(holds, records, parents, own, kept_now(keep))
    sizes = _directories(core, records, {name for name, (used, _, _) in holders.items() if used}, note=note)
    items: dict[str, Item] = {}
    for record in records:
        blobs = own.get(record.id, [])
        used, shared, said = holders.get(record.id, (False, False, ()))
        found = UsageRecord(
            id=record.id,
            record_type=RecordType(record.record_type),
            description=record.description,
            size=sizes[record.id] + sum(here[digest] for digest in blobs if users[digest] == 1),
            created_at=record.created_at,
            last_used_at=record.last_used_at if record.usage_count else None,
            usage_count=record.usage_count,
            in_use=used,
            mutable=record.state == database.MUTABLE,
            shared=shared,
            lazy=record.id in with_blobs and not blobs and not record.snapshot,
            parents=tuple(parents.get(record.id, ())),
            held_by=said,
        )
        items[record.id] = Item(found, sizes[record.id], tuple(blobs))
    rest = _rest(core, set(items)) if whole else 0
    if guests is not None:
        items |= guests.items()
    return Census(
        items=items,
        blobs={digest: here[digest] for digest in users},
        loose=sum(size for digest, size in here.items() if digest not in users),
        rest=rest,
        disk=Disk.of(core.root),
        at=now(),
    )


def measured(core: Core) -> int:
    """Bytes of all records and blobs, as far as they do not change just now."""
    _directories(core, core.db.unmeasured(), set())
    beside = sum(item.directory for item in core.guests.items().values()) if core.guests is not None else 0
    return core.db.total_size() + sum(size for _, size in _blobs(_blob_folder(core))) + beside


def _blob_folder(core: Seen) -> Path:
    return core.root / "content" / "blobs"


def _blobs(folder: Path) -> Iterator[tuple[str, int]]:
    """Every blob that is here, with its bytes on the disk."""
    for algorithm in os.scandir(folder):
        for entry in os.scandir(algorithm.path):
            name = f"{algorithm.name}:{entry.name}"
            try:
                if digests.is_valid(name):
                    yield name, blocks(entry.stat(follow_symlinks=False))
            except OSError:
                continue  # removed meanwhile


def _holders(
    holds: Iterable[tuple[str, str]],
    records: list[Record],
    parents: Mapping[str, list[str]],
    own: Mapping[str, list[str]],
    keep: Keep,
) -> dict[str, tuple[bool, bool, tuple[str, ...]]]:
    """Of each record that somebody holds: whether it is in use, whether it is an image's, and the words."""
    said: dict[str, dict[str, None]] = {}
    used: set[str] = set()
    for lease, record_id in holds:
        used.add(record_id)
        said.setdefault(record_id, {})[f"process {lease.partition('-')[0]}"] = None
    shared: set[str] = set()
    owners: dict[str, list[str]] = {}
    for record_id, blobs in own.items():
        for digest in blobs:
            if digest in keep:
                owners.setdefault(digest, []).append(record_id)
    apart = _apart(parents, own, keep) if owners else set()
    for digest, found in owners.items():
        # Equal layers, empty ones above all, are records on many others. The images' are those that stand on nothing
        # else; and somebody has every blob.
        for record_id in [one for one in found if one not in apart] or found:
            shared.add(record_id)
            said.setdefault(record_id, {})[keep[digest]] = None
    for marked, word in ((used, "a record in use stands on it"), (shared, "an image's record stands on it")):
        todo = list(marked)
        while todo:
            for parent in parents.get(todo.pop(), ()):
                if parent not in marked:
                    marked.add(parent)
                    todo.append(parent)
                    said.setdefault(parent, {})[word] = None
    return {
        record.id: (record.id in used, record.id in shared, tuple(said[record.id]))
        for record in records
        if record.id in said
    }


def _apart(parents: Mapping[str, list[str]], own: Mapping[str, list[str]], keep: Keep) -> set[str]:
    """Records that are, or stand on, a layer that no image with a name has: all of its blobs are others."""
    children: dict[str, list[str]] = {}
    for child, below in parents.items():
        for parent in below:
            children.setdefault(parent, []).append(child)
    found = {record_id for record_id, blobs in own.items() if not any(digest in keep for digest in blobs)}
    todo = list(found)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def _directories(core: Seen, records: list[Record], used: set[str], *, note: bool = True) -> dict[str, int]:
    """Bytes of the directories of records. What does not change any more is measured once."""
    found: dict[str, int] = {}
    learned: list[tuple[str, int, int]] = []
    for record in records:
        if not record.snapshot:
            found[record.id] = 0
        elif record.size >= 0:
            found[record.id] = record.size
        else:
            found[record.id] = disk_usage(core.root / "snapshots" / record.id)
            if record.state == database.COMMITTED or (record.retain and record.id not in used):
                learned.append((record.id, found[record.id], record.usage_count))
    if learned and note:
        with suppress(StoreError):  # a full disk: they are measured again another time
            core.db.measured(learned)
    return found


def _rest(core: Seen, known: set[str]) -> int:
    root = str(core.root)
    squashed = f"{root}/squashed"
    skip = {squashed, *(f"{root}/snapshots/{name}" for name in known)}
    for algorithm in os.scandir(_blob_folder(core)):
        skip |= {
            entry.path for entry in os.scandir(algorithm.path) if digests.is_valid(f"{algorithm.name}:{entry.name}")
        }
    # Combined layers are links to files of records, which count there.
    return _measure([root], skip=frozenset(skip)) + _measure([squashed], linked=False)
