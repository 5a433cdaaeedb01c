"""`type=tar`: the files of a result as one tar archive."""

from __future__ import annotations

import os
import stat
import tarfile
import threading
from collections.abc import Sequence
from typing import BinaryIO

from dockc.errors import StoreError
from dockc.runtime.content.locks import Cancelled
from dockc.runtime.exporter.localdir import Tree
from dockc.runtime.exporter.walk import Entry, walk

_XATTR = "SCHILY.xattr."


def write(out: BinaryIO, trees: Sequence[Tree], *, cancelled: threading.Event | None = None) -> None:
    """Write the trees into one archive, each below its folder; owners and modes as they are in the image.

    Raises:
        StoreError: something cannot be read, or the archive cannot be written.
    """
    with tarfile.open(
        fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for tree in trees:
            _write_tree(archive, tree, cancelled)


def _write_tree(archive: tarfile.TarFile, tree: Tree, cancelled: threading.Event | None) -> None:
    prefix = f"{tree.folder}/" if tree.folder else ""
    if tree.folder:
        head = tarfile.TarInfo(tree.folder)
        head.type, head.mode = tarfile.DIRTYPE, 0o755
        head.mtime = tree.epoch or 0
        archive.addfile(head)
    links: dict[tuple[int, int], str] = {}
    for entry in walk(tree.root):
        if cancelled is not None and cancelled.is_set():
            raise Cancelled
        if stat.S_ISSOCK(entry.status.st_mode):
            continue  # tar has no word for sockets
        info = _header(entry, prefix, tree.epoch)
        try:
            if entry.is_file:
                key = (entry.status.st_dev, entry.status.st_ino)
                first = links.get(key) if entry.status.st_nlink > 1 else None
                if first is not None:
                    info.type, info.linkname, info.size = tarfile.LNKTYPE, first, 0
                    archive.addfile(info)
                    continue
                links[key] = info.name
                with open(entry.open(), "rb") as file:  # noqa: PTH123 - a descriptor
                    archive.addfile(info, file)
            else:
                if entry.is_link:
                    info.linkname = entry.readlink()
                archive.addfile(info)
        except OSError as error:
            raise StoreError(f"cannot archive /{entry.path}: {error.strerror or error}") from error


def _header(entry: Entry, prefix: str, epoch: int | None) -> tarfile.TarInfo:
    status = entry.status
    info = tarfile.TarInfo(prefix + entry.path)
    info.mode = stat.S_IMODE(status.st_mode)
    info.uid, info.gid = status.st_uid, status.st_gid
    info.mtime = status.st_mtime_ns // 1_000_000_000 if epoch is None else epoch
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFDIR:
            info.type = tarfile.DIRTYPE
        case stat.S_IFLNK:
            info.type = tarfile.SYMTYPE
        case stat.S_IFIFO:
            info.type = tarfile.FIFOTYPE
        case stat.S_IFCHR | stat.S_IFBLK as kind:
            info.type = tarfile.CHRTYPE if kind == stat.S_IFCHR else tarfile.BLKTYPE
            info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        case _:
            info.size = status.st_size
    info.pax_headers = {
        _XATTR + name: value.decode("utf-8", "surrogateescape") for name, value in entry.xattrs().items()
    }
    return info
