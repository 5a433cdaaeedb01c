"""Copying one entry: its data or its link target, then owner, mode, times and attributes."""

from __future__ import annotations

import os
import posixpath
import stat
import threading
from collections.abc import Sequence

from dockc.base.record import Record
from dockc.runtime.fsutil import meta
from dockc.runtime.fsutil.data import Contents
from dockc.runtime.fsutil.failure import FileError, explain, failed
from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.fsutil.modes import ModeSet
from dockc.runtime.fsutil.users import Owner

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class CopyOptions(Record):
    """How to copy.

    Attributes:
        owner: of everything that is made; None keeps the source's.
        time_ns: modification time of everything that is made; None keeps the source's.
        mode: permission bits of everything that is made, directories too; None keeps the source's.
        mode_set: a symbolic mode, which goes before `mode`.
        include: only what matches one of these (relative to the source directory).
        exclude: all but what matches these.
        dir_contents: copy the entries of a source directory, not the directory.
        follow_links: the source itself may be a link to what is meant.
        replace: whatever is in the way is removed (directories are still merged with directories).
        cancelled: looked at for each entry.
    """

    owner: Owner | None = None
    time_ns: int | None = None
    mode: int | None = None
    mode_set: ModeSet | None = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    dir_contents: bool = False
    follow_links: bool = False
    replace: bool = False
    cancelled: threading.Event | None = None


class Item:
    """An entry of an open source directory and its place in an open target directory."""

    __slots__ = ("name", "path", "source_fd", "source_name", "status", "target_fd")

    def __init__(
        self, source_fd: int, source_name: str, status: os.stat_result, target_fd: int, name: str, path: str
    ) -> None:
        """Take note.

        Args:
            source_fd: the directory to read from.
            source_name: the entry in it.
            status: the entry's lstat.
            target_fd: the directory to write to.
            name: the entry to make in it.
            path: below the two starting points of the copy, for messages; "" for those themselves.
        """
        self.source_fd = source_fd
        self.source_name = source_name
        self.status = status
        self.target_fd = target_fd
        self.name = name
        self.path = path


