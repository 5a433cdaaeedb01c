"""Bringing a snapshot of a directory up to date: what has changed, the copy of that, and the digests that stay."""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import stat
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from dockc.base.record import Record, replace
from dockc.errors import UnsafePath
from dockc.runtime.fsutil import filehash, marks, meta
from dockc.runtime.fsutil.data import Contents
from dockc.runtime.fsutil.dirs import make_dir
from dockc.runtime.fsutil.failure import FileError, check, explain, failed
from dockc.runtime.fsutil.filehash import Seen
from dockc.runtime.fsutil.hashtree import DIRECTORY, FILE, LINK, Node, from_utf8, to_utf8
from dockc.runtime.fsutil.holder import Holder
from dockc.runtime.fsutil.inroot import Root, remove_tree
from dockc.runtime.fsutil.outline import NAME, Outline
from dockc.runtime.fsutil.rows import pack, unpack
from dockc.runtime.fsutil.users import Owner
from dockc.runtime.fsutil.walk import Entry

_RACY_NS = 50_000_000
"""A file changed so shortly before it was read may change again within one tick of the file system's clock."""
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ROOT = Owner(0, 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Report = Callable[[int], None]
"""Told how many bytes have been copied so far."""

_Stored = tuple[str, int, int, int, int, int, str, str, bool]


class Row(Record):
    """One entry as it was when it was copied.

    Attributes:
        path: relative to the directory.
        mode: type and permission bits.
        size: bytes of a file; the number of a device.
        mtime: nanoseconds.
        ctime: nanoseconds, of the user's file.
        inode: of the user's file.
        link: target of a symbolic link.
        same_as: path of an earlier entry that is the same file.
        racy: it may have changed after this was noted, without looking different.
    """

    path: str
    mode: int
    size: int
    mtime: int
    ctime: int
    inode: int
    link: str = ""
    same_as: str = ""
    racy: bool = False

    @classmethod
    def of(cls, entry: Entry) -> Row:
        """The row of an entry just found."""
        status = entry.status
        mode = status.st_mode
        if stat.S_ISSOCK(mode):
            mode = stat.S_IFREG | stat.S_IMODE(mode)
        size = status.st_size
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            size = status.st_rdev
        if stat.S_ISDIR(mode):
            # What happens to a directory's entries is seen in them.
            return cls(entry.path, mode, 0, status.st_mtime_ns, 0, 0)
        return cls(
            entry.path, mode, size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, entry.link, entry.same_as
        )

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)


Known = tuple[bytes, Seen]
"""Digest of an entry, and what was seen when it was computed."""
Manifest = dict[str, Row]
"""Rows by path, each directory before its entries."""


def encode(manifest: Manifest) -> bytes:
    """A manifest as bytes."""
    return pack(
        (
            to_utf8(r.path),
            r.mode,
            r.size,
            r.mtime,
            r.ctime,
            r.inode,
            r.link and to_utf8(r.link),
            r.same_as and to_utf8(r.same_as),
            r.racy,
        )
        for r in manifest.values()
    )


def decode(data: bytes | None) -> Manifest | None:
    """The inverse of `encode`; None for anything else."""
    rows: Iterator[_Stored] | None = None if data is None else unpack(data, _Stored)
    if rows is None:
        return None
    found: Manifest = {}
    for path, mode, size, mtime, ctime, inode, link, same_as, racy in rows:
        path = from_utf8(path)
        link, same_as = link and from_utf8(link), same_as and from_utf8(same_as)
        found[path] = Row(path, mode, size, mtime, ctime, inode, link, same_as, racy)
    return found


def digest_times(manifest: Manifest) -> bytes:
    """A digest over the modification times of all entries."""
    hasher = hashlib.sha256()
    for row in manifest.values():
        hasher.update(b"%d\0%b\0" % (row.mtime, row.path.encode("utf-8", "surrogateescape")))
    return hasher.digest()


# --- what has changed -----------------------------------------------------------------------------


