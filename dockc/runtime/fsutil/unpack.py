"""`ADD` of a local archive: recognised by its content, unpacked with the destination as its root.

Formats: tar, plain or compressed with gzip, bzip2, xz or zstd. Names and links of the archive are read as
if the destination were `/`, so nothing is written outside it. There are no whiteouts here: this is no image
layer.
"""

from __future__ import annotations

import os
import posixpath
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dockc.errors import StoreError
from dockc.runtime.archive import tarheader
from dockc.runtime.archive.compress import Decompressor
from dockc.runtime.archive.limits import Limits, check_room
from dockc.runtime.archive.tarheader import Member, TarReader
from dockc.runtime.fsutil import meta
from dockc.runtime.fsutil.copyentry import CopyOptions
from dockc.runtime.fsutil.dirs import make_dir, make_dirs
from dockc.runtime.fsutil.failure import FileError, check, explain, failed
from dockc.runtime.fsutil.inroot import Root, open_entry, remove_tree
from dockc.runtime.fsutil.users import Owner

if TYPE_CHECKING:
    from dockc.oci.digest import Reader

_BLOCK = 1 << 20
_DAMAGED = (StoreError, OSError)
_NODES = {
    tarheader.CHAR: stat.S_IFCHR,
    tarheader.BLOCK_DEVICE: stat.S_IFBLK,
    tarheader.FIFO: stat.S_IFIFO,
}
_MAX_TIME = (1 << 63) - 1


def unpack(source: Root, src: str, target: Root, dst: str, options: CopyOptions) -> bool:
    """Unpack `src` into the directory `dst` if it is an archive.

    Returns:
        Whether it is; False leaves everything as it was.

    Raises:
        FileError: it is an archive, and cannot be unpacked.
    """
    path = source.resolve(src)
    status = source.lstat(path)
    if status is None or not stat.S_ISREG(status.st_mode):
        return False
    with source.parent(path) as (fd, name):
        file = open_entry(fd, name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, path)
    with os.fdopen(file, "rb") as stream:
        if not _is_archive(stream, options.cancelled):
            return False
        stream.seek(0)
        where = target.resolve(dst)
        make_dirs(target, where, 0o755, options.owner, options.time_ns)
        fd = target.open_dir(where)
        try:
            inner = Root.at(fd)
            _Unpacker(inner, options.owner, options.cancelled).run(archive_reader(stream, options.cancelled))
        except _DAMAGED as error:
            message = explain(error) if isinstance(error, OSError) else str(error)
            raise FileError(f"failed to unpack {path}: {message}") from error
        finally:
            os.close(fd)
    return True


def unpack_plain(stream: Reader, target: Path, *, cancelled: threading.Event | None = None) -> None:
    """Unpack an uncompressed archive that anyone may have made into the directory `target`; devices are refused.

    Raises:
        FileError: it holds a device, or leads out of the directory; or a file cannot be made.
        InvalidTar: it is no archive.
    """
    with Root(target) as root:
        _Unpacker(root, None, cancelled, devices=False).run(TarReader(stream, cancelled=cancelled))


def _is_archive(stream: BinaryIO, cancelled: threading.Event | None) -> bool:
    """Whether a first member can be read, whatever comes of the rest: an archive that is damaged is one, too."""
    plain = Decompressor(stream, archives=True, cancelled=cancelled, block=tarheader.BLOCK)
    try:
        return next(iter(TarReader(plain, cancelled=cancelled)), None) is not None
    except _DAMAGED:
        return False


def archive_reader(stream: Reader, cancelled: threading.Event | None = None) -> TarReader:
    """The members of an archive; what it is compressed with is told by its first bytes."""
    return TarReader(Decompressor(stream, archives=True, cancelled=cancelled), cancelled=cancelled)


