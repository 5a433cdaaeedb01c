"""Writing changes as a layer's tar stream: a function of the changes alone.

ustar headers, with pax records only where ustar cannot say it (long or non-ASCII names, large numbers, extended
attributes). Modification times are whole seconds, as every builder writes them; user and group names are left
out. Whiteouts are empty files `.wh.NAME` of time 0.

Sources: OCI image specification, "Image Layer Filesystem Changeset"; POSIX.1-2017 pax.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from dockc.errors import StoreError
from dockc.runtime.archive.tarencode import END, header, pad
from dockc.runtime.archive.tarheader import (
    BLOCK,
    BLOCK_DEVICE,
    CHAR,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Member,
)
from dockc.runtime.cancel import check_cancelled
from dockc.runtime.fsutil import marks
from dockc.runtime.fsutil.holder import Near
from dockc.runtime.snapshot.changes import Change, Kind
from dockc.runtime.snapshot.tarread import WHITEOUT

_CHUNK = 1 << 20
_NANO = 1_000_000_000
_KINDS = {
    stat.S_IFREG: REGULAR,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHAR,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFIFO: FIFO,
}


def write_layer(
    changes: Iterable[Change],
    out: Callable[[bytes], object],
    *,
    rewrite_timestamp: int | None = None,
    cancelled: threading.Event | None = None,
) -> None:
    """Write the tar of `changes` (in order) to `out`.

    Args:
        changes: from `changes.layer_changes` or `changes.tree_changes`.
        out: takes the bytes.
        rewrite_timestamp: Unix seconds; later modification times become this.
        cancelled: looked at between files.

    Raises:
        StoreError: a file that a layer cannot hold, or one that changed while it was read.
    """
    links: dict[tuple[int, int], str] = {}
    near: Near | None = None
    with ExitStack() as stack:
        for change in changes:
            check_cancelled(cancelled)
            if change.kind is not Kind.SET:
                out(header(_whiteout(change)))
                continue
            assert change.status is not None
            if change.path.rpartition("/")[2].startswith(WHITEOUT):
                raise StoreError(f"{change.path}: names that begin with {WHITEOUT} cannot be in an image layer")
            tree = change.source.removesuffix(f"/{change.path}")
            if near is None or near.tree != tree:
                near = stack.enter_context(Near(tree))
            source = near.of(change.path)
            member = describe(change.path, source, change.status, links)
            if member is None:
                continue
            if rewrite_timestamp is not None:
                member.mtime = min(member.mtime, rewrite_timestamp * _NANO)
            out(header(member))
            if member.size:
                _write_data(source, member.size, out, change.path)
    out(END)


def _whiteout(change: Change) -> Member:
    folder, slash, base = change.path.rpartition("/")
    return Member(name=f"{folder}{slash}{WHITEOUT}{base}", kind=REGULAR, mode=0, uid=0, gid=0, size=0, mtime=0)


def describe(path: str, source: str, status: os.stat_result, links: dict[tuple[int, int], str]) -> Member | None:
    """The member for a file; None for sockets.

    Args:
        path: its name in the archive.
        source: where it is.
        status: its state.
        links: names of files with several links met so far, by device and inode; a later name becomes a hard
            link to the first.
    """
    if stat.S_ISSOCK(status.st_mode):
        return None
    uid, gid = marks.owner_of(source, status)
    member = Member(
        name=f"{path}/" if stat.S_ISDIR(status.st_mode) else path,
        kind=_KINDS[stat.S_IFMT(status.st_mode)],
        mode=stat.S_IMODE(status.st_mode),
        uid=uid,
        gid=gid,
        size=0,
        mtime=status.st_mtime_ns,
    )
    if stat.S_ISREG(status.st_mode) and (capability := marks.capability(source)):
        member.xattrs = {marks.CAPABILITY: capability}
    first = (
        path
        if status.st_nlink < 2 or stat.S_ISDIR(status.st_mode)
        else links.setdefault((status.st_dev, status.st_ino), path)
    )
    node = marks.node_of(source, status)
    if node is not None:
        member.kind = _KINDS[node[0]]
        member.major, member.minor = os.major(node[1]), os.minor(node[1])
    if first != path:
        member.kind, member.linkname = HARDLINK, first
    elif member.kind == SYMLINK:
        member.linkname = os.readlink(source)  # noqa: PTH115 - one string per file
    elif member.kind == REGULAR:
        member.size = status.st_size
    return member


def _write_data(source: str, size: int, out: Callable[[bytes], object], shown: str) -> None:
    left = size
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while left:
            data = os.read(descriptor, min(_CHUNK, left))
            if not data:
                raise StoreError(f"{shown} became shorter while it was read")
            out(data)
            left -= len(data)
    finally:
        os.close(descriptor)
    if size % BLOCK:
        out(pad(size))