class Changes(Record):
    """The way from one manifest to another.

    Attributes:
        removed: paths that are gone or have become something else; none of them below another.
        written: paths to write, each directory before its entries.
        kept: how many entries stay as they are.
    """

    removed: tuple[str, ...]
    written: tuple[str, ...]
    kept: int

    def __bool__(self) -> bool:
        return bool(self.removed or self.written)


def changes_between(old: Mapping[str, Row], new: Manifest) -> Changes:
    """Compare two manifests of one directory."""
    written: dict[str, None] = {}
    replaced: set[str] = set()
    for path, row in new.items():
        before = old.get(path)
        if before is not None and _same(before, row):
            continue
        written[path] = None
        if before is not None and stat.S_IFMT(before.mode) != stat.S_IFMT(row.mode):
            replaced.add(path)
    _whole_link_groups(new, written)
    removed: list[str] = []
    for path in old:
        if path in new and path not in replaced:
            continue
        if not (removed and path.startswith(removed[-1] + "/")):
            removed.append(path)
    # What lay below a directory that was removed has to be written again; there is nothing of it in `new`
    # unless the directory has been replaced by one, which is no replacement.
    return Changes(tuple(removed), tuple(path for path in new if path in written), len(new) - len(written))


def _same(before: Row, now: Row) -> bool:
    if now.is_dir:
        return before.mode == now.mode
    return not before.racy and before == now


def _whole_link_groups(new: Manifest, written: dict[str, None]) -> None:
    """Files that are hard links of each other are written together, so that they stay links."""
    groups: dict[str, list[str]] = {}
    for path, row in new.items():
        if row.same_as:
            groups.setdefault(row.same_as, [row.same_as]).append(path)
    for members in groups.values():
        if any(path in written for path in members):
            written.update(dict.fromkeys(members))


# --- the copy -------------------------------------------------------------------------------------


