"""The inventory of a layer: what its directory held when it was finished, so that later damage can be told.

It lies beside the directory (`snapshots/<id>/inventory`), gzipped lines of JSON: first what the record is and stands
on, from which a lost database is made again; then the entries, some hundreds a line (in version 1 one), with their
metadata and, for as much as is quickly read, the digest of their content. Larger content is proved by the layer's blob.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import stat
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.base import record as lean
from dockc.base.files import open_regular
from dockc.errors import UnsafePath
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.fsutil.holder import Holder
from dockc.runtime.fsutil.inroot import Root

if TYPE_CHECKING:
    from dockc.runtime.refs.core import Core

NAME = "inventory"
_VERSION = 2
_LINE = 500  # entries
_ENTRIES = 200_000  # a layer of more is listed so far
_FILES, _BYTES = 2_000, 32 << 20  # whose content is read at once
_SAMPLE, _SAMPLE_FILES, _SAMPLE_BYTES = 2_000, 64, 64 << 20
_BLOCK = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PATH = 4096
"""Bytes of a path, with its end, as the kernel takes them (PATH_MAX)."""
_KIND = 0o170000  # of a mode
_Row = tuple[str, int, int, int, int, int, int, str]
"""The fields of an `Item`."""
_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symbolic link", stat.S_IFCHR: "device",
    stat.S_IFBLK: "device", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket",
}  # fmt: skip


class Item(lean.Record):
    """One entry of a layer.

    Attributes:
        path: relative to the layer; "" is its root.
        size: bytes, 0 for what is no file.
        mtime: nanoseconds.
        more: a link's target, a file's content (hex of BLAKE2b), or "".
    """

    path: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    device: int
    more: str


class Inventory(lean.Record):
    """What was written down of a layer.

    Attributes:
        about: the record and what it stands on, see `describe`.
        items: its entries.
        whole: whether that is all of them.
        ids: how owners were mapped then; in another mapping they cannot be compared.
    """

    about: Mapping[str, Any]
    items: tuple[Item, ...]
    whole: bool
    ids: str


def write(core: Core, layer: str, place: Path, proven: str = "") -> None:
    """Make the inventory of a finished layer, of which `place` holds the directory `fs`.

    `proven` is the chain of diff ids that the layer is known to end. An inventory is a help: where it cannot be
    written the layer is none the worse.
    """
    try:
        # Bytes: a builder in a root of its own may not be able to load a codec.
        with gzip.open(place / f".{NAME}", "wb", compresslevel=1) as out:
            rows, whole = _rows(place / "fs")
            head = {
                "version": _VERSION,
                "plain": whole and not any(_may_hide(row) for row in rows),
                "about": {**describe(core, layer), "proven": proven},
                "whole": whole,
                "ids": _mapping(),
            }
            out.write(json.dumps(head).encode() + b"\n")
            for at in range(0, len(rows), _LINE):
                out.write(json.dumps(rows[at : at + _LINE], separators=(",", ":")).encode() + b"\n")
        (place / f".{NAME}").rename(place / NAME)
    except OSError:
        (place / f".{NAME}").unlink(missing_ok=True)


def read(place: Path) -> Inventory | None:
    """What was written down; None where nothing was, or it cannot be read any more."""
    try:
        with open_regular(place / NAME) as packed, gzip.open(packed, "rb") as lines:
            head = json.loads(next(lines))
            if head["version"] not in (1, _VERSION):
                return None
            found = map(json.loads, lines)
            rows = found if head["version"] == 1 else chain.from_iterable(found)
            items = tuple(Item(*row) for row in rows)
        return Inventory(dict(head["about"]), items, bool(head["whole"]), str(head["ids"]))
    except (OSError, ValueError, KeyError, TypeError, StopIteration, EOFError, zlib.error):
        return None


def is_plain(place: Path) -> bool:
    """Whether a layer was finished without anything that hides what is below it, so that its directory alone is what
    programs would see of it; False where that is not known.
    """
    try:
        with open_regular(place / NAME) as packed, gzip.open(packed, "rb") as lines:
            head = json.loads(next(lines))
    except (OSError, ValueError, StopIteration, EOFError, zlib.error):
        return False
    return isinstance(head, dict) and head.get("plain") is True


def _may_hide(row: _Row) -> bool:
    """Whether an entry has the form of a whiteout: a device without a number, or an empty file that nobody may use."""
    mode, size, device = row[1], row[4], row[6]
    return (mode & _KIND == stat.S_IFCHR and device == 0) or (mode == stat.S_IFREG and size == 0)


def describe(core: Core, layer: str) -> dict[str, Any]:
    """The record of a layer, with the records without directories that it stands on (merges and differences)."""
    record = core.record(layer)
    own = {name: getattr(record, name) for name in _RECORD_FIELDS}
    others: dict[str, Any] = {}
    todo = list(core.db.parents(layer))
    while todo:
        current = todo.pop()
        found = core.db.find(current)
        if found is None or found.kind == "layer" or current in others:
            continue
        parents = core.db.parents(current)
        about = {name: getattr(found, name) for name in _RECORD_FIELDS}
        others[current] = {**about, "parents": parents, "blobs": _blobs(core, current)}
        todo.extend(parents)
    return {**own, "parents": core.db.parents(layer), "others": others, "blobs": _blobs(core, layer)}


def _blobs(core: Core, record: str) -> list[list[Any]]:
    return [
        [b.variant, b.descriptor.digest, b.descriptor.media_type, b.descriptor.size, b.diff_id, b.origin]
        for b in core.db.blobs(record)
    ]


def compare(inventory: Inventory, tree: Path, *, full: bool) -> Iterator[tuple[str, str]]:
    """What is different now: `(path, what)` each.

    Args:
        inventory: what was written down.
        tree: the layer's directory.
        full: look at everything; else at a sample, of the content as well.
    """
    items = list(inventory.items)
    if not full and len(items) > _SAMPLE:
        items = random.sample(items, _SAMPLE)
    owners = inventory.ids == _mapping()
    sound: list[Item] = []
    for item in items:
        said = _differs(item, tree, owners=owners)
        if said:
            yield item.path or "/", said
        elif item.more and stat.S_ISREG(item.mode):
            sound.append(item)
    if inventory.whole and (full or len(inventory.items) <= _SAMPLE):
        known = {item.path for item in inventory.items}
        for path, _, _ in _walk(tree):
            if path not in known:
                yield path, "was not there"
    if not full:
        random.shuffle(sound)
        sound = sound[:_SAMPLE_FILES]
    left = _SAMPLE_BYTES
    for item in sound:
        left -= item.size
        if not full and left < 0:
            break
        if content(str(tree / item.path)) != item.more:
            yield item.path, "its content has changed"


def _differs(item: Item, tree: Path, *, owners: bool) -> str:
    path = str(tree / item.path) if item.path else str(tree)
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is gone"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    now = stat.S_IFMT(status.st_mode)
    if now != stat.S_IFMT(item.mode):
        return f"was a {_KINDS.get(stat.S_IFMT(item.mode), 'thing')} and is a {_KINDS.get(now, 'thing')}"
    if status.st_mode != item.mode:
        return f"its mode was {stat.S_IMODE(item.mode):04o} and is {stat.S_IMODE(status.st_mode):04o}"
    if owners and (status.st_uid, status.st_gid) != (item.uid, item.gid):
        return f"its owner was {item.uid}:{item.gid} and is {status.st_uid}:{status.st_gid}"
    if stat.S_ISREG(now) and status.st_size != item.size:
        return f"it had {item.size} bytes and has {status.st_size}"
    if stat.S_ISLNK(now) and _target(path) != item.more:
        return "it leads elsewhere"
    if stat.S_ISCHR(now) or stat.S_ISBLK(now):
        return "" if status.st_rdev == item.device else "it is another device"
    return "" if status.st_mtime_ns == item.mtime else "it was changed"


def _rows(tree: Path) -> tuple[list[_Row], bool]:
    """The entries of a layer, and whether that is all of them."""
    rows: list[_Row] = []
    files, left = _FILES, _BYTES
    regular, link = stat.S_IFREG, stat.S_IFLNK
    for path, status, folder in _walk(tree):
        if len(rows) >= _ENTRIES:
            return rows, False
        mode = status.st_mode
        kind, size, more = mode & _KIND, 0, ""
        if kind == regular:
            size = status.st_size
            files -= 1
            left -= size
            if files >= 0 and left >= 0:
                more = content(path.rpartition("/")[2], folder)
        elif kind == link:
            more = _target(path.rpartition("/")[2], folder)
        rows.append((path, mode, status.st_uid, status.st_gid, size, status.st_mtime_ns, status.st_rdev, more))
    return rows, True


def _walk(tree: Path) -> Iterator[tuple[str, os.stat_result, int]]:
    """Every entry by its path, with its status and the open directory that it is in, the root first; what lies too deep
    for a path, or is gone meanwhile, is left out.
    """
    yield "", tree.lstat(), -1
    room = _PATH - 1 - len(os.fsencode(tree))
    todo = [""]
    with Root(tree) as root, Holder(root, read=True) as holder:
        while todo:
            folder = todo.pop()
            before = f"{folder}/" if folder else ""
            try:
                # By way of the descriptor: the kernel need not walk the whole path to each entry.
                descriptor = holder.folder(folder)
                with os.scandir(descriptor) as entries:
                    for entry in entries:
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except OSError:
                            continue
                        path = before + entry.name
                        if len(path) * 4 >= room and len(os.fsencode(path)) >= room:
                            continue
                        yield path, status, descriptor
                        if status.st_mode & _KIND == stat.S_IFDIR:
                            todo.append(path)
            except (OSError, FileError, UnsafePath):
                continue


def content(path: str, folder: int | None = None) -> str:
    """Digest of a file's bytes; "" where they cannot be read.

    Args:
        path: of the file.
        folder: an open directory that the path begins in.
    """
    hasher = hashlib.blake2b(digest_size=16)
    try:
        descriptor = os.open(path, _READ, dir_fd=folder)
        try:
            while data := os.read(descriptor, _BLOCK):
                hasher.update(data)
        finally:
            os.close(descriptor)
    except OSError:
        return ""
    return hasher.hexdigest()


def _target(path: str, folder: int | None = None) -> str:
    try:
        return os.readlink(path, dir_fd=folder)
    except OSError:
        return ""


def _mapping() -> str:
    """How this process sees owners."""
    try:
        return " ".join(Path("/proc/self/uid_map").read_text().split())
    except OSError:
        return ""


_RECORD_FIELDS = (
    "kind",
    "diff_id",
    "chain_id",
    "record_type",
    "description",
    "created_at",
    "last_used_at",
    "usage_count",
)
