"""Moving file contents between descriptors without taking them through the interpreter."""

from __future__ import annotations

import errno
import os
import threading

from dockc.runtime.fsutil.failure import check

_CHUNK = 64 << 20
_BUFFER = 1 << 20
_TRY_OTHERWISE = frozenset(
    {errno.ENOSYS, errno.EXDEV, errno.EPERM, errno.EIO, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
)


def copy_data(source: int, target: int, status: os.stat_result, cancelled: threading.Event | None = None) -> None:
    """Copy all of `source` into the empty file `target`: shared blocks where the file system can, holes
    stay holes.

    Args:
        source: open for reading.
        target: open for writing, at its start.
        status: of `source`.
        cancelled: looked at between chunks.

    Raises:
        OSError: as the system says.
        Cancelled: `cancelled` was set.
    """
    size = status.st_size
    if size == 0:
        return
    if status.st_blocks * 512 < size and size > 1 << 16 and _copy_sparse(source, target, size, cancelled):
        return
    _copy_range(source, target, 0, size, cancelled)


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
