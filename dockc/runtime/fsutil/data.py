"""Moving file contents between descriptors without taking them through the interpreter."""

from __future__ import annotations

import errno
import fcntl
import os
import threading

from dockc.runtime.fsutil.failure import check

_CHUNK = 64 << 20
_BUFFER = 1 << 20
_SMALL = 1 << 16
"""Bytes of a file that is rather read and written than handed to the kernel, whose own ways take more turns for it."""
_FICLONE = 0x40049409
_TRY_OTHERWISE = frozenset(
    {errno.ENOSYS, errno.EXDEV, errno.EPERM, errno.EIO, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
)


class Contents:
    """Copies the contents of files, one after the other, all from one file system to one: shared blocks where the two can,
    holes stay holes.

    Mutable state: `_shares`, whether they can, as the first small file has shown.
    """

    def __init__(self, cancelled: threading.Event | None = None) -> None:
        """`cancelled` is looked at between chunks."""
        self._cancelled = cancelled
        self._shares: bool | None = None

    def copy(self, source: int, target: int, status: os.stat_result) -> bytes | None:
        """Copy all of `source` into the empty file `target`; what is in both now, where that has passed through here.

        Args:
            source: open for reading, at its start.
            target: open for writing, at its start.
            status: of `source`.

        Raises:
            OSError: as the system says.
            Cancelled: `cancelled` was set.
        """
        size = status.st_size
        if 0 < size <= _SMALL and not self._shares:
            if self._shares is None:
                self._shares = _cloned(source, target)
                if self._shares:
                    return None
            return _through(source, target, size)
        if size:
            sparse = status.st_blocks * 512 < size and size > _SMALL
            if not (sparse and _copy_sparse(source, target, size, self._cancelled)):
                _copy_range(source, target, 0, size, self._cancelled)
            return None
        return b""


def _cloned(source: int, target: int) -> bool:
    """Let a file share all blocks of another; False where the file system cannot, or the two lie on different ones."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _through(source: int, target: int, size: int) -> bytes:
    """Copy a few bytes by way of the interpreter; fewer where the file has become shorter."""
    data = os.read(source, size)
    while len(data) < size and (more := os.read(source, size - len(data))):
        data += more
    write_all(target, data)
    return data


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however many turns the system takes.

    Raises:
        OSError: as the system says.
    """
    done = os.write(descriptor, data) if data else 0
    while done < len(data):
        done += os.write(descriptor, memoryview(data)[done:])


def _copy_range(source: int, target: int, start: int, end: int, cancelled: threading.Event | None) -> None:
    at = start
    while at < end:
        check(cancelled)
        try:
            count = os.copy_file_range(source, target, min(end - at, _CHUNK), at, at)
        except OSError as error:
            if error.errno not in _TRY_OTHERWISE or at != start:
                raise
            _send(source, target, at, end, cancelled)
            return
        if count == 0:  # the file has become shorter
            return
        at += count


def _send(source: int, target: int, at: int, end: int, cancelled: threading.Event | None) -> None:
    os.lseek(target, at, os.SEEK_SET)
    try:
        while at < end:
            check(cancelled)
            count = os.sendfile(target, source, at, min(end - at, _CHUNK))
            if count == 0:
                return
            at += count
        return
    except OSError as error:
        if error.errno not in _TRY_OTHERWISE:
            raise
    while at < end:
        check(cancelled)
        block = os.pread(source, min(_BUFFER, end - at), at)
        if not block:
            return
        view = memoryview(block)
        while view:
            count = os.pwrite(target, view, at)
            at += count
            view = view[count:]


def _copy_sparse(source: int, target: int, size: int, cancelled: threading.Event | None) -> bool:
    """Copy only the parts that hold data; False if the file system cannot tell them."""
    at = 0
    try:
        os.ftruncate(target, size)
        while at < size:
            try:
                start = os.lseek(source, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    return True
                raise
            at = os.lseek(source, start, os.SEEK_HOLE)
            _copy_range(source, target, start, at, cancelled)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP) and at == 0:
            return False
        raise
    return True