class EntryWriter:
    """Copies entries within one copy.

    Mutable state: `_links`, where the first of each group of hard links was copied to; `_folder`, the open directory
    that was written to last, and `_own`, whose new files in it are.
    """

    def __init__(self, target: Root, source_top: str, target_top: str, options: CopyOptions) -> None:
        self._target = target
        self._source_top = source_top
        self._target_top = target_top
        self._options = options
        self._links: dict[tuple[int, int], str] = {}
        self._contents = Contents(options.cancelled)
        self._folder, self._own = -1, (-1, -1)

    def elsewhere(self) -> None:
        """Another directory comes, whose descriptor may have the number of one before it."""
        self._folder = -1

    def source_path(self, path: str) -> str:
        """A path of the copy as seen in the source root."""
        return posixpath.join(self._source_top, path) if path else self._source_top

    def target_path(self, path: str) -> str:
        """A path of the copy as seen in the target root."""
        return posixpath.join(self._target_top, path) if path else self._target_top

    def write(self, item: Item, there: os.stat_result | None) -> None:
        """Copy anything that is not a directory.

        Args:
            item: the entry.
            there: status of what is in its place, which is replaced.

        Raises:
            FileError: a directory is in its place, or the system refused.
        """
        status = item.status
        if there is not None:
            self._remove(item, there)
        kind = stat.S_IFMT(status.st_mode)
        node = None
        if kind == stat.S_IFREG and not status.st_size:
            node = meta.node_of(item.source_fd, item.source_name, status)
        if kind not in (stat.S_IFREG, stat.S_IFLNK):
            node = (kind, status.st_rdev)
        if node is not None:
            shown = self.target_path(item.path)
            meta.make_node(item.target_fd, item.name, *node, stat.S_IMODE(status.st_mode), shown)
        elif kind == stat.S_IFLNK:
            self._symlink(item)
        elif (status.st_nlink == 1 or not self._link(item)) and self._file(item):
            return
        self.metadata(item)

    def _remove(self, item: Item, there: os.stat_result) -> None:
        shown = self.target_path(item.path)
        if stat.S_ISDIR(there.st_mode):
            raise FileError(f"cannot replace to directory {shown} with file")
        try:
            os.unlink(item.name, dir_fd=item.target_fd)
        except OSError as error:
            raise failed("remove", shown, error) from error

    def _link(self, item: Item) -> bool:
        """Link to an earlier copy of the same file; False if this is the first."""
        shown = self.target_path(item.path)
        first = self._links.setdefault((item.status.st_dev, item.status.st_ino), shown)
        if first == shown:
            return False
        with self._target.parent(first) as (fd, name):
            try:
                os.link(name, item.name, src_dir_fd=fd, dst_dir_fd=item.target_fd, follow_symlinks=False)
            except OSError as error:
                message = f"failed to create hard link: link {first} {shown}: {explain(error)}"
                raise FileError(message, number=error.errno or 0) from error
        return True

    def _file(self, item: Item) -> bool:
        """Copy the data; whether the metadata, too."""
        try:
            source = os.open(item.source_name, _READ, dir_fd=item.source_fd)
        except OSError as error:
            raise self._not_opened("source", self.source_path(item.path), error) from error
        try:
            target = self._create(item)
            try:
                self._contents.copy(source, target, item.status)
                return self._settled(item, source, target)
            except OSError as error:
                shown = self.target_path(item.path)
                raise failed("copy_file_range", shown, error, wrap="failed to copy files") from error
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _create(self, item: Item) -> int:
        try:
            return os.open(item.name, _CREATE, 0o600, dir_fd=item.target_fd)
        except OSError as error:
            raise self._not_opened("target", self.target_path(item.path), error) from error

    def _settled(self, item: Item, source: int, target: int) -> bool:
        """Give an open file its metadata, without a walk to it, where nothing about it is special."""
        status = item.status
        if not status.st_size:  # it may stand for a device
            return False
        options = self._options
        owner = options.owner
        ids = (status.st_uid, status.st_gid) if owner is None else (owner.uid, owner.gid)
        try:
            if os.listxattr(source):
                return False
            if not self._has_owner(ids, item.target_fd, target):
                os.fchown(target, *ids)
            plain = options.mode is None and options.mode_set is None
            os.fchmod(target, status.st_mode & 0o7777 if plain else self._mode(status.st_mode))
            time = options.time_ns
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns) if time is None else (time, time))
        except OSError:
            return False
        return True

    def _has_owner(self, ids: tuple[int, int], folder: int, target: int) -> bool:
        """Whether a new file in an open directory belongs to these without being given to them, as the first one in that
        directory has shown.
        """
        if folder != self._folder:
            status = os.fstat(target)
            self._folder, self._own = folder, (status.st_uid, status.st_gid)
        return ids == self._own

    @staticmethod
    def _not_opened(which: str, shown: str, error: OSError) -> FileError:
        return failed("open", shown, error, wrap=f"failed to copy files: failed to open {which} {shown}")

    def _symlink(self, item: Item) -> None:
        try:
            link = os.readlink(item.source_name, dir_fd=item.source_fd)
        except OSError as error:
            shown = self.source_path(item.path)
            raise failed("readlink", shown, error, wrap=f"failed to read link: {shown}") from error
        try:
            os.symlink(link, item.name, dir_fd=item.target_fd)
        except OSError as error:
            shown = self.target_path(item.path)
            wrap = f"failed to create symlink: {shown}"
            raise failed(f"symlink {link}", shown, error, wrap=wrap) from error

    # --- metadata -------------------------------------------------------------------------------

    def metadata(self, item: Item) -> None:
        """Give the target the source's owner, mode, times and attributes, as far as the options keep them."""
        status = item.status
        try:
            facts = meta.read_facts(item.source_fd, item.source_name, status)
        except OSError as error:
            shown = self.source_path(item.path)
            raise failed("listxattr", shown, error, wrap="failed to copy xattrs") from error
        owner = self._options.owner or facts.owner
        mode = None if stat.S_ISLNK(status.st_mode) else self._mode(status.st_mode)
        if stat.S_ISDIR(status.st_mode):  # it may have been there before
            meta.forget_owner(item.target_fd, item.name)
        try:
            if not status.st_size and stat.S_ISREG(status.st_mode):
                meta.chown(item.target_fd, item.name, owner, "")  # it may stand for a device
            else:
                os.chown(item.name, owner.uid, owner.gid, dir_fd=item.target_fd, follow_symlinks=False)
            if mode is not None:
                os.chmod(item.name, mode, dir_fd=item.target_fd)
            os.utime(item.name, ns=self._times(status), dir_fd=item.target_fd, follow_symlinks=False)
        except (OSError, FileError):
            self._explained(item, owner, mode)
        if facts.xattrs:
            meta.write_xattrs(item.target_fd, item.name, facts.xattrs)

    def _explained(self, item: Item, owner: Owner, mode: int | None) -> None:
        """The same once more, step by step: with the ways around what a namespace cannot do, and with messages."""
        shown = self.target_path(item.path)
        doing = "failed to copy file info: failed to"
        meta.chown(item.target_fd, item.name, owner, shown, wrap=f"{doing} chown {shown}")
        if mode is not None:
            meta.chmod(item.target_fd, item.name, mode, shown, wrap=f"{doing} chmod {shown}")
        self.times(item)

    def times(self, item: Item) -> None:
        """Set the times only."""
        meta.utime(item.target_fd, item.name, self._times(item.status), self.target_path(item.path))

    def _mode(self, mode: int) -> int:
        options = self._options
        if options.mode_set is not None:
            return options.mode_set.apply(stat.S_IMODE(mode), directory=stat.S_ISDIR(mode))
        return stat.S_IMODE(mode) if options.mode is None else options.mode & 0o7777

    def _times(self, status: os.stat_result) -> tuple[int, int]:
        time = self._options.time_ns
        return (status.st_atime_ns, status.st_mtime_ns) if time is None else (time, time)
