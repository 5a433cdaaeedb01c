"""What a layer changes: read from its change directory, or found by walking two trees.

Both give the same list: sorted by path (children right after their directory), parents of every change included,
removed trees named once.
"""

# ruff: noqa: PTH115, PTH208 - one string per file, no Path
from __future__ import annotations

import enum
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dockc.errors import StoreError
from dockc.runtime.snapshot import marks

_BLOCK = 1 << 20


class Kind(enum.Enum):
    """What happened at a path."""

    SET = "set"
    DELETE = "delete"
    OPAQUE = "opaque"


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes:
        kind: SET: the entry was added, changed, or is the parent of a change; DELETE: it is gone; OPAQUE: all
            that was below the directory is gone (its SET comes before, its new children after).
        path: relative, without a leading slash.
        source: the entry itself, for SET.
        status: its state, for SET.
    """

    kind: Kind
    path: str
    source: str = ""
    status: os.stat_result | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    source: str
    status: os.stat_result
    changed: bool


def layer_changes(layer: Path, lower: Path | None) -> list[Change]:
    """The changes in a change directory.

    Args:
        layer: the change directory.
        lower: the file system it was made on, as a reader sees it. With it, what is in the directory without
            being different (overlayfs copies a file up when it is merely opened for writing) is left out.
            None: there was nothing below, or all entries count.
    """
    found: list[_Entry | Change] = []
    stack: list[tuple[str, bool]] = [("", False)]  # path, hidden: nothing of the lower shines through
    while stack:
        path, hidden = stack.pop()
        source = f"{layer}/{path}" if path else str(layer)
        below = f"{lower}/{path}" if lower is not None and not hidden else None
        if path:
            status = _lstat(source)
            was = _below(below)
            if marks.is_whiteout(source, status):
                if lower is None or was is not None:
                    found.append(Change(Kind.DELETE, path))
                continue
            found.append(_Entry(path, source, status, was is None or not _same(below or "", was, source, status)))
            if not stat.S_ISDIR(status.st_mode):
                continue
            if marks.is_opaque(source):
                hidden = True
                if lower is None or (was is not None and stat.S_ISDIR(was.st_mode)):
                    found.append(Change(Kind.OPAQUE, path))
            hidden = hidden or was is None or not stat.S_ISDIR(was.st_mode)
        names = _list(source)
        stack.extend((f"{path}/{name}" if path else name, hidden) for name in reversed(names))
    return _complete(found, layer)


def tree_changes(lower: Path | None, upper: Path) -> list[Change]:
    """The changes that lead from one tree to another, by walking both.

    Args:
        lower: the old tree; None is the empty one.
        upper: the new tree.
    """
    found: list[_Entry | Change] = []
    # Each item: path, and whether it exists in lower and upper.
    stack: list[tuple[str, bool, bool]] = [("", lower is not None, True)]
    while stack:
        path, in_lower, in_upper = stack.pop()
        if not in_upper:
            found.append(Change(Kind.DELETE, path))
            continue
        source = f"{upper}/{path}" if path else str(upper)
        below = f"{lower}/{path}" if path else str(lower)
        status = _lstat(source)
        was = _below(below) if in_lower else None
        if path:
            found.append(_Entry(path, source, status, was is None or not _same(below, was, source, status)))
        if not stat.S_ISDIR(status.st_mode):
            continue
        new = set(_list(source))
        old = set(_list(below)) if was is not None and stat.S_ISDIR(was.st_mode) else set()
        prefix = f"{path}/" if path else ""
        names = sorted(new | old, key=os.fsencode, reverse=True)
        stack.extend((prefix + name, name in old, name in new) for name in names)
    return _complete(found, upper)


def _complete(found: list[_Entry | Change], root: Path) -> list[Change]:
    """Keep what changed, with its parents, and the unchanged names of files that got a further name."""
    linked: set[tuple[int, int]] = {
        (item.status.st_dev, item.status.st_ino)
        for item in found
        if isinstance(item, _Entry) and item.changed and _has_links(item.status)
    }
    out: list[Change] = []
    emitted: set[str] = {""}
    for item in found:
        if isinstance(item, _Entry):
            if item.path in emitted:
                continue
            keep = item.changed or (_has_links(item.status) and (item.status.st_dev, item.status.st_ino) in linked)
            if not keep:
                continue
        _parents(item.path, root, emitted, out)
        emitted.add(item.path)
        if isinstance(item, _Entry):
            out.append(Change(Kind.SET, item.path, item.source, item.status))
        else:
            if item.kind is Kind.OPAQUE and (not out or out[-1].path != item.path):
                source = f"{root}/{item.path}"
                out.append(Change(Kind.SET, item.path, source, _lstat(source)))
            out.append(item)
    return out


def _parents(path: str, root: Path, emitted: set[str], out: list[Change]) -> None:
    missing: list[str] = []
    parent = path.rpartition("/")[0]
    while parent not in emitted:
        missing.append(parent)
        parent = parent.rpartition("/")[0]
    for folder in reversed(missing):
        source = f"{root}/{folder}"
        out.append(Change(Kind.SET, folder, source, _lstat(source)))
        emitted.add(folder)


def _has_links(status: os.stat_result) -> bool:
    return status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)


def _lstat(path: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except OSError as error:
        raise StoreError(f"cannot read {path[:200]!r} of a snapshot: {error.strerror}") from error


def _below(path: str | None) -> os.stat_result | None:
    if path is None:
        return None
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _list(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path), key=os.fsencode)
    except OSError as error:
        raise StoreError(f"cannot read {path[:200]!r} of a snapshot: {error.strerror}") from error


def _same(old: str, was: os.stat_result, new: str, status: os.stat_result) -> bool:
    """Whether nothing that a layer can say differs; access and change times do not count."""
    if (was.st_dev, was.st_ino) == (status.st_dev, status.st_ino):
        return True
    if (was.st_mode, was.st_rdev) != (status.st_mode, status.st_rdev):
        return False
    if was.st_mtime_ns != status.st_mtime_ns and not _truncated(was.st_mtime_ns, status.st_mtime_ns):
        return False
    if marks.owner_of(old, was) != marks.owner_of(new, status):
        return False
    if marks.content_attributes(old) != marks.content_attributes(new):
        return False
    if stat.S_ISDIR(status.st_mode):
        return True
    if was.st_size != status.st_size:
        return False
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(old) == os.readlink(new)
    return not stat.S_ISREG(status.st_mode) or _same_data(old, new)


def _truncated(one: int, other: int) -> bool:
    """Layers keep whole seconds: a time with no fraction equals any time of the same second."""
    second = 1_000_000_000
    return one // second == other // second and (one % second == 0 or other % second == 0)


def _same_data(one: str, other: str) -> bool:
    with open(one, "rb", buffering=0) as first, open(other, "rb", buffering=0) as second:  # noqa: PTH123
        while True:
            left, right = first.read(_BLOCK), second.read(_BLOCK)
            if left != right:
                return False
            if not left:
                return True


def iterate_files(changes: list[Change]) -> Iterator[tuple[str, os.stat_result]]:
    """Path and state of everything that a list of changes sets."""
    for change in changes:
        if change.kind is Kind.SET and change.status is not None:
            yield change.path, change.status
