"""`type=tar`: the files of a result as one tar archive, header for header as the reference writes it."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from typing import BinaryIO

from dockc.errors import StoreError
from dockc.runtime.archive import tarheader as kinds
from dockc.runtime.archive.tarencode import END, header, pad
from dockc.runtime.archive.tarheader import Member
from dockc.runtime.cancel import Cancelled
from dockc.runtime.exporter.walk import Entry, walk
from dockc.runtime.session.sinks import Tree

_CHUNK = 1 << 20
_SECOND = 1_000_000_000


def write(out: BinaryIO, trees: Sequence[Tree], *, cancelled: threading.Event | None = None) -> None:
    """Write the trees into one archive, each below its folder; owners and modes as they are in the image.

    Raises:
        StoreError: something cannot be read.
    """
    for tree in trees:
        _write_tree(out, tree, cancelled)
    out.write(END)


def _write_tree(out: BinaryIO, tree: Tree, cancelled: threading.Event | None) -> None:
    prefix = f"{tree.folder}/" if tree.folder else ""
    if tree.folder:
        moment = (tree.epoch or 0) * _SECOND
        out.write(header(Member(prefix, kinds.DIRECTORY, 0o755, 0, 0, 0, moment)))
    links: dict[tuple[int, int], str] = {}
    for entry in walk(tree.root):
        if cancelled is not None and cancelled.is_set():
            raise Cancelled
        if stat.S_ISSOCK(entry.status.st_mode):
            continue  # tar has no word for sockets
        try:
            member = _member(entry, prefix, tree.epoch, links)
            out.write(header(member))
            if member.kind == kinds.REGULAR and member.size:
                _copy(out, entry, member.size)
        except BrokenPipeError:
            raise  # the reader's affair, not the file's
        except OSError as error:
            raise StoreError(f"cannot archive /{entry.path}: {error.strerror or error}") from error


def _member(entry: Entry, prefix: str, epoch: int | None, links: dict[tuple[int, int], str]) -> Member:
    status = entry.status
    uid, gid = entry.owner()
    # Whole seconds, rounded as the reference rounds.
    moment = (status.st_mtime_ns + _SECOND // 2) // _SECOND if epoch is None else epoch
    name = prefix + entry.path
    member = Member(name, kinds.REGULAR, stat.S_IMODE(status.st_mode), uid, gid, 0, moment * _SECOND)
    member.xattrs = entry.xattrs()
    if entry.is_dir:
        member.name, member.kind = f"{name}/", kinds.DIRECTORY
        return member
    if status.st_nlink > 1:
        first = links.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            member.kind, member.linkname = kinds.HARDLINK, first
            return member
    node = entry.node()
    if node is not None:
        member.kind = kinds.CHAR if node[0] == stat.S_IFCHR else kinds.BLOCK_DEVICE
        member.major, member.minor = os.major(node[1]), os.minor(node[1])
    elif entry.is_link:
        member.kind, member.linkname = kinds.SYMLINK, entry.readlink()
    elif stat.S_ISFIFO(status.st_mode):
        member.kind = kinds.FIFO
    else:
        member.size = status.st_size
    return member


def _copy(out: BinaryIO, entry: Entry, size: int) -> None:
    left = size
    with open(entry.open(), "rb") as file:  # noqa: PTH123 - a descriptor
        while left:
            data = file.read(min(_CHUNK, left))
            if not data:
                raise StoreError(f"/{entry.path} became shorter while it was read")
            out.write(data)
            left -= len(data)
    out.write(pad(size))
