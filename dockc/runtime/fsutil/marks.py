"""The marks in a change directory: whiteouts, opaque directories, and what the kernel would not let us make.

A process whose user namespace maps one id only cannot give files to others, and no process in a user namespace
makes device nodes. Such facts are kept in extended attributes of the file, travel with it when overlayfs copies it up,
and are written back into the layer's tar. Symbolic links cannot carry them: in a single-id namespace they lose their
owner.

Steps write to the same files, so a mark counts only where no step can have made it:

    the builder may write `trusted.` attributes (root)   `trusted.dockc.*`: needs CAP_SYS_ADMIN, which no sandboxed step
    has elsewhere (a user namespace)                         `user.dockc.*`, which anybody may set who may write to the
    file: the value ends in a seal made with a key of the store, and the file belongs to root

A mark that a step copies from another file, with its seal, counts as well; but only on a file of root's, and root of a
step
may give files away and make devices anyway. Attributes of these names in images, contexts and archives are dropped.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
from pathlib import Path

CAPABILITY = "security.capability"
OWNER, NODE, WHITEOUT = "dockc.owner", "dockc.node", "dockc.whiteout"
STORE_PREFIXES = ("trusted.overlay.", "user.overlay.", "trusted.dockc.", "user.dockc.")
"""Attributes that mean something to the store or to overlayfs: never taken from elsewhere, never shown."""
_KEY_FILE = "marks.key"
_KEY_BYTES = 32
_SEAL_BYTES = 16
_OPAQUE_NAMES = ("trusted.overlay.opaque", "user.overlay.opaque")
_HIDDEN_PREFIXES = ("trusted.", "user.overlay.", "user.dockc.", "system.", "security.selinux", "security.ima",
                    "security.evm", "security.apparmor", "security.SMACK")  # fmt: skip
CANNOT = (errno.EPERM, errno.EINVAL, errno.ENOTSUP)
_NOT_OURS = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)
"""Why a store's key cannot be made where the store is gone or another user's: no file of it is being marked then."""


class _Trust:
    """What this process believes: it belongs to the stores that it has opened.

    Mutable state: `opaque`, `prefix` and `stores`, changed by `opened` and `closed` alone; `keys`, filled on first use.
    """

    def __init__(self) -> None:
        self.opaque: set[str] = set()
        self.stores: list[Path] = []
        self.keys: dict[Path, bytes] = {}
        self.own = os.urandom(_KEY_BYTES)  # for marks outside of a store
        self._prefix = ""

    @property
    def prefix(self) -> str:
        """`trusted.` where this process may write such attributes, else `user.`."""
        if not self._prefix:
            probe = os.memfd_create("dockc", os.MFD_CLOEXEC)
            try:
                os.setxattr(probe, "trusted.dockc.probe", b"")
                self._prefix = "trusted."
            except OSError:
                self._prefix = "user."
            finally:
                os.close(probe)
        return self._prefix

    @prefix.setter
    def prefix(self, prefix: str) -> None:
        self._prefix = prefix

    def known_keys(self) -> list[bytes]:
        """The keys that there are so far."""
        for store in self.stores:
            if store not in self.keys:
                with contextlib.suppress(OSError):
                    self.keys[store] = (store / _KEY_FILE).read_bytes()
        return [self.own, *self.keys.values()]

    def writing_keys(self) -> list[bytes]:
        """One key for each open store, made where there is none: which store a file is in, its path does not tell."""
        for store in self.stores:
            if store not in self.keys:
                try:
                    self.keys[store] = _make_key(store / _KEY_FILE)
                except OSError as error:
                    if error.errno not in _NOT_OURS:
                        raise
        return list(self.keys.values()) or [self.own]


def _make_key(path: Path) -> bytes:
    """A store's key, the same for all processes: the first one that is linked to its name counts."""
    made = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
    descriptor = os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(os.urandom(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink()
    return path.read_bytes()


_trust = _Trust()


def _look_again() -> None:
    """A child may enter a namespace in which it can write less."""
    _trust.prefix = ""


if sys.platform != "win32":  # which has no fork
    os.register_at_fork(after_in_child=_look_again)


def opened(store: Path, staging: Path) -> str:
    """A store is used from now on: its key seals marks and proves them.

    Args:
        store: its directory.
        staging: a directory in it, to try attributes in.

    Returns:
        The attribute that overlayfs reads for opaque directories: `trusted.` where we may write it, else `user.`.
    """
    opaque = opaque_attribute(staging)
    _trust.opaque.add(opaque)
    _trust.prefix = opaque.partition("overlay.")[0]
    _trust.stores.append(store)
    return opaque


def closed(store: Path) -> None:
    """The store is not used any more, by one of those who opened it."""
    if store in _trust.stores:
        _trust.stores.remove(store)
    if store not in _trust.stores:
        _trust.keys.pop(store, None)


def _seal(key: bytes, name: str, said: bytes) -> bytes:
    return hashlib.blake2b(name.encode() + b"\0" + said, key=key, digest_size=_SEAL_BYTES).hexdigest().encode()


def _mark(path: str | int, name: str, said: bytes) -> None:
    try:
        _write(path, name, said)
    except PermissionError:
        if _trust.prefix == "user.":
            raise
        _trust.prefix = ""  # this process has entered a user namespace meanwhile
        _write(path, name, said)


def _write(path: str | int, name: str, said: bytes) -> None:
    value = said
    if _trust.prefix == "user.":
        value = b";".join([said, *(_seal(key, name, said) for key in _trust.writing_keys())])
    if isinstance(path, int):
        os.setxattr(path, _trust.prefix + name, value)
    else:
        os.setxattr(path, _trust.prefix + name, value, follow_symlinks=False)


def _marked(path: str | int, name: str, status: os.stat_result) -> bytes:
    """What a mark says, b"" where there is none or where a step may have made it."""
    if _trust.prefix == "trusted.":
        return _get(path, _trust.prefix + name)
    if status.st_uid != 0 and status.st_uid != os.geteuid():
        return b""
    said, *seals = _get(path, _trust.prefix + name).split(b";")
    if not seals:
        return b""
    expected = [_seal(key, name, said) for key in _trust.known_keys()]
    return said if any(seal in expected for seal in seals) else b""


def is_whiteout(path: str, status: os.stat_result) -> bool:
    """Whether the entry says that what is below it is gone."""
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev == 0
    # The other form is rare: only a file that nobody may use at all is looked at twice.
    return status.st_mode == stat.S_IFREG and status.st_size == 0 and _marked(path, WHITEOUT, status) == b"y"


def make_whiteout(name: str, dir_fd: int) -> None:
    """Make a whiteout; where devices cannot be made (a store on overlayfs), an empty file with a mark.

    No overlay is ever mounted on such a file system, so that only the store itself has to understand it.
    """
    try:
        os.mknod(name, stat.S_IFCHR | 0o000, 0, dir_fd=dir_fd)
    except PermissionError:
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0, dir_fd=dir_fd)
        try:
            _mark(descriptor, WHITEOUT, b"y")
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
    believed = _trust.opaque or {f"{_trust.prefix}overlay.opaque"}
    return any(name in names and _get(path, name) == b"y" for name in believed)


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
        if error.errno not in CANNOT:
            raise


def set_owner(path: str, uid: int, gid: int, status: os.stat_result) -> None:
    """Give a file to an owner; where the namespace lacks the ids, remember them instead.

    `status` is the file's present state (its owner and type). Set the mode after this call: chown clears
    setuid bits.
    """
    if (status.st_uid, status.st_gid) == (uid, gid):
        return
    try:
        if not status.st_size and stands_for_node(path):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), path)
        os.chown(path, uid, gid, follow_symlinks=False)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            _remember_owner(path, uid, gid)


