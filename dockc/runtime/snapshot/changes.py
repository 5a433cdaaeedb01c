"""What a layer changes: read from its change directory, or found by walking two trees.

Both give a list sorted by path (children right after their directory), with the parents of every change and removed
trees
named once. They differ in what counts as a change: a layer says what BuildKit's layers say, so that a directory's time,
or an
extended attribute that layers do not keep, makes no entry of its own; the walk over two trees misses nothing.
"""

# ruff: noqa: PTH115, PTH208 - one string per file, no Path
from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dockc.base.files import open_regular
from dockc.base.record import Record
from dockc.base.words import Words
from dockc.errors import StoreError
from dockc.runtime.fsutil import marks
from dockc.runtime.fsutil.holder import Near

_BLOCK = 1 << 20


class Kind(Words):
    """What happened at a path."""

    SET = "set"
    DELETE = "delete"


class Change(Record):
    """One change.

    Attributes:
        kind: SET: the entry was added, changed, or is the parent of a change; DELETE: it is gone.
        path: relative, without a leading slash.
        source: the entry itself, for SET.
        status: its state, for SET.
    """

    kind: Kind
    path: str
    source: str = ""
    status: os.stat_result | None = None


class _Entry(Record):
    path: str
    source: str
    status: os.stat_result
    changed: bool
    compared: bool = True  # with a whole tree: an unchanged name of a file is then worth a link to its changed one

    @property
    def identity(self) -> tuple[int, int] | None:
        """The file, where it may have other names."""
        if self.status.st_nlink < 2 or stat.S_ISDIR(self.status.st_mode):
            return None
        return self.status.st_dev, self.status.st_ino


class _Below(Words):
    """How a directory of a layer stands to the one below it."""

    NOTHING = "nothing"  # there is none, or no directory
    SHINES = "shines through"
    REPLACED = "replaced"  # the layer's directory, or one above it, is opaque


def layer_changes(layer: Path, lower: Path | None) -> list[Change]:
    """The changes in a change directory.

    What is in the directory without being different (overlayfs copies a file up when it is merely opened for writing,
    and when it gets a further name) is left out. What an opaque directory hides is named, entry by entry.

    Args:
        layer: the change directory.
        lower: the file system it was made on, as a reader sees it; None where that is not known (a difference, to be
            put on
            anything) or there was nothing: all removals count then.
    """
    found: list[_Entry | Change] = []
    with Near(str(layer)) as mine, Near(str(lower)) as others:
        stack = [("", _Below.NOTHING if lower is None else _Below.SHINES)]
        while stack:
            path, relation = stack.pop()
            source = mine.of(path)
            below = others.of(path) if relation is not _Below.NOTHING else ""
            status = _present(source)
            if path:
                was = _lstat_or_none(below) if below else None
                if status is None:
                    if was is not None or lower is None:
                        found.append(Change(Kind.DELETE, path))
                    continue
                changed = was is None or not _same_in_layer(below, was, source, status)
                found.append(_Entry(path, f"{layer}/{path}", status, changed, compared=relation is _Below.REPLACED))
                if not stat.S_ISDIR(status.st_mode):
                    continue
                if was is None or not stat.S_ISDIR(was.st_mode):
                    relation = _Below.NOTHING
                elif marks.is_opaque(source):
                    relation = _Below.REPLACED
            names = set(_list(source))
            if relation is _Below.REPLACED:
                names.update(_list(below))
            stack.extend(
                (f"{path}/{name}" if path else name, relation) for name in sorted(names, key=os.fsencode, reverse=True)
            )
    return _told(found, layer)


def _present(source: str) -> os.stat_result | None:
    """The state of an entry of a change directory; None where it is not there, or says that something is gone."""
    status = _lstat_or_none(source)
    return None if status is None or marks.is_whiteout(source, status) else status