class _Unpacker:
    def __init__(
        self, root: Root, owner: Owner | None, cancelled: threading.Event | None, *, devices: bool = True
    ) -> None:
        self.root = root
        self.owner = owner
        self.cancelled = cancelled
        self.devices = devices
        self.directories: list[tuple[str, int]] = []

    def run(self, reader: TarReader) -> None:
        limits, total = Limits(), 0
        for number, member in enumerate(reader, 1):
            check(self.cancelled)
            total += member.real_size
            if total > limits.total or number > limits.entries:
                raise FileError(f"more than {limits.total} bytes or {limits.entries} entries")
            self._member(reader, member)
        # Last, for entries made in a directory change its times.
        for path, mtime in self.directories:
            status = self.root.lstat(path)
            if status is not None and stat.S_ISDIR(status.st_mode):
                with self.root.parent(path) as (fd, name):
                    meta.utime(fd, name, (mtime, mtime), path)

    def _member(self, reader: TarReader, member: Member) -> None:
        if not self.devices and member.kind in (tarheader.CHAR, tarheader.BLOCK_DEVICE):
            raise FileError(f"{member.name} is a device")
        path = self.root.resolve_parent(member.name)
        directory = member.kind == tarheader.DIRECTORY
        there = self.root.lstat(path)
        if path == "/" and posixpath.normpath(member.name) == ".":
            return
        if path == "/" and not directory:
            raise FileError(f"cannot replace the root with {member.name}")
        if self.root.lstat(posixpath.dirname(path)) is None:
            self._refuse_dangling(member.name)
            make_dirs(self.root, posixpath.dirname(path), 0o755, Owner(0, 0), None)
        with self.root.parent(path) as (fd, name):
            merge = directory and there is not None and stat.S_ISDIR(there.st_mode)
            if there is not None and not merge:
                remove_tree(fd, name, path)
            if directory:
                if not merge:
                    make_dir(fd, name, 0o700, path)
                self.directories.append((path, self._time(member)))
            else:
                self._make(reader, member, fd, name, path)
            self._metadata(member, fd, name, path)

    def _refuse_dangling(self, name: str) -> None:
        """A directory is not made through a link that leads nowhere."""
        here = "/"
        for part in posixpath.normpath(posixpath.join("/", name)).split("/")[1:-1]:
            here = posixpath.join(here, part)
            literal = self.root.lstat(self.root.resolve_parent(here))
            if literal is not None and self.root.lstat(self.root.resolve(here)) is None:
                raise FileError(f"mkdir {here}: file exists")

    def _make(self, reader: TarReader, member: Member, fd: int, name: str, path: str) -> None:
        if member.kind == tarheader.REGULAR:
            self._file(reader, member, fd, name, path)
        elif member.kind == tarheader.SYMLINK:
            try:
                os.symlink(member.linkname, name, dir_fd=fd)
            except OSError as error:
                raise failed("symlink", f"{member.linkname} {path}", error) from error
        elif member.kind == tarheader.HARDLINK:
            first = self.root.resolve_parent(member.linkname)
            with self.root.parent(first, "link") as (first_fd, first_name):
                try:
                    os.link(first_name, name, src_dir_fd=first_fd, dst_dir_fd=fd, follow_symlinks=False)
                except OSError as error:
                    raise failed("link", f"{first} {path}", error) from error
        elif member.kind in _NODES:
            device = os.makedev(member.major & 0xFFF, member.minor & 0xFFFFF)  # as the kernel has them
            meta.make_node(fd, name, _NODES[member.kind], device, member.mode & 0o7777, path)
        else:
            raise FileError(f"unhandled tar header type {ord(member.kind)}")

    def _file(self, reader: TarReader, member: Member, fd: int, name: str, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.open(name, flags, 0o600, dir_fd=fd)
        except OSError as error:
            raise failed("open", path, error) from error
        pieces = member.sparse if member.sparse is not None else [(0, member.size)]
        try:
            check_room(file, member.size)
            if member.sparse is not None:
                os.ftruncate(file, member.real_size)
            for at, length in pieces:
                while length:
                    check(self.cancelled)
                    view = memoryview(reader.read(min(_BLOCK, length)))
                    if not view:
                        raise FileError(f"failed to unpack {path}: unexpected end of archive")
                    length -= len(view)
                    while view:
                        written = os.pwrite(file, view, at)
                        at += written
                        view = view[written:]
        except OSError as error:
            raise failed("write", path, error) from error
        finally:
            os.close(file)

    def _metadata(self, member: Member, fd: int, name: str, path: str) -> None:
        owner = self.owner or Owner(member.uid, member.gid)
        wrap = f'failed to Lchown "{path}" for UID {member.uid}, GID {member.gid}'
        meta.chown(fd, name, owner, path, wrap=wrap)
        if member.xattrs:
            meta.write_xattrs(fd, name, member.xattrs, path)
        link = member.kind == tarheader.SYMLINK
        if member.kind == tarheader.HARDLINK:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            link = stat.S_ISLNK(status.st_mode)
        if not link:
            meta.chmod(fd, name, member.mode & 0o7777, path)
        time = self._time(member)
        meta.utime(fd, name, (time, time), path)

    @staticmethod
    def _time(member: Member) -> int:
        """The member's time; the epoch where it cannot be a file's."""
        return member.mtime if 0 <= member.mtime <= _MAX_TIME else 0