def _remember_owner(path: str, uid: int, gid: int) -> None:
    try:
        _mark(path, OWNER, b"%d:%d" % (uid, gid))
    except OSError as error:
        if error.errno != errno.ENOTSUP:  # a file system without attributes (tmpfs before Linux 6.6)
            raise


def forget_owner(path: str) -> None:
    """Take away an owner that was remembered, before another one is given."""
    with contextlib.suppress(OSError):
        os.removexattr(path, _trust.prefix + OWNER, follow_symlinks=False)


def stands_for_node(path: str) -> bool:
    """Whether the file is an empty one that remembers a device. Such a file stays root's: its owner is remembered
    too.
    """
    if _trust.prefix == "trusted.":
        return False
    status = os.lstat(path)
    return stat.S_ISREG(status.st_mode) and node_of(path, status) is not None


def owner_of(path: str, status: os.stat_result) -> tuple[int, int]:
    """The owner a file has or, where that could not be set, ought to have."""
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        said = _marked(path, OWNER, status).split(b":")
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
        if error.errno not in CANNOT or kind == stat.S_IFIFO:
            raise
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
        try:
            letter = b"c" if kind == stat.S_IFCHR else b"b"
            _mark(descriptor, NODE, b"%b:%d:%d" % (letter, os.major(device), os.minor(device)))
        finally:
            os.close(descriptor)


def node_of(path: str, status: os.stat_result) -> tuple[int, int] | None:
    """`(S_IFCHR | S_IFBLK, device)` of a device node, real or remembered; None for other files."""
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        return stat.S_IFMT(status.st_mode), status.st_rdev
    if not stat.S_ISREG(status.st_mode) or status.st_size:
        return None
    said = _marked(path, NODE, status).split(b":")
    if len(said) != 3 or said[0] not in (b"c", b"b") or not all(part.isdigit() and len(part) < 9 for part in said[1:]):
        return None
    return (stat.S_IFCHR if said[0] == b"c" else stat.S_IFBLK), os.makedev(int(said[1]), int(said[2]))


def copy_node(source: str, status: os.stat_result, target: str) -> None:
    """Let the copy of a file stand for the same device, if the file does."""
    if stat.S_ISREG(status.st_mode) and (node := node_of(source, status)) is not None:
        letter = b"c" if node[0] == stat.S_IFCHR else b"b"
        _mark(target, NODE, b"%b:%d:%d" % (letter, os.major(node[1]), os.minor(node[1])))


def drop_store_attributes(path: str, status: os.stat_result) -> None:
    """Take away from a file that a step wrote directly what overlayfs would read as its own."""
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        return
    for name in os.listxattr(path, follow_symlinks=False):
        if name.startswith(("trusted.overlay.", "user.overlay.")):
            os.removexattr(path, name, follow_symlinks=False)