def _told(found: list[_Entry | Change], root: Path) -> list[Change]:
    """What a layer tells: what changed, with its parents, and other names of changed files in directories made anew."""
    out: list[Change] = []
    emitted: set[str] = {""}
    written: set[tuple[int, int]] = set()
    waiting: dict[tuple[int, int], list[_Entry]] = {}
    for item in found:
        if isinstance(item, Change):
            _parents(item.path, root, emitted, out)
            out.append(item)
            continue
        if stat.S_ISSOCK(item.status.st_mode):
            continue
        same = [item]
        if (file := item.identity) is not None and file not in written and item.changed:
            written.add(file)
            same += waiting.pop(file, [])
        elif not item.changed and (file not in written or not item.compared):
            if file is not None and item.compared:
                waiting.setdefault(file, []).append(item)
            continue
        for one in same:
            if one.path not in emitted:
                _parents(one.path, root, emitted, out)
                emitted.add(one.path)
                out.append(Change(Kind.SET, one.path, one.source, one.status))
    return out


def tree_changes(lower: Path | None, upper: Path, *, times: bool = True) -> list[Change]:
    """The changes that lead from one tree to another, by walking both.

    Args:
        lower: the old tree; None is the empty one.
        upper: the new tree.
        times: whether a directory that differs in its time alone counts.
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
        if path and stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            # A node that is no device; only a layer knows it, as a whiteout, and a plain tree has none.
            if in_lower:
                found.append(Change(Kind.DELETE, path))
            continue
        was = _lstat_or_none(below) if in_lower else None
        if path:
            found.append(
                _Entry(path, source, status, was is None or not _same(below, was, source, status, times=times))
            )
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
    linked = {
        item.identity for item in found if isinstance(item, _Entry) and item.changed and item.identity is not None
    }
    out: list[Change] = []
    emitted: set[str] = {""}
    for item in found:
        if isinstance(item, _Entry):
            if item.path in emitted or not (item.changed or item.identity in linked):
                continue
            item = Change(Kind.SET, item.path, item.source, item.status)
        _parents(item.path, root, emitted, out)
        emitted.add(item.path)
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


def _lstat(path: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except OSError as error:
        raise StoreError(f"cannot read {path[:200]!r} of a snapshot: {error.strerror}") from error


def _lstat_or_none(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"cannot read {path[:200]!r} of a snapshot: {error.strerror}") from error


def _list(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path), key=os.fsencode)
    except OSError as error:
        raise StoreError(f"cannot read {path[:200]!r} of a snapshot: {error.strerror}") from error


def _same_in_layer(old: str, was: os.stat_result, new: str, status: os.stat_result) -> bool:
    """Whether a layer has nothing to say of an entry: as BuildKit compares them, but with the data of equal times
    looked at.
    """
    if (was.st_dev, was.st_ino) == (status.st_dev, status.st_ino):
        return True
    if (was.st_mode, was.st_rdev) != (status.st_mode, status.st_rdev):
        return False
    if marks.owner_of(old, was) != marks.owner_of(new, status) or marks.capability(old) != marks.capability(new):
        return False
    if stat.S_ISDIR(status.st_mode):
        return True
    if (was.st_size, was.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
        return False
    return _same_contents(old, new, status)


def _same(old: str, was: os.stat_result, new: str, status: os.stat_result, *, times: bool) -> bool:
    """Whether nothing that a layer can say differs; access and change times do not count."""
    if (was.st_dev, was.st_ino) == (status.st_dev, status.st_ino):
        return True
    if (was.st_mode, was.st_rdev) != (status.st_mode, status.st_rdev):
        return False
    equal = was.st_mtime_ns == status.st_mtime_ns or _truncated(was.st_mtime_ns, status.st_mtime_ns)
    if not equal and (times or not stat.S_ISDIR(status.st_mode)):
        return False
    if marks.owner_of(old, was) != marks.owner_of(new, status):
        return False
    if marks.content_attributes(old) != marks.content_attributes(new):
        return False
    if stat.S_ISDIR(status.st_mode):
        return True
    if was.st_size != status.st_size:
        return False
    return _same_contents(old, new, status)


def _same_contents(old: str, new: str, status: os.stat_result) -> bool:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(old) == os.readlink(new)
    return not stat.S_ISREG(status.st_mode) or _same_data(old, new)


def _truncated(one: int, other: int) -> bool:
    """Layers keep whole seconds: a time with no fraction equals any time of the same second."""
    second = 1_000_000_000
    return one // second == other // second and (one % second == 0 or other % second == 0)


def _same_data(one: str, other: str) -> bool:
    with open_regular(one, follow=False) as first, open_regular(other, follow=False) as second:
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
