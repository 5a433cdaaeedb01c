"""Copying single files with everything that belongs to them: data, holes, owner, mode, times, attributes."""

# ruff: noqa: PTH101, PTH115, PTH211 - paths hang on descriptors: no Path per file
from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from dockc.runtime.fsutil import marks
from dockc.runtime.fsutil.dirs import every_dir
from dockc.runtime.fsutil.inroot import entries

_FICLONE = 0x40049409
_BLOCK = 1 << 20
_NO_CLONE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.ETXTBSY)
_NO_RANGE = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)


def copy_file(source: str, status: os.stat_result, target: str) -> None:
    """Copy a file that is not a directory, of any type, to a path where nothing is yet.

    Sockets are not copied: they mean nothing without their process.
    """
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFSOCK:
        return
    if kind == stat.S_IFREG:
        _copy_data(source, target)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(source), target)
    else:
        os.mknod(target, kind | 0o600, status.st_rdev)
    copy_attributes(source, status, target)


def copy_attributes(source: str, status: os.stat_result, target: str) -> None:
    """Give `target` the owner, mode, extended attributes and times of `source`."""
    made = os.lstat(target)
    marks.copy_node(source, status, target)
    marks.set_owner(target, *marks.owner_of(source, status), made)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))
    copy_extended(source, target)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def copy_extended(source: str, target: str) -> None:
    """Copy the extended attributes of the content."""
    try:
        names = os.listxattr(source, follow_symlinks=False)
    except OSError:
        return
    for name in names:
        if marks.is_content_attribute(name):
            marks.set_attribute(target, name, os.getxattr(source, name, follow_symlinks=False))


def _copy_data(source: str, target: str) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if not _clone(reading, writing):
                _copy_pieces(reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _clone(reading: int, writing: int) -> bool:
    """Share the blocks (btrfs, xfs): nothing is copied until one side is written."""
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
    except OSError as error:
        if error.errno not in _NO_CLONE:
            raise
        return False
    return True


def _copy_pieces(reading: int, writing: int) -> None:
    """Copy the pieces that hold data; holes stay holes."""
    size = os.fstat(reading).st_size
    at = 0
    while at < size:
        try:
            begin = os.lseek(reading, at, os.SEEK_DATA)
            end = os.lseek(reading, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break  # a hole to the end
            begin, end = at, size
        _copy_range(reading, writing, begin, end)
        at = end
    os.ftruncate(writing, size)


def _copy_range(reading: int, writing: int, begin: int, end: int) -> None:
    at = begin
    try:
        while at < end:
            copied = os.copy_file_range(reading, writing, end - at, at, at)
            if copied == 0:
                break
            at += copied
    except OSError as error:
        if error.errno not in _NO_RANGE:
            raise
    while at < end:
        data = os.pread(reading, min(_BLOCK, end - at), at)
        if not data:
            return
        view = memoryview(data)
        while view:
            written = os.pwrite(writing, view, at)
            view = view[written:]
            at += written


def drop_marks(tree: Path) -> None:
    """Remove from a tree what a step can make there and a layer reads as a mark: nodes 0/0, attributes of overlayfs."""
    for folder in every_dir(tree):
        place = f"/proc/self/fd/{folder}/"
        marks.drop_store_attributes(f"{place}.", os.fstat(folder))
        for name in entries(folder):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                os.unlink(name, dir_fd=folder)
            elif not stat.S_ISDIR(status.st_mode):
                marks.drop_store_attributes(place + name, status)
