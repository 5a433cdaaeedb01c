"""openat2(2): the kernel walks a whole path under rules of ours, in one call (Linux 5.6)."""

from __future__ import annotations

import ctypes
import errno
import os
import sys

NO_MAGICLINKS = 0x02
NO_SYMLINKS = 0x04
IN_ROOT = 0x10
MISSING = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL})
"""What a kernel, or a sandbox around us, answers that does not have the call."""

_NUMBER = 437
_TRIES = 32
if sys.platform == "linux":
    _libc = ctypes.CDLL(None, use_errno=True)


def openat2(dir_fd: int, path: bytes, flags: int, resolve: int) -> int:
    """Open `path` below an open directory.

    Args:
        dir_fd: where a relative path begins.
        path: shorter than PATH_MAX.
        flags: of open(2); nothing is created.
        resolve: rules for every component: the constants of this module.

    Raises:
        OSError: as the kernel says; an errno of `MISSING` may mean that there is no such call, EAGAIN that a `..` could
            not be followed safely for all the renaming that goes on.
    """
    if sys.platform != "linux":  # the number would be another call there
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), path)
    how = (ctypes.c_uint64 * 3)(flags, 0, resolve)  # struct open_how
    code = 0
    for _ in range(_TRIES):
        descriptor = _libc.syscall(
            ctypes.c_long(_NUMBER),
            ctypes.c_int(dir_fd),
            path,
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if descriptor >= 0:
            return int(descriptor)
        code = ctypes.get_errno()
        if code != errno.EAGAIN:  # something on this machine was renamed or mounted meanwhile, wherever: "may retry"
            break
    raise OSError(code, os.strerror(code), path)
