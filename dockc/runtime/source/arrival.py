"""A client's directory that comes over a wire, written straight into the next snapshot of it.

What the last snapshot has is compared with the client's list by what is noted of it; no file is looked at for that. Of
the rest each file is written once, and its digest computed from the bytes that come.
"""

from __future__ import annotations

import os
import posixpath
import stat
import threading
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from dockc.base.record import replace
from dockc.runtime.cancel import Cancelled
from dockc.runtime.fsutil import filehash, marks, meta
from dockc.runtime.fsutil.arriving import Item, Taker
from dockc.runtime.fsutil.data import write_all
from dockc.runtime.fsutil.dirs import make_dir
from dockc.runtime.fsutil.failure import FileError, check, explain, failed
from dockc.runtime.fsutil.filehash import Seen
from dockc.runtime.fsutil.holder import Holder
from dockc.runtime.fsutil.inroot import Root, remove_tree
from dockc.runtime.fsutil.users import Owner
from dockc.runtime.refs.types import RecordType
from dockc.runtime.source.localsync import Changes, Copier, Known, Manifest, Row, changes_between

if TYPE_CHECKING:
    import hashlib
    from types import TracebackType

    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.ref import ImmutableRef, MutableRef

MAX_LAYERS = 12
"""Snapshots on top of each other, beyond which everything is copied afresh."""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT = Owner(0, 0)


def stands_alone(changes: Changes, manifest: Manifest, last: ImmutableRef | None) -> bool:
    """Whether a snapshot is not made on top of the last one: where little would be shared, one of its own is smaller
    and quicker to read.
    """
    return last is None or changes.kept * 2 < len(manifest) or len(last.layers()) >= MAX_LAYERS


def row_of(item: Item) -> Row:
    """What is noted of an entry of a client, whose own inodes and change times nobody knows."""
    mode, size = item.mode, item.size
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFSOCK:  # an empty file stands for it
        mode, size = stat.S_IFREG | stat.S_IMODE(mode), 0
    elif kind == stat.S_IFDIR:
        size = 0
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        size = item.device
    return Row(item.path, mode, size, item.mtime, 0, 0, item.link, item.same_as)


class _File:
    """A file that comes. State: how much of it has, and the digest so far."""

    __slots__ = ("check", "descriptor", "digest", "size")

    def __init__(self, descriptor: int, digest: hashlib._Hash) -> None:
        self.descriptor, self.digest = descriptor, digest
        self.check = self.size = 0


