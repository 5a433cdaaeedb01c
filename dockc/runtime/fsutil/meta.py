"""Owner, mode, times and extended attributes of entries of an open directory; links are never followed.

Where a user namespace cannot give files to an owner or make devices, the store remembers those facts in
attributes (`runtime.fsutil.marks`); they are read and written here as what they stand for.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from dockc.base.record import Record
from dockc.runtime.fsutil import marks
from dockc.runtime.fsutil.failure import FileError, explain, failed
from dockc.runtime.fsutil.users import Owner

_NO_XATTRS = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODATA, errno.EPERM})
_MARKED = frozenset({stat.S_IFREG, stat.S_IFDIR})


class Facts(Record):
    """What an entry is, beyond its status.

    Attributes:
        owner: the owner it has or ought to have.
        xattrs: extended attributes that belong to it, those of the store left out.
    """

    owner: Owner
    xattrs: Mapping[str, bytes]


def chown(fd: int, name: str, owner: Owner, shown: str, *, wrap: str = "") -> None:
    """Change the owner of an entry, or remember it where the namespace lacks the ids."""
    forget_owner(fd, name)
    try:
        if marks.stands_for_node(_path(fd, name)):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        os.chown(name, owner.uid, owner.gid, dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EINVAL):
            raise failed("lchown", shown, error, wrap=wrap) from error
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            marks.set_owner(_path(fd, name), owner.uid, owner.gid, status)
        except OSError:
            raise failed("lchown", shown, error, wrap=wrap) from error


def forget_owner(fd: int, name: str) -> None:
    """Take away an owner that was remembered, before another one is given."""
    marks.forget_owner(_path(fd, name))


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
        raise FileError(f"failed to utime {shown}: {explain(error)}", number=error.errno or 0) from error


def read_facts(fd: int, name: str, status: os.stat_result) -> Facts:
    """Owner and extended attributes of an entry.

    Raises:
        OSError: the attributes cannot be listed.
    """
    values = read_xattrs(fd, name)
    owner = Owner(status.st_uid, status.st_gid)
    if not values:
        return Facts(owner, values)
    if any(key.endswith(marks.OWNER) for key in values) and stat.S_IFMT(status.st_mode) in _MARKED:
        owner = Owner(*marks.owner_of(_path(fd, name), status))
    return Facts(owner, {key: value for key, value in values.items() if not key.startswith(marks.STORE_PREFIXES)})


def read_xattrs(fd: int, name: str) -> dict[str, bytes]:
    """All extended attributes of an entry that can be read; empty where the file system has none."""
    path = _path(fd, name)
    try:
        keys = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return {}
        raise
    found: dict[str, bytes] = {}
    for key in keys:
        try:
            found[key] = os.getxattr(path, key, follow_symlinks=False)
        except OSError:
            continue
    return found


def write_xattrs(fd: int, name: str, values: Mapping[str, bytes], shown: str = "") -> list[str]:
    """Set extended attributes; those that the target refuses are left out and named in the answer.

    A file system that cannot hold an attribute, or a user who may not set it, does not fail the copy. What would mean
    something to the store or to overlayfs is not taken from anywhere.

    Raises:
        FileError: a `shown` path was given, and an attribute is none that any file system would take.
    """
    refused: list[str] = []
    path = _path(fd, name)
    for key, value in values.items():
        if key.startswith(marks.STORE_PREFIXES):
            refused.append(key)
            continue
        try:
            os.setxattr(path, key, value, follow_symlinks=False)
        except OSError as error:
            if shown and error.errno not in marks.CANNOT:
                raise failed("lsetxattr", f'{shown}: xattr "{key}"', error) from error
            refused.append(key)
    return refused


def node_of(fd: int, name: str, status: os.stat_result) -> tuple[int, int] | None:
    """Kind and number of a device, real or remembered; None for anything else."""
    if stat.S_ISREG(status.st_mode) and status.st_size:
        return None
    return marks.node_of(_path(fd, name), status)


def make_node(fd: int, name: str, kind: int, device: int, mode: int, shown: str) -> None:
    """Make a device or a pipe; a socket becomes an empty file.

    Args:
        fd: the directory.
        name: the entry, which must not be there.
        kind: `S_IFCHR`, `S_IFBLK`, `S_IFIFO` or `S_IFSOCK`.
        device: the device number.
        mode: permission bits.
        shown: the path for messages.
    """
    try:
        if kind == stat.S_IFSOCK:
            os.mknod(name, stat.S_IFREG | 0o600, dir_fd=fd)
        else:
            marks.make_node(name, kind, device, fd)
        os.chmod(name, mode, dir_fd=fd)
    except OSError as error:
        raise FileError(
            f"failed to create device: {explain(error)}", number=error.errno or 0, hint=f"This is for {shown}."
        ) from error


def _path(fd: int, name: str) -> str:
    return f"/proc/self/fd/{fd}/{name}"
