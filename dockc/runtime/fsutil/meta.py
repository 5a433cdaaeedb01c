"""Owner, mode, times and extended attributes of entries of an open directory; links are never followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from dockc.runtime.fsutil.failure import FileError, failed

_NO_XATTRS = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODATA})


def chown(fd: int, name: str, uid: int, gid: int, shown: str, *, wrap: str = "") -> None:
    """Change the owner of an entry."""
    try:
        os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise FileError(
                f"{wrap + ': ' if wrap else ''}lchown {shown}: invalid argument",
                number=error.errno,
                hint=f"Owner {uid}:{gid} has no place in the user namespace: "
                "add ranges for this user to /etc/subuid and /etc/subgid.",
            ) from error
        raise failed("lchown", shown, error, wrap=wrap) from error


def chmod(fd: int, name: str, mode: int, shown: str, *, wrap: str = "") -> None:
    """Change the permission bits of an entry that is not a link."""
    try:
        os.chmod(name, mode, dir_fd=fd)
    except OSError as error:
        raise failed("chmod", shown, error, wrap=wrap) from error


def utime(fd: int, name: str, times_ns: tuple[int, int], shown: str) -> None:
    """Set access and modification time, in nanoseconds."""
    try:
        os.utime(name, ns=times_ns, dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        raise FileError(f"failed to utime {shown}: {os.strerror(error.errno or 0).lower()}") from error


def read_xattrs(fd: int, name: str) -> dict[str, bytes]:
    """All extended attributes of an entry that can be read; empty where the file system has none."""
    path = f"/proc/self/fd/{fd}/{name}"
    try:
        keys = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_XATTRS or error.errno == errno.EPERM:
            return {}
        raise
    found: dict[str, bytes] = {}
    for key in keys:
        try:
            found[key] = os.getxattr(path, key, follow_symlinks=False)
        except OSError:
            continue
    return found


def write_xattrs(fd: int, name: str, values: Mapping[str, bytes]) -> list[str]:
    """Set extended attributes; those that the target refuses are left out and named in the answer.

    A file system that cannot hold an attribute, or a user who may not set it, does not fail the copy.
    """
    refused: list[str] = []
    path = f"/proc/self/fd/{fd}/{name}"
    for key, value in values.items():
        try:
            os.setxattr(path, key, value, follow_symlinks=False)
        except OSError:
            refused.append(key)
    return refused


def copy_xattrs(source: int, source_name: str, target: int, target_name: str) -> None:
    """Copy the extended attributes that can be read and set."""
    values = read_xattrs(source, source_name)
    if values:
        write_xattrs(target, target_name, values)


def make_node(fd: int, name: str, status: os.stat_result, shown: str) -> None:
    """Make a device or a pipe like the one with `status`; a socket becomes an empty file."""
    mode = status.st_mode
    kind = stat.S_IFREG if stat.S_ISSOCK(mode) else stat.S_IFMT(mode)
    device = status.st_rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0
    try:
        os.mknod(name, kind | stat.S_IMODE(mode), device, dir_fd=fd)
    except OSError as error:
        hint = "Device nodes can only be made by root." if error.errno == errno.EPERM else ""
        raise FileError(
            f"failed to create device: {os.strerror(error.errno or 0).lower()}", number=error.errno or 0, hint=hint
        ) from error