class Copier:
    """Writes the changes of a user's directory into a snapshot of it.

    Attributes:
        known: digests of the files that have passed through here; others are computed when asked for.
    """

    def __init__(
        self,
        source: Root,
        target: Root,
        manifest: Manifest,
        report: Report,
        cancelled: threading.Event | None = None,
        *,
        held: Mapping[str, bytes] | None = None,
    ) -> None:
        """Prepare.

        Args:
            source: the user's directory.
            target: the snapshot.
            manifest: what the snapshot shall hold; rows are replaced by what was really read, and taken out
                where an entry is gone meanwhile.
            report: told of the progress.
            cancelled: looked at for each entry.
            held: content of files that the user's directory does not have.
        """
        self._held = held or {}
        self._source = source
        self._target = target
        self._manifest = manifest
        self._report = report
        self._cancelled = cancelled
        self._copied = 0
        self.known: dict[str, Known] = {}
        self._contents = Contents(cancelled)
        self._own = os.geteuid() == 0 and os.getegid() == 0

    def run(self, changes: Changes, old: Mapping[str, Row]) -> None:
        """Write `changes`.

        Raises:
            FileError: an entry cannot be read or written.
            Cancelled: `cancelled` was set.
        """
        touched: set[str] = set()
        for path in changes.removed:
            check(self._cancelled)
            with self._target.parent("/" + path) as (fd, name):
                remove_tree(fd, name, path)
            touched.add(posixpath.dirname(path))
        with Holder(self._source) as reading, Holder(self._target) as writing:
            for path in changes.written:
                check(self._cancelled)
                row = self._manifest.get(path)
                if row is None:
                    continue
                touched.add(posixpath.dirname(path))
                if row.is_dir:
                    touched.add(path)
                    fd, name = writing.at(path)
                    if Root.at(fd).lstat(name) is None:
                        make_dir(fd, name, 0o700, path)
                    continue
                fd, name = writing.at(path)
                if path in old:
                    remove_tree(fd, name, path)
                self._write(row, reading, writing)
        # Last and from below, for every entry made in a directory changes its times.
        with Holder(self._source) as reading, Holder(self._target) as writing:
            for path in sorted(touched, reverse=True):
                row = self._manifest.get(path)
                if row is not None:
                    self._finish_dir(row, reading, writing)

    def _finish_dir(self, row: Row, reading: Holder, writing: Holder) -> None:
        fd, name = writing.at(row.path)
        try:
            self._attributes(*reading.at(row.path), fd, name)
        except (FileError, UnsafePath):
            pass  # gone meanwhile; its entries are there
        self._metadata(row, fd, name)

    def _write(self, row: Row, reading: Holder, writing: Holder) -> None:
        path = row.path
        fd, name = writing.at(path)
        if path in self._held:
            self._hold(row, self._held[path], fd, name)
            return
        kind = stat.S_IFMT(row.mode)
        first = self._manifest.get(row.same_as) if row.same_as else None
        if first is not None:
            with self._target.parent("/" + first.path) as (first_fd, first_name):
                try:
                    os.link(first_name, name, src_dir_fd=first_fd, dst_dir_fd=fd, follow_symlinks=False)
                except OSError as error:
                    raise FileError(f"failed to link {path} to {first.path}: {explain(error)}") from error
            return
        if kind == stat.S_IFLNK:
            try:
                os.symlink(row.link, name, dir_fd=fd)
            except OSError as error:
                raise failed("symlink", path, error, wrap=f"failed to symlink {path}") from error
            self._metadata(row, fd, name)
            return
        try:
            source_fd, source_name = reading.at(path)
        except (FileError, UnsafePath):
            del self._manifest[path]
            return
        if kind == stat.S_IFREG:
            self._file(row, source_fd, source_name, fd, name)
        else:
            meta.make_node(fd, name, kind, row.size, stat.S_IMODE(row.mode), path)
            self._metadata(row, fd, name)

    def _hold(self, row: Row, data: bytes, fd: int, name: str) -> None:
        try:
            with os.fdopen(os.open(name, _CREATE, 0o600, dir_fd=fd), "wb") as target:
                target.write(data)
        except OSError as error:
            raise failed("write", row.path, error) from error
        self._metadata(row, fd, name)

    def _file(self, row: Row, source_fd: int, source_name: str, fd: int, name: str) -> None:
        opened = self._open(row, source_fd, source_name)
        if opened is None:
            del self._manifest[row.path]
            return
        source, status = opened
        try:
            target = os.open(name, _CREATE, 0o600, dir_fd=fd)
            try:
                row, data = self._data(row, status, source, target)
                settled = self._settled(row, source, target)
            finally:
                os.close(target)
        except OSError as error:
            raise failed("write", row.path, error) from error
        finally:
            os.close(source)
        self._manifest[row.path] = row
        if not settled:
            self._attributes(source_fd, source_name, fd, name)
            self._metadata(row, fd, name)
        elif data is not None and len(data) == row.size:  # nothing but data and mode tells it from another
            digest = filehash.begin(stat.S_IFREG, row.mode & 0o7777, _ROOT, row.size, {})
            digest.update(data)
            self.known[row.path] = digest.digest(), Seen(row.mode, 0, 0, zlib.crc32(data))

    def _settled(self, row: Row, source: int, target: int) -> bool:
        """Give an open file its metadata, without a walk to it, where nothing about it is special."""
        try:
            if not self._own or os.listxattr(source):
                return False
            os.fchmod(target, stat.S_IMODE(row.mode))
            os.utime(target, ns=(row.mtime, row.mtime))
        except OSError:
            return False
        return True

    def _open(self, row: Row, fd: int, name: str) -> tuple[int, os.stat_result] | None:
        """The user's file for reading, and its status; a socket counts as an empty file. None if it is gone meanwhile, or
        no file any more.
        """
        try:
            opened = os.open(name, _READ, dir_fd=fd)
        except OSError as error:
            if error.errno == errno.ENXIO:
                opened = os.open(os.devnull, _READ)
                return opened, os.fstat(opened)
            if error.errno in _GONE:
                return None
            raise failed("open", row.path, error, wrap="error from sender") from error
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            os.close(opened)
            return None
        return opened, status

    def _data(self, row: Row, status: os.stat_result, source: int, target: int) -> tuple[Row, bytes | None]:
        """Copy the data; the row as it is then, and the data where it has passed through here."""
        if stat.S_ISCHR(status.st_mode):  # the empty file that stands for a socket
            return row, b""
        started = time.time_ns()
        data = self._contents.copy(source, target, status)
        self._copied += status.st_size
        self._report(self._copied)
        after = os.fstat(source)
        racy = (after.st_mtime_ns, after.st_ctime_ns, after.st_size) != (
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_size,
        ) or max(status.st_mtime_ns, status.st_ctime_ns) > started - _RACY_NS
        found = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        if not racy and found == (row.mode, row.size, row.mtime, row.ctime, row.inode):
            return row, data
        return replace(Row.of(Entry(row.path, status, same_as=row.same_as)), racy=racy), data

    @staticmethod
    def _attributes(source_fd: int, source_name: str, fd: int, name: str) -> None:
        try:
            values = meta.read_xattrs(source_fd, source_name)
        except OSError:
            return
        wanted = {key: value for key, value in values.items() if marks.is_content_attribute(key)}
        if wanted:
            meta.write_xattrs(fd, name, wanted)

    def _metadata(self, row: Row, fd: int, name: str) -> None:
        if not self._own:
            meta.chown(fd, name, Owner(0, 0), row.path)
        if not stat.S_ISLNK(row.mode):
            meta.chmod(fd, name, stat.S_IMODE(row.mode), row.path)
        meta.utime(fd, name, (row.mtime, row.mtime), row.path)


