"""Walking a root file system for export: by open directories, following no link, sorted, any depth."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dockc.base.record import Record
from dockc.errors import StoreError
from dockc.runtime.fsutil import marks
from dockc.runtime.fsutil.levels import Levels

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Entry(Record):
    """One entry of the tree.

    Attributes:
        path: relative, without `./`.
        status: of the entry itself, links not followed.
        folder: descriptor of the directory that holds it, open while the walk stands here.
        name: last component of `path`.
    """

    path: str
    status: os.stat_result
    folder: int
    name: str

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)

    def open(self) -> int:
        """A descriptor of the regular file; `OSError` when it is none any more."""
        return os.open(self.name, _FILE, dir_fd=self.folder)

    def readlink(self) -> str:
        """Target of the symbolic link."""
        return os.readlink(self.name, dir_fd=self.folder)

    @property
    def place(self) -> str:
        """A path to the entry; only its last component may be a link."""
        return f"/proc/self/fd/{self.folder}/{self.name}"

    def xattrs(self) -> dict[str, bytes]:
        """Extended attributes that belong to the content; none where the file system has none."""
        return marks.content_attributes(self.place)

    def owner(self) -> tuple[int, int]:
        """User and group, also where the store could only remember them."""
        return marks.owner_of(self.place, self.status)

    def node(self) -> tuple[int, int] | None:
        """Kind and number of a device, also where the store could only remember it."""
        return marks.node_of(self.place, self.status)


def walk(root: Path) -> Iterator[Entry]:
    """Every entry below `root`, parents before children, names in byte order.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        top = os.open(root, _DIRECTORY)
    except OSError as error:
        raise StoreError(f"cannot read the result: {error.strerror}") from error
    with Levels[tuple[str, list[str]]]() as levels:
        levels.enter(top, ("", _names(top)))
        while levels:
            folder, (prefix, names) = levels.here
            name = names.pop() if names else ""
            path = prefix + name
            try:
                if not name:
                    os.close(levels.leave()[0])
                    continue
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                yield Entry(path, status, folder, name)
                if stat.S_ISDIR(status.st_mode):
                    inner = os.open(name, _DIRECTORY, dir_fd=folder)
                    levels.enter(inner, (f"{path}/", _names(inner)))
            except OSError as error:
                raise StoreError(f"cannot read /{path}: {error.strerror}") from error


def _names(folder: int) -> list[str]:
    """Names in a directory, last first (the walk takes them from the end)."""
    return sorted(os.listdir(folder), key=os.fsencode, reverse=True)