class Arrival(Taker):
    """Takes a client's entries; to be closed (a context manager) once what `finish` gives has been committed.

    Args:
        refs: where the snapshot is made.
        name: what the client calls the directory.
        last: its last snapshot, which stays the caller's, or None.
        old: what that holds.
        cancelled: looked at for each entry.

    Attributes:
        manifest: what the snapshot holds; complete after `finish`.
        changes: the way there from the last one.
        known: digests of the files that came.

    Its methods come from several threads, one after the other, and `close` at any time: each runs under a lock.
    """

    def __init__(
        self,
        refs: RefManager,
        name: str,
        last: ImmutableRef | None,
        old: Manifest,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.manifest: Manifest = {}
        self.changes = Changes((), (), 0)
        self.known: dict[str, Known] = {}
        self._refs, self._name, self._last, self._old, self._cancelled = refs, name, last, old, cancelled
        self._own = os.geteuid() == 0 and os.getegid() == 0
        self._xattrs: dict[str, Mapping[str, bytes]] = {}
        self._todo: tuple[str, ...] = ()
        self._touched: set[str] = set()
        self._open: dict[str, _File] = {}
        self._mutable: MutableRef | None = None
        self._stack = ExitStack()
        self._mounted = ExitStack()
        self._lock = threading.RLock()  # `whole` may go the long way round
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go; what has not been committed is removed."""
        with self._lock:
            self._closed = True
            for file in self._open.values():
                os.close(file.descriptor)
            self._open.clear()
            self._mounted.close()
            self._stack.close()

    def _check(self) -> None:
        if self._closed:
            raise Cancelled("cancelled")
        check(self._cancelled)

    # --- the list -----------------------------------------------------------------------------------

    def choose(self, items: list[Item]) -> list[int]:
        """Make what has no content, and ask for the files that are new or look different.

        Raises:
            FileError: something cannot be written.
            Cancelled: it was closed, or `cancelled` was set.
        """
        with self._lock:
            self._check()
            self.manifest = {item.path: row_of(item) for item in items}
            self.changes = changes_between(self._old, self.manifest)
            if self._last is not None and not self.changes:
                return []
            self._xattrs = {item.path: item.xattrs for item in items if item.xattrs}
            self._begin()
            written = frozenset(self.changes.written)
            empty = {item.path for item in items if stat.S_ISSOCK(item.mode)}
            for path in self._todo:
                self._check()
                self._make(self.manifest[path], path in written, empty=path in empty)
            return [number for number, item in enumerate(items) if item.is_file and item.path in written]

    def _begin(self) -> None:
        """Open the new snapshot, with all in it that stays as it was."""
        alone = stands_alone(self.changes, self.manifest, self._last)
        base = None if alone else self._last
        self._mutable = self._stack.enter_context(
            self._refs.new_mutable(
                base, description=f"local source for {self._name}", record_type=RecordType.LOCAL_SOURCE
            )
        )
        mounted = self._mounted.enter_context(self._mutable.mount())
        self._root = self._mounted.enter_context(Root(mounted))
        self._holder = self._mounted.enter_context(Holder(self._root))
        if base is None:
            self._old_here: Mapping[str, Row] = {}
            self._todo = tuple(self.manifest)
            if self._last is not None and self.changes.kept:
                self._copy_kept(self._last)
            return
        self._old_here = self._old
        self._todo = self.changes.written
        for path in self.changes.removed:
            self._check()
            with self._root.parent("/" + path) as (fd, name):
                remove_tree(fd, name, path)
            self._touched.add(posixpath.dirname(path))

    def _copy_kept(self, last: ImmutableRef) -> None:
        """Take what stays from the last snapshot, which the new one does not stand on."""
        written = frozenset(self.changes.written)
        rows = {path: row for path, row in self.manifest.items() if row.is_dir or path not in written}
        with last.mount() as mounted, Root(mounted) as source:
            copier = Copier(source, self._root, dict(rows), lambda _: None, self._cancelled)
            copier.run(Changes((), tuple(rows), 0), {})

    def _make(self, row: Row, new: bool, *, empty: bool) -> None:
        path = row.path
        if row.is_dir:
            self._touched.add(path)
            fd, name = self._holder.at(path)
            if not self._is_there(path, fd, name):
                make_dir(fd, name, 0o700, path)
                self._touched.add(posixpath.dirname(path))
            return
        if not new:
            return
        self._touched.add(posixpath.dirname(path))
        fd, name = self._holder.at(path)
        if path in self._old_here:
            remove_tree(fd, name, path)
        if stat.S_ISLNK(row.mode):
            try:
                os.symlink(row.link, name, dir_fd=fd)
            except OSError as error:
                raise failed("symlink", path, error, wrap=f"failed to symlink {path}") from error
            self._metadata(row, fd, name)
        elif not stat.S_ISREG(row.mode):
            meta.make_node(fd, name, stat.S_IFMT(row.mode), row.size, stat.S_IMODE(row.mode), path)
            self._metadata(row, fd, name)
        elif empty:
            os.close(self._create(row))
            self._metadata(row, fd, name)

    def _is_there(self, path: str, fd: int, name: str) -> bool:
        """Whether a directory has been made already."""
        if self._last is None:
            return False
        try:
            os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise failed("lstat", path, error) from error
        return True

    # --- content ------------------------------------------------------------------------------------

    def begin(self, item: Item) -> None:
        """Content of a file follows.

        Raises:
            FileError: it cannot be written.
            Cancelled: it was closed, or `cancelled` was set.
        """
        with self._lock:
            self._check()
            row = self.manifest[item.path]
            mode, xattrs = stat.S_IMODE(row.mode), self._content_attributes(item.path)
            digest = filehash.begin(stat.S_IFREG, mode, _ROOT, row.size, xattrs)
            self._open[item.path] = _File(self._create(row), digest)

    def _create(self, row: Row) -> int:
        fd, name = self._holder.at(row.path)
        try:
            return os.open(name, _CREATE, 0o600, dir_fd=fd)
        except OSError as error:
            raise failed("open", row.path, error) from error

    def write(self, item: Item, data: bytes) -> None:
        """Some of it; as `begin`."""
        with self._lock:
            self._check()
            file = self._open[item.path]
            try:
                write_all(file.descriptor, data)
            except OSError as error:
                raise failed("write", item.path, error) from error
            file.size += len(data)
            file.digest.update(data)
            file.check = zlib.crc32(data, file.check)

    def end(self, item: Item) -> None:
        """It is whole; as `begin`."""
        with self._lock:
            self._check()
            path, row = item.path, self.manifest[item.path]
            file = self._open.pop(path)
            mode = stat.S_IMODE(row.mode)
            told = True
            try:
                if path in self._xattrs or not self._own:
                    fd, name = self._holder.at(path)
                    if not self._own:
                        meta.chown(fd, name, _ROOT, path)
                    told = not meta.write_xattrs(fd, name, self._content_attributes(path))
                os.fchmod(file.descriptor, mode)
                os.utime(file.descriptor, ns=(row.mtime, row.mtime))
            except OSError as error:
                raise failed("write", path, error) from error
            finally:
                os.close(file.descriptor)
            if file.size != row.size:  # it has grown or shrunk since it was named: next time it is asked for again
                self.manifest[path] = replace(row, size=file.size, racy=True)
            elif told:
                self.known[path] = file.digest.digest(), Seen(row.mode, 0, 0, file.check)

    def whole(self, item: Item, data: bytes) -> None:
        """All of a file, in as few turns as there can be: most files are small; as `begin`."""
        with self._lock:
            path = item.path
            row = self.manifest[path]
            if path in self._xattrs or not self._own or len(data) != row.size:
                super().whole(item, data)
                return
            self._check()
            mode = row.mode & 0o7777
            descriptor = self._create(row)
            try:
                if data:
                    write_all(descriptor, data)
                os.fchmod(descriptor, mode)
                os.utime(descriptor, ns=(row.mtime, row.mtime))
            except OSError as error:
                raise failed("write", path, error) from error
            finally:
                os.close(descriptor)
            digest = filehash.begin(stat.S_IFREG, mode, _ROOT, row.size, {})
            digest.update(data)
            self.known[path] = digest.digest(), Seen(row.mode, 0, 0, zlib.crc32(data))

    def _content_attributes(self, path: str) -> Mapping[str, bytes]:
        values = self._xattrs.get(path)
        return {key: value for key, value in values.items() if marks.is_content_attribute(key)} if values else {}

    # --- the end ------------------------------------------------------------------------------------

    def finish(self) -> MutableRef | None:
        """The new snapshot, unmounted and ready to be committed; None if nothing has changed.

        Raises:
            FileError: something cannot be written.
            Cancelled: it was closed, or `cancelled` was set.
        """
        with self._lock:
            self._check()
            if self._mutable is None:
                return None
            for path in self.changes.written:
                row = self.manifest[path]
                if row.same_as:
                    self._link(row)
            # Last and from below, for every entry made in a directory changes its times.
            for path in sorted(self._touched, key=lambda one: one.count("/"), reverse=True):
                found = self.manifest.get(path)
                if found is not None:
                    with self._root.parent("/" + path) as (fd, name):
                        self._metadata(found, fd, name)
            self._mounted.close()
            return self._mutable

    def _link(self, row: Row) -> None:
        fd, name = self._holder.at(row.path)
        with self._root.parent("/" + row.same_as) as (first_fd, first):
            try:
                os.link(first, name, src_dir_fd=first_fd, dst_dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                message = f"failed to link {row.path} to {row.same_as}: {explain(error)}"
                raise FileError(message, number=error.errno or 0) from error
        if row.same_as in self.known:
            self.known[row.path] = self.known[row.same_as]

    def _metadata(self, row: Row, fd: int, name: str) -> None:
        if not self._own:
            meta.chown(fd, name, _ROOT, row.path)
        if row.path in self._xattrs:
            meta.write_xattrs(fd, name, self._content_attributes(row.path))
        if not stat.S_ISLNK(row.mode):
            meta.chmod(fd, name, stat.S_IMODE(row.mode), row.path)
        meta.utime(fd, name, (row.mtime, row.mtime), row.path)