# --- digests --------------------------------------------------------------------------------------


_NODES = {stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: LINK}


def digest_tree(
    manifest: Manifest, changes: Changes, before: Node | None, known: Mapping[str, Known] | None = None
) -> Node:
    """The tree of the new snapshot, with the digests of the old one where nothing has changed, and those of the files
    that are `known` by path.

    The root itself counts as nothing: it is not part of what the user sends.
    """
    learned = known or {}
    root = Node.directory()
    root.own = hashlib.sha256(b"").digest()
    root.children = {}
    nodes: dict[str, Node] = {"": root}
    old: dict[str, Node | None] = {"": before}
    stale = _with_directories((*changes.written, *changes.removed))
    written = frozenset(changes.written)
    for path, row in manifest.items():
        directory, _, name = path.rpartition("/")
        kind = _NODES.get(stat.S_IFMT(row.mode), FILE)
        node = Node(kind, row.link)
        is_dir = kind == DIRECTORY
        if is_dir:
            node.children = {}
        above = nodes[directory].children
        assert above is not None
        above[name] = node
        parent = old[directory]
        earlier = (parent.children or {}).get(name) if parent is not None else None
        if is_dir:
            nodes[path], old[path] = node, earlier
        if path in learned:
            node.own, node.seen = learned[path]
            continue
        if earlier is None or earlier.kind != kind or path in written:
            continue
        node.own, node.seen = earlier.own, earlier.seen
        if is_dir and path not in stale:
            node.tree = earlier.tree
    if before is not None and "" not in stale:
        root.tree = before.tree
    return root


def _with_directories(paths: Iterable[str]) -> frozenset[str]:
    """The paths and all directories above them, the root as ""."""
    found: set[str] = set()
    for path in paths:
        while path not in found:
            found.add(path)
            path = posixpath.dirname(path)
    return frozenset(found)


def rows_of(entries: Sequence[Entry] | Iterable[Entry]) -> Manifest:
    """The manifest of the entries of a walk."""
    return {entry.path: Row.of(entry) for entry in entries}


def outlined(manifest: Manifest, outline: Outline) -> Manifest:
    """What an outline chose of a manifest, and its list. The list's inode stands for its content, so that another one is
    a changed file.
    """
    found: Manifest = {}
    for path, row in manifest.items():
        if path in outline.chosen:
            first = outline.firsts.get(path, path)
            found[path] = replace(row, same_as="" if first == path or first not in found else first)
    mark = int.from_bytes(hashlib.sha256(outline.data).digest()[:7], "big")
    found[NAME] = Row(NAME, stat.S_IFREG | 0o644, len(outline.data), outline.mtime, 0, mark)
    return found
