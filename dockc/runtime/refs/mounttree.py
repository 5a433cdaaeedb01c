"""The files of a cache mount as one stream, and back: a tar that is the same for the same tree.

Entries are in the order of their names, with owners, modes, extended attributes, hard links and whole times. What
means nothing elsewhere (sockets) or could do harm there (devices) is left out, and refused on the way back. A step may
be at work in the tree: what vanishes is left out, and a file that changes its size keeps the one it was listed with.
"""

# ruff: noqa: PTH208 - caches have hundreds of thousands of files
from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.runtime.archive.tarencode import header
from dockc.runtime.archive.tarheader import BLOCK, BLOCK_DEVICE, CHAR, HARDLINK, REGULAR
from dockc.runtime.cancel import check_cancelled
from dockc.runtime.fsutil import marks
from dockc.runtime.fsutil.unpack import unpack_plain
from dockc.runtime.snapshot.tarwrite import describe

if TYPE_CHECKING:
    from dockc.oci.digest import Reader

_BLOCK = 1 << 20
_END = bytes(2 * BLOCK)
_CHECK_EVERY = 256
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # what has become a link or a pipe since it was listed

Write = Callable[[bytes], object]


def write_tree(root: Path, out: Write, *, cancelled: threading.Event | None = None) -> int:
    """Write the files below `root` (itself left out) to `out`; returns how many there were.

    Raises:
        OSError: a directory or file cannot be read.
        Cancelled: `cancelled` was set.
    """
    links: dict[tuple[int, int], str] = {}
    count = 0
    for path, source, status in _entries(os.fspath(root)):
        if count % _CHECK_EVERY == 0:
            check_cancelled(cancelled)
        try:
            member = describe(path, source, status, links)
            if member is None or member.kind in (CHAR, BLOCK_DEVICE):
                continue
            if member.kind != HARDLINK:
                member.xattrs = marks.content_attributes(source)
            file = os.open(source, os.O_RDONLY | _SAFE) if member.kind == REGULAR else -1
        except FileNotFoundError:
            links = {key: name for key, name in links.items() if name != path}
            continue
        try:
            out(header(member, fractions=True))
            if member.size:
                _write_data(file, member.size, out, cancelled)
        finally:
            if file >= 0:
                os.close(file)
        count += 1
    out(_END)
    return count


def _entries(root: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Every entry below, directories before what is in them, in the order of names."""
    stack = [""]
    while stack:
        path = stack.pop()
        source = f"{root}/{path}" if path else root
        if path:
            try:
                status = os.lstat(source)
            except FileNotFoundError:
                continue
            yield path, source, status
            if not stat.S_ISDIR(status.st_mode):
                continue
        try:
            names = os.listdir(source)
        except FileNotFoundError:
            continue
        stack += [f"{path}/{name}" if path else name for name in sorted(names, key=os.fsencode, reverse=True)]


def _write_data(file: int, size: int, out: Write, cancelled: threading.Event | None) -> None:
    left = size
    while left:
        check_cancelled(cancelled)
        data = os.read(file, min(_BLOCK, left)) or bytes(min(_BLOCK, left))  # cut short meanwhile
        out(data)
        left -= len(data)
    if size % BLOCK:
        out(bytes(BLOCK - size % BLOCK))


def read_tree(stream: Reader, target: Path, *, cancelled: threading.Event | None = None) -> None:
    """Put the files of a stream that anyone may have made below `target`; nothing is written outside of it.

    Raises:
        DockcError: it is no such stream, or has a device, or leads out.
        Cancelled: `cancelled` was set.
    """
    unpack_plain(stream, target, cancelled=cancelled)
