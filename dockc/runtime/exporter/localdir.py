"""`type=local`: the files of a result in a directory of the user.

What is there stays unless the result has an entry of the same name; `mode=delete` removes the rest. Everything
is done relative to open directories and no link in the destination is ever followed, so nothing is written
outside it, whatever the result or the destination contain. Files appear whole. As in the reference, they
belong to who runs the build.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

from dockc.base.record import Mutable, made
from dockc.errors import DockcError, StoreError
from dockc.runtime.cancel import Cancelled
from dockc.runtime.exporter.walk import Entry, walk
from dockc.runtime.fsutil.inroot import entries, remove_tree
from dockc.runtime.fsutil.levels import Levels
from dockc.runtime.session.sinks import Tree

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


class LocalWriter(Mutable):
    """Writes trees into a destination.

    Attributes:
        dest: the user's directory.
        delete: remove what no tree has.
        cancelled: the build's cancel event.
    """

    dest: Path
    delete: bool = False
    cancelled: threading.Event | None = None
    _owner: dict[str, str] = made(dict)
    _wanted: set[str] = made(set)

    def write(self, trees: Sequence[Tree]) -> None:
        """Write all trees.

        Raises:
            DockcError: two trees have the same file and no folders of their own.
            StoreError: something cannot be written.
        """
        try:
            self.dest.mkdir(mode=0o700, parents=True, exist_ok=True)
            top = os.open(self.dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"cannot write {self.dest}: {error.strerror}") from error
        try:
            for tree in trees:
                self._tree(top, tree)
            if self.delete:
                self._sweep(top)
        finally:
            os.close(top)

    def _tree(self, top: int, tree: Tree) -> None:
        base = top
        if tree.folder:
            base = self.open_directory(top, tree.folder)
            self._wanted.add(tree.folder)
            os.fchmod(base, 0o755)
        _Copy(self, base, tree, top).run()
        if base != top:
            _touch(base, tree.epoch, None)
            os.close(base)

    def open_directory(self, parent: int, name: str) -> int:
        """An open directory of that name, made (in place of anything else) where there is none."""
        for _ in range(8):
            try:
                return os.open(name, _DIRECTORY, dir_fd=parent)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                os.unlink(name, dir_fd=parent)
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                continue
        raise StoreError(f"cannot write {self.dest}: {name} keeps changing")

    def claim(self, tree: Tree, path: str) -> None:
        """Note whose a file is; `DockcError` when another tree has it."""
        other = self._owner.setdefault(path, tree.name)
        if other != tree.name:
            raise DockcError(f"cannot overwrite {path} from {other} with {tree.name} when split option is disabled")

    def want(self, path: str) -> None:
        """Keep this path when sweeping."""
        self._wanted.add(path)

    def check(self) -> None:
        """Stop when the build is given up."""
        if self.cancelled is not None and self.cancelled.is_set():
            raise Cancelled

    def _sweep(self, top: int) -> None:
        """Remove what no tree wanted."""
        try:
            with Levels[tuple[str, list[str]]]() as levels:
                levels.enter(os.dup(top), ("", entries(top)))
                while levels:
                    folder, (prefix, names) = levels.here
                    if not names:
                        os.close(levels.leave()[0])
                        continue
                    name = names.pop()
                    path = prefix + name
                    if path not in self._wanted:
                        _remove(folder, name)
                        continue
                    if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                        inner = os.open(name, _DIRECTORY, dir_fd=folder)
                        levels.enter(inner, (f"{path}/", entries(inner)))
        except OSError as error:
            raise StoreError(f"cannot clean {self.dest}: {error.strerror}") from error


class _Copy:
    """One tree being written."""

    def __init__(self, writer: LocalWriter, base: int, tree: Tree, top: int) -> None:
        self._writer = writer
        self._tree = tree
        self._prefix = f"{tree.folder}/" if tree.folder else ""
        # Open destination directories from the base down to where the walk stands, with what to set on leaving.
        self._open = Levels[tuple[str, os.stat_result | None]]()
        self._open.enter(os.dup(base), ("", None))
        self._links: dict[tuple[int, int], str] = {}
        self._base = base

    def run(self) -> None:
        with self._open:
            for entry in walk(self._tree.root):
                self._writer.check()
                try:
                    self._entry(entry)
                except OSError as error:
                    place = self._writer.dest / self._prefix / entry.path
                    raise StoreError(f"cannot write {place}: {error.strerror}") from error
            self._leave_until("")

    def _entry(self, entry: Entry) -> None:
        parent = entry.path.rpartition("/")[0]
        self._leave_until(parent)
        folder, _ = self._open.here
        full = self._prefix + entry.path
        self._writer.want(full)
        if entry.is_dir:
            inner = self._writer.open_directory(folder, entry.name)
            os.fchmod(inner, 0o700)
            self._open.enter(inner, (entry.path, entry.status))
            return
        self._writer.claim(self._tree, full)
        key = (entry.status.st_dev, entry.status.st_ino)
        if entry.status.st_nlink > 1 and entry.is_file and (first := self._links.get(key)):
            self._hardlink(folder, entry.name, first)
            return
        self._other(folder, entry)
        if entry.status.st_nlink > 1 and entry.is_file:
            self._links[key] = entry.path

    def _leave_until(self, path: str) -> None:
        """Close directories that are not on the way to `path`, setting their modes and times."""
        while True:
            _, (here, status) = self._open.here
            if here in ("", path) or path.startswith(f"{here}/"):
                return
            folder, _ = self._open.leave()
            try:
                if status is not None:
                    os.fchmod(folder, stat.S_IMODE(status.st_mode))
                    _touch(folder, self._tree.epoch, status)
            finally:
                os.close(folder)

    def _other(self, folder: int, entry: Entry) -> None:
        """A file, link, or device: made under a new name, then moved into place."""
        temporary = f".dockc-{secrets.token_hex(8)}"
        try:
            node = entry.node()
            if node is not None:
                if not _device(folder, temporary, node, entry, self._tree.epoch):
                    return
            elif entry.is_file:
                self._file(folder, temporary, entry)
            elif entry.is_link:
                os.symlink(entry.readlink(), temporary, dir_fd=folder)
                _touch_at(folder, temporary, self._tree.epoch, entry.status)
            else:
                os.mknod(temporary, entry.status.st_mode, dir_fd=folder)
                os.chmod(temporary, stat.S_IMODE(entry.status.st_mode), dir_fd=folder)
                _touch_at(folder, temporary, self._tree.epoch, entry.status)
            _move(folder, temporary, entry.name)
        except BaseException:
            _unlink_quietly(folder, temporary)
            raise

    def _file(self, folder: int, name: str, entry: Entry) -> None:
        source = entry.open()
        try:
            target = os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
            try:
                while data := os.read(source, _CHUNK):
                    self._writer.check()
                    view = memoryview(data)
                    while view:
                        view = view[os.write(target, view) :]
                for key, value in entry.xattrs().items():
                    _set_xattr(target, key, value)
                os.fchmod(target, stat.S_IMODE(entry.status.st_mode))
                _touch(target, self._tree.epoch, entry.status)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _hardlink(self, folder: int, name: str, first: str) -> None:
        """A further name of a file that was written before, found again without following links."""
        *parts, last = first.split("/")
        here = os.dup(self._base)
        try:
            for part in parts:
                inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                os.close(here)
                here = inner
            temporary = f".dockc-{secrets.token_hex(8)}"
            os.link(last, temporary, src_dir_fd=here, dst_dir_fd=folder, follow_symlinks=False)
            _move(folder, temporary, name)
            # Two names of one file: rename(2) does nothing and leaves the temporary name.
            _unlink_quietly(folder, temporary)
        finally:
            os.close(here)


def _device(folder: int, name: str, node: tuple[int, int], entry: Entry, epoch: int | None) -> bool:
    """Make a device node; False where this user may not, as in the reference."""
    mode = stat.S_IMODE(entry.status.st_mode)
    try:
        os.mknod(name, node[0] | mode, node[1], dir_fd=folder)
    except PermissionError:
        return False
    os.chmod(name, mode, dir_fd=folder)
    _touch_at(folder, name, epoch, entry.status)
    return True


def _set_xattr(target: int, key: str, value: bytes) -> None:
    try:
        os.setxattr(target, key, value)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EACCES, errno.EINVAL):
            raise


def _touch(target: int, epoch: int | None, status: os.stat_result | None) -> None:
    if epoch is not None:
        os.utime(target, (epoch, epoch))
    elif status is not None:
        os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _touch_at(folder: int, name: str, epoch: int | None, status: os.stat_result) -> None:
    moment = status.st_mtime_ns if epoch is None else epoch * 1_000_000_000
    os.utime(name, ns=(moment, moment), dir_fd=folder, follow_symlinks=False)


def _move(folder: int, temporary: str, name: str) -> None:
    """Put a finished entry in its place; a directory that stands there goes."""
    try:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except IsADirectoryError:
        _remove(folder, name)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


def _unlink_quietly(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        return


def _remove(folder: int, name: str) -> None:
    """Remove an entry and all below it, following no link."""
    remove_tree(folder, name, name)
