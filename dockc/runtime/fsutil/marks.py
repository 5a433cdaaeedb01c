"""The marks in a change directory: whiteouts, opaque directories, and what the kernel would not let us make.

A process whose user namespace maps one id only cannot give files to others, and no process in a user namespace
makes device nodes. Such facts are kept in extended attributes of the file (`user.dockc.owner`,
`user.dockc.node`), travel with it when overlayfs copies it up, and are written back into the layer's tar.
Symbolic links cannot carry `user.` attributes: in a single-id namespace they lose their owner.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

CAPABILITY = "security.capability"
OWNER = "user.dockc.owner"
NODE = "user.dockc.node"
_WHITEOUT = "user.dockc.whiteout"
_OPAQUE_NAMES = ("trusted.overlay.opaque", "user.overlay.opaque")
_HIDDEN_PREFIXES = ("trusted.", "user.overlay.", "user.dockc.", "system.", "security.selinux", "security.ima",
                    "security.evm", "security.apparmor", "security.SMACK")  # fmt: skip
_CANNOT = (errno.EPERM, errno.EINVAL, errno.ENOTSUP)


def is_whiteout(path: str, status: os.stat_result) -> bool:
    """Whether the entry says that what is below it is gone."""
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev == 0
    # The other form is rare: only a file that nobody may use at all is looked at twice.
    return status.st_mode == stat.S_IFREG and status.st_size == 0 and _get(path, _WHITEOUT) == b"y"


def make_whiteout(name: str, dir_fd: int) -> None:
    """Make a whiteout; where devices cannot be made (a store on overlayfs), an empty file with an attribute.

    No overlay is ever mounted on such a file system, so that only the store itself has to understand it.
    """
    try:
        os.mknod(name, stat.S_IFCHR | 0o000, 0, dir_fd=dir_fd)
    except PermissionError:
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0, dir_fd=dir_fd)
        try:
            os.setxattr(descriptor, _WHITEOUT, b"y")
            os.fchmod(descriptor, 0)
        finally:
            os.close(descriptor)


def opaque_attribute(store: Path) -> str:
    """The attribute that overlayfs reads here: `trusted.` where we may write it, else `user.`."""
    probe = store / ".xattr-probe"
    probe.mkdir(exist_ok=True)
    try:
        os.setxattr(probe, _OPAQUE_NAMES[0], b"y")
    except OSError:
        return _OPAQUE_NAMES[1]
    finally:
        probe.rmdir()
    return _OPAQUE_NAMES[0]


def is_opaque(path: str | int) -> bool:
    """Whether the directory (path or readable descriptor) hides everything below it."""
    try:
        names = os.listxattr(path) if isinstance(path, int) else os.listxattr(path, follow_symlinks=False)
    except OSError:
        return False
    return any(name in names and _get(path, name) == b"y" for name in _OPAQUE_NAMES)


def set_opaque(path: str, attribute: str) -> None:
    """Let the directory hide everything below it."""
    os.setxattr(path, attribute, b"y", follow_symlinks=False)


def _get(path: str | int, name: str) -> bytes:
    try:
        if isinstance(path, int):
            return os.getxattr(path, name)
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return b""


def is_content_attribute(name: str) -> bool:
    """Whether an extended attribute is part of a file's content, not of the machine or of the store."""
    return name == CAPABILITY or (name.startswith("user.") and not name.startswith(_HIDDEN_PREFIXES))


def capability(path: str) -> bytes:
    """The file capabilities, the one extended attribute that image layers keep; empty where there are none."""
    return _get(path, CAPABILITY)


def content_attributes(path: str) -> dict[str, bytes]:
    """The extended attributes that belong to the file's content, sorted by name."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    return {name: _get(path, name) for name in sorted(names) if is_content_attribute(name)}


def set_attribute(path: str, name: str, value: bytes) -> None:
    """Set an attribute of a file that comes from outside; file systems without it are tolerated."""
    if not is_content_attribute(name):
        return
    try:
        os.setxattr(path, name, value, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


def set_owner(path: str, uid: int, gid: int, status: os.stat_result) -> None:
    """Give a file to an owner; where the namespace lacks the ids, remember them instead.

    `status` is the file's present state (its owner and type). Set the mode after this call: chown clears
    setuid bits.
    """
    if (status.st_uid, status.st_gid) == (uid, gid):
        return
    try:
        os.chown(path, uid, gid, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            _remember_owner(path, uid, gid)


def _remember_owner(path: str, uid: int, gid: int) -> None:
    try:
        os.setxattr(path, OWNER, b"%d:%d" % (uid, gid), follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOTSUP:  # a file system without attributes (tmpfs before Linux 6.6)
            raise


def owner_of(path: str, status: os.stat_result) -> tuple[int, int]:
    """The owner a file has or, where that could not be set, ought to have."""
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        said = _get(path, OWNER).split(b":")
        if len(said) == 2 and all(part.isdigit() for part in said):
            return int(said[0]), int(said[1])
    return status.st_uid, status.st_gid


def make_node(name: str, kind: int, device: int, dir_fd: int) -> None:
    """Make a device node or FIFO; where the kernel forbids the device, an empty file that remembers it.

    `kind` is S_IFCHR, S_IFBLK or S_IFIFO.
    """
    try:
        os.mknod(name, kind | 0o600, device, dir_fd=dir_fd)
    except OSError as error:
        if error.errno not in _CANNOT or kind == stat.S_IFIFO:
            raise
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
        try:
            letter = b"c" if kind == stat.S_IFCHR else b"b"
            os.setxattr(descriptor, NODE, b"%b:%d:%d" % (letter, os.major(device), os.minor(device)))
        finally:
            os.close(descriptor)


def node_of(path: str, status: os.stat_result) -> tuple[int, int] | None:
    """`(S_IFCHR | S_IFBLK, device)` of a device node, real or remembered; None for other files."""
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        return stat.S_IFMT(status.st_mode), status.st_rdev
    if not stat.S_ISREG(status.st_mode) or status.st_size:
        return None
    said = _get(path, NODE).split(b":")
    if len(said) != 3 or said[0] not in (b"c", b"b") or not (said[1].isdigit() and said[2].isdigit()):
        return None
    return (stat.S_IFCHR if said[0] == b"c" else stat.S_IFBLK), os.makedev(int(said[1]), int(said[2]))
