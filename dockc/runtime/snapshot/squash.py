"""Several change directories as one, and whole stacks as plain trees.

Files are hard links to those of the layers where the result is only read, copies where it is written. Results
that are only read are kept and shared: each has a lock file whose shared lock says "in use".
"""

# ruff: noqa: PTH208 - one string per file, no Path
from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dockc.base.memo import remembered
from dockc.runtime.content.locks import is_at, lock_file, try_lock
from dockc.runtime.fsutil import marks
from dockc.runtime.snapshot.files import copy_attributes, copy_file
from dockc.runtime.snapshot.removal import remove_tree


def apply_changes(layer: Path | str, target: Path, *, link: bool, opaque: str | None = None) -> None:
    """Apply a change directory on top of what is in `target`.

    Args:
        layer: the change directory.
        target: a plain tree, or (with `opaque`) a change directory.
        link: make hard links (`target` is never written to afterwards) instead of copies.
        opaque: `target` is a change directory too, and marks opaque directories by this attribute: whiteouts
            stay. None: `target` is a plain tree.
    """
    names: dict[tuple[int, int], str] = {}
    times: list[tuple[str, os.stat_result]] = []
    stack = [("", os.lstat(layer))]
    while stack:
        path, status = stack.pop()
        source, place = (f"{layer}/{path}", f"{target}/{path}") if path else (str(layer), str(target))
        was = _lstat(place)
        if marks.is_whiteout(source, status):
            if was is not None:
                _remove(place, was)
            if opaque is not None:
                folder, _, name = place.rpartition("/")
                _whiteout(folder, name)
            continue
        if not stat.S_ISDIR(status.st_mode):
            if was is not None:
                _remove(place, was)
            _place_file(source, status, place, names, link=link)
            continue
        _place_directory(source, place, was, opaque)
        times.append((place, status))
        inner = [f"{path}/{name}" if path else name for name in os.listdir(source)]
        stack.extend((name, os.lstat(f"{layer}/{name}")) for name in inner)
    for place, status in reversed(times):
        _directory_attributes(layer, target, place, status)


def _place_file(
    source: str, status: os.stat_result, place: str, names: dict[tuple[int, int], str], *, link: bool
) -> None:
    if link and link_file(source, place):
        return
    identity = (status.st_dev, status.st_ino)
    if status.st_nlink > 1 and (first := names.setdefault(identity, place)) != place:
        os.link(first, place, follow_symlinks=False)
        return
    copy_file(source, status, place)


def link_file(source: str, place: str) -> bool:
    """Make a hard link; False where the file has as many as it can have, or the kernel protects it."""
    try:
        os.link(source, place, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV):
            raise
        return False
    return True


def _place_directory(source: str, place: str, was: os.stat_result | None, opaque: str | None) -> None:
    hides = marks.is_opaque(source)
    if was is not None and not stat.S_ISDIR(was.st_mode):
        hides = hides or marks.is_whiteout(place, was)
        _remove(place, was)
        was = None
    if was is not None and hides:
        for name in os.listdir(place):
            inner = f"{place}/{name}"
            _remove(inner, os.lstat(inner))
    if was is None:
        os.mkdir(place, 0o700)  # noqa: PTH102
    if hides and opaque is not None:
        marks.set_opaque(place, opaque)


def _directory_attributes(layer: Path | str, target: Path, place: str, status: os.stat_result) -> None:
    copy_attributes(f"{layer}{place[len(str(target)) :]}", status, place)


def _whiteout(folder: str, name: str) -> None:
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        marks.make_whiteout(name, descriptor)
    finally:
        os.close(descriptor)


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _remove(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        remove_tree(path)
    else:
        os.unlink(path)  # noqa: PTH108


@remembered(1024)
def _name(said: tuple[str, ...]) -> str:
    """Where what is made of layers lies; a long stack asks for the same again and again."""
    return hashlib.sha256("\0".join(said).encode(errors="surrogateescape")).hexdigest()[:40]


class SquashCache:
    """Read-only squashed stacks under one directory of the store, found by the layers that they hold."""

    def __init__(self, root: Path, opaque: str) -> None:
        self._root = root
        self._opaque = opaque

    def place(self, layers: Sequence[Path | str], *, plain: bool) -> str:
        """Where `squashed` makes the directory."""
        return f"{self._root}/{_name((str(plain), *map(str, layers)))}"

    @contextmanager
    def squashed(self, layers: Sequence[Path | str], *, plain: bool) -> Iterator[Path]:
        """One directory for the layers, lowest first; made on first use, in use until the block ends.

        Args:
            layers: change directories of the store.
            plain: a plain tree, for reading as it is; else a change directory.
        """
        self._root.mkdir(exist_ok=True)
        place = Path(self.place(layers, plain=plain))
        lock = place.with_suffix(".lock")
        while True:
            descriptor = lock_file(lock, shared=True)
            if place.is_dir() and is_at(descriptor, lock):
                break
            os.close(descriptor)
            self._make(layers, place, lock, plain=plain)
        try:
            yield place
        finally:
            os.close(descriptor)

    def _make(self, layers: Sequence[Path | str], place: Path, lock: Path, *, plain: bool) -> None:
        descriptor = lock_file(lock)
        try:
            if place.is_dir() or not is_at(descriptor, lock):
                return
            temporary = place.with_suffix(".new")
            remove_tree(temporary)
            temporary.mkdir()
            for layer in layers:
                apply_changes(layer, temporary, link=True, opaque=None if plain else self._opaque)
            (place.with_suffix(".layers")).write_text("\n".join(str(layer) for layer in layers))
            temporary.rename(place)
        finally:
            os.close(descriptor)

    def clean(self, *, everything: bool = False) -> int:
        """Remove squashed stacks that nobody uses and of which a layer has gone (or all); returns how many.

        Hard links keep the data of removed layers on the disk: call it after layers were removed.
        """
        total = 0
        while removed := self._clean(everything=everything):  # some are made of others
            total += removed
        return total

    def _clean(self, *, everything: bool) -> int:
        removed = 0
        if not self._root.is_dir():
            return 0
        for lock in list(self._root.glob("*.lock")):
            descriptor = try_lock(lock, create=False)
            if descriptor is None:
                continue
            try:
                place, listing = lock.with_suffix(""), lock.with_suffix(".layers")
                there = place.is_dir()
                if there and not everything and self._is_current(listing):
                    continue
                remove_tree(place)
                remove_tree(lock.with_suffix(".new"))
                listing.unlink(missing_ok=True)
                lock.unlink(missing_ok=True)  # last: who waits for it sees that it is another one
                removed += there
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)
        return removed

    def _is_current(self, listing: Path) -> bool:
        try:
            return all(Path(line).is_dir() for line in listing.read_text().splitlines())
        except OSError:
            return False
