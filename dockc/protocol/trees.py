"""Received trees of files on disk."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from dockc.base.openflags import CLOEXEC, NOFOLLOW
from dockc.errors import StoreError
from dockc.runtime.fsutil.arriving import Item, Target
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.fsutil.inroot import Root, entries, remove_tree
from dockc.runtime.fsutil.marks import is_content_attribute

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW | CLOEXEC


class TreeWriter(Target):
    """Writes a received tree into a directory of the user: everything belongs to who runs the build, files appear
    whole.
    """

    def __init__(self, dest: Path, *, delete: bool = False, compare: bool = False) -> None:
        """Prepare.

        Args:
            dest: the directory, made when it is not there.
            delete: remove what the sender does not have.
            compare: files that look the same here are not asked for.
        """
        self._dest, self._delete, self._compare = dest, delete, compare
        self._root: Root | None = None
        self._items: list[Item] = []
        self._open: dict[
            str, tuple[BinaryIO, str]
        ] = {}  # by path: what is being written, and its name until it is whole

    def choose(self, items: list[Item]) -> tuple[list[int], Target]:
        """Make directories, links and nodes; ask for all files."""
        try:
            self._dest.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise StoreError(f"cannot write {self._dest}: {exc.strerror}") from exc
        self._root = Root(self._dest)
        self._items = items
        if self._delete:
            self._sweep({item.path: item for item in items})
        same = {item.path for item in items if self._same(item)} if self._compare else set()
        for item in items:
            if item.path in same and not item.is_dir:
                continue
            if item.is_dir:
                self._make(item, self._make_directory)
            elif stat.S_ISLNK(item.mode):
                self._make(item, lambda fd, name, it: os.symlink(it.link, name, dir_fd=fd))
            elif not stat.S_ISREG(item.mode):
                self._make(item, self._make_node)
        return [number for number, item in enumerate(items) if item.is_file and item.path not in same], self

    def _same(self, item: Item) -> bool:
        """Whether what is here looks like the sender's entry: type, mode, size and time."""
        assert self._root is not None
        try:
            found = self._root.lstat("/" + item.path)
            if found is None or found.st_mode != item.mode or item.same_as:
                return False
            if stat.S_ISLNK(item.mode):
                with self._root.parent("/" + item.path) as (fd, name):
                    return os.readlink(name, dir_fd=fd) == item.link
            return found.st_mtime_ns == item.mtime and (
                not item.is_file or (found.st_size == item.size and found.st_nlink == 1)
            )
        except (OSError, FileError):
            return False

    def _make(self, item: Item, make: Callable[[int, str, Item], object]) -> None:
        assert self._root is not None
        try:
            with self._root.parent("/" + item.path) as (fd, name):
                make(fd, name, item)
        except FileExistsError:
            with self._root.parent("/" + item.path) as (fd, name):
                remove_tree(fd, name, item.path)
                make(fd, name, item)
        except OSError as exc:
            raise StoreError(f"cannot write {self._dest / item.path}: {exc.strerror}") from exc

    @staticmethod
    def _make_directory(fd: int, name: str, item: Item) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=fd)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                raise
            os.chmod(name, 0o700, dir_fd=fd)

    @staticmethod
    def _make_node(fd: int, name: str, item: Item) -> None:
        if stat.S_ISFIFO(item.mode):
            os.mkfifo(name, 0o600, dir_fd=fd)
        else:
            os.mknod(name, stat.S_IFMT(item.mode) | 0o600, item.device, dir_fd=fd)

    def begin(self, item: Item) -> None:
        """Content follows: into a file that nobody sees yet."""
        assert self._root is not None
        temporary = f".{secrets.token_hex(8)}.new"
        try:
            with self._root.parent("/" + item.path) as (fd, _):
                self._open[item.path] = os.fdopen(os.open(temporary, _NEW, 0o600, dir_fd=fd), "wb", 0), temporary
        except OSError as exc:
            raise StoreError(f"cannot write {self._dest / item.path}: {exc.strerror}") from exc

    def write(self, item: Item, data: bytes) -> None:
        """Some of it."""
        file, _ = self._open[item.path]
        try:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        except OSError as exc:
            raise StoreError(f"cannot write {self._dest / item.path}: {exc.strerror}") from exc

    def end(self, item: Item) -> None:
        """It is whole: give it its name."""
        assert self._root is not None
        file, temporary = self._open.pop(item.path)
        with file:
            os.fchmod(file.fileno(), stat.S_IMODE(item.mode) & 0o777)
            os.utime(file.fileno(), ns=(item.mtime, item.mtime))
            for key, value in item.xattrs.items():
                if sys.platform == "linux" and is_content_attribute(key):  # no other system knows them
                    with suppress(OSError):  # the file system has none, or the user may not
                        os.setxattr(file.fileno(), key, value)
        try:
            with self._root.parent("/" + item.path) as (fd, name):
                with suppress(FileNotFoundError):
                    if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                        remove_tree(fd, name, item.path)
                os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        except OSError as exc:
            raise StoreError(f"cannot write {self._dest / item.path}: {exc.strerror}") from exc

    def finish(self) -> None:
        """Hard links, what is to go, and the attributes of directories: last, for every entry made in one changes its
        times.
        """
        assert self._root is not None
        for item in self._items:
            if stat.S_ISREG(item.mode) and item.same_as:
                with self._root.parent("/" + item.same_as) as (source, first):

                    def link(fd: int, name: str, it: Item, source: int = source, first: str = first) -> None:
                        os.link(first, name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)

                    self._make(item, link)
        for item in reversed(self._items):
            if item.is_dir or not (stat.S_ISREG(item.mode) or stat.S_ISLNK(item.mode)):
                with self._root.parent("/" + item.path) as (fd, name):
                    os.chmod(name, stat.S_IMODE(item.mode) & 0o1777, dir_fd=fd)
                    os.utime(name, ns=(item.mtime, item.mtime), dir_fd=fd, follow_symlinks=False)
            elif stat.S_ISLNK(item.mode):
                with self._root.parent("/" + item.path) as (fd, name):
                    os.utime(name, ns=(item.mtime, item.mtime), dir_fd=fd, follow_symlinks=False)

    def _sweep(self, wanted: Mapping[str, Item]) -> None:
        """Remove what the sender does not have, however deep it lies."""
        assert self._root is not None
        todo = [""]
        while todo:
            path = todo.pop()
            fd = self._root.open_dir("/" + path, read=True)
            try:
                for name in entries(fd):
                    inner = f"{path}/{name}" if path else name
                    item = wanted.get(inner)
                    if item is None:
                        remove_tree(fd, name, inner)
                    elif item.is_dir and stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                        todo.append(inner)
            finally:
                os.close(fd)

    def close(self) -> None:
        """Let go; files that are not whole go."""
        for path, (file, temporary) in self._open.items():
            file.close()
            with suppress(OSError, FileError):
                assert self._root is not None
                with self._root.parent("/" + path) as (fd, _):
                    os.unlink(temporary, dir_fd=fd)
        self._open.clear()
        if self._root is not None:
            self._root.__exit__(None, None, None)
