"""Digest of one entry of a file tree: its metadata less times and name, and its data.

The form is that of the tarsum of the reference's cache keys: the fields of a tar header as text, each with
its name before it, then the extended attributes, then the data. Digests are equal to BuildKit's
(`cache/contenthash`) but for device nodes: there they all count as device 0:0, here the number counts.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import zlib
from collections.abc import Mapping

from dockc.base.record import NamedTuple
from dockc.runtime.fsutil import meta
from dockc.runtime.fsutil.failure import check
from dockc.runtime.fsutil.users import Owner

_BUFFER = 1 << 20
_TYPE = {
    stat.S_IFREG: "0",
    stat.S_IFSOCK: "0",
    stat.S_IFLNK: "2",
    stat.S_IFCHR: "3",
    stat.S_IFBLK: "4",
    stat.S_IFDIR: "5",
    stat.S_IFIFO: "6",
}
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Seen(NamedTuple):
    """What tells two versions of an entry apart for people; no part of any key.

    Attributes:
        mode: kind and permissions, as `st_mode` has them.
        uid, gid: the owner that counts.
        check: CRC-32 of the data of a regular file, of the target of a link.
    """

    mode: int = 0
    uid: int = 0
    gid: int = 0
    check: int = 0


def entry_digest(
    fd: int,
    name: str,
    status: os.stat_result,
    link: str = "",
    cancelled: threading.Event | None = None,
) -> tuple[bytes, Seen]:
    """SHA-256 (32 bytes) of the entry `name` of the open directory `fd`, and what was seen on the way; of a directory
    its own metadata only.

    Args:
        fd: the directory.
        name: the entry; `.` for the directory itself.
        status: its lstat.
        link: target of a symbolic link.
        cancelled: looked at between blocks.

    Raises:
        OSError: the entry cannot be read.
        Cancelled: `cancelled` was set.
    """
    facts = meta.read_facts(fd, name, status)
    kind = stat.S_IFMT(status.st_mode)
    device = status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
    if kind == stat.S_IFREG and not status.st_size:
        node = meta.node_of(fd, name, status)
        if node is not None:
            kind, device = node
    mode = stat.S_IMODE(status.st_mode) | (0o777 if kind == stat.S_IFLNK else 0)
    size = status.st_size if kind in (stat.S_IFREG, stat.S_IFSOCK) else 0
    owner = facts.owner
    digest = begin(kind, mode, owner, size, facts.xattrs, link=link, device=device)
    found = zlib.crc32(link.encode("utf-8", "surrogateescape")) if link else 0
    if kind == stat.S_IFREG and size:
        found = _hash_data(fd, name, digest, cancelled)
    return digest.digest(), Seen(kind | mode, owner.uid, owner.gid, found)


def begin(
    kind: int, mode: int, owner: Owner, size: int, xattrs: Mapping[str, bytes], *, link: str = "", device: int = 0
) -> hashlib._Hash:
    """The hash of an entry, to which nothing but the data of a regular file is to be added.

    Args:
        kind: `S_IFREG` and the like.
        mode: permission bits as `st_mode` has them.
        owner: the owner that counts.
        size: bytes of a file's data, else 0.
        xattrs: without those of the store.
        link: target of a symbolic link.
        device: number of a device.
    """
    header = (
        f"namemode{mode}uid{owner.uid}gid{owner.gid}size{size}typeflag{_TYPE.get(kind, '0')}linkname{link}"
        f"unamegnamedevmajor{os.major(device)}devminor{os.minor(device)}"
    )
    digest = hashlib.sha256(header.encode("utf-8", "surrogateescape"))
    for key in sorted(xattrs):
        if key == "security.capability" or not key.startswith(("security.", "system.")):
            digest.update(key.encode("utf-8", "surrogateescape") + xattrs[key])
    return digest


def _hash_data(fd: int, name: str, digest: hashlib._Hash, cancelled: threading.Event | None) -> int:
    """Add a file's data to the digest; returns its CRC-32."""
    found = 0
    file = os.open(name, _OPEN, dir_fd=fd)
    try:
        while block := os.read(file, _BUFFER):
            digest.update(block)
            found = zlib.crc32(block, found)
            check(cancelled)
    finally:
        os.close(file)
    return found
