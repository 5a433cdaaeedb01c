"""Entries of a directory that comes over a wire, and where they go."""

from __future__ import annotations

import stat
from collections.abc import Mapping

from dockc.base.record import Record, made


class Item(Record):
    """One entry that the sender has.

    Attributes:
        path: clean and relative.
        mode: the system's, with its type.
        uid, gid, size: numbers.
        mtime: nanoseconds since 1970.
        link: target of a symbolic link.
        same_as: path of an earlier entry that is the same file.
        device: number of a device.
        xattrs: extended attributes.
    """

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: str = ""
    same_as: str = ""
    device: int = 0
    xattrs: Mapping[str, bytes] = made(dict)

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a file with content of its own."""
        return stat.S_ISREG(self.mode) and not self.same_as


class Target:
    """Where entries go. All methods run in a thread, one at a time."""

    def begin(self, item: Item) -> None:
        """Content of a file follows."""
        raise NotImplementedError

    def write(self, item: Item, data: bytes) -> None:
        """Some of it."""
        raise NotImplementedError

    def end(self, item: Item) -> None:
        """It is whole."""
        raise NotImplementedError

    def whole(self, item: Item, data: bytes) -> None:
        """All of a file that has not begun."""
        self.begin(item)
        if data:
            self.write(item, data)
        self.end(item)


class Taker(Target):
    """One that says itself what it wants."""

    def choose(self, items: list[Item]) -> list[int]:
        """All entries, parents first, names of one directory in byte order; the numbers of those files whose content is
        wanted.
        """
        raise NotImplementedError
