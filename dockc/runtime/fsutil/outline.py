"""An outline of a directory: what entries there are, with the content of a few of them only.

Format of the list: each entry's `Stat` message behind its length (four bytes, little-endian), in the order of the walk.
Source of format, name and rule: github.com/tonistiigi/fsutil, receiving with `MetadataOnly`.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from dockc.base.record import Record
from dockc.golang.modes import to_go
from dockc.grammar.globs import NO_PARENT, MatchInfo, PatternMatcher
from dockc.llb.wire.encode import varint
from dockc.runtime.fsutil.walk import Entry

NAME = ".fsutil-metadata"
"""The file that holds the list, at the top; what the lender has of this name is left out."""


class Told(Protocol):
    """One entry as a lender tells of it; numbers as in `os.stat_result`, times in nanoseconds."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def mode(self) -> int: ...  # noqa: D102
    @property
    def uid(self) -> int: ...  # noqa: D102
    @property
    def gid(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def mtime(self) -> int: ...  # noqa: D102
    @property
    def link(self) -> str: ...  # noqa: D102
    @property
    def same_as(self) -> str: ...  # noqa: D102
    @property
    def device(self) -> int: ...  # noqa: D102
    @property
    def xattrs(self) -> Mapping[str, bytes]: ...  # noqa: D102


class Here(Record):
    """An entry of a directory of this machine as a client would tell of it: everything belongs to root."""

    path: str
    mode: int
    size: int
    mtime: int
    link: str
    same_as: str
    device: int
    uid: int = 0
    gid: int = 0

    @property
    def xattrs(self) -> Mapping[str, bytes]:
        """None are told."""
        return {}

    @classmethod
    def of(cls, entry: Entry) -> Here:
        """Out of a walk."""
        status, mode = entry.status, entry.status.st_mode
        if stat.S_ISSOCK(mode):  # an empty file stands for it
            mode = stat.S_IFREG | stat.S_IMODE(mode)
        sized = not entry.same_as and (stat.S_ISREG(mode) or stat.S_ISLNK(mode))
        device = status.st_rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0
        size = status.st_size if sized else 0
        return cls(entry.path, mode, size, status.st_mtime_ns, entry.link, entry.same_as, device)


class Outline:
    """What is to come with its content, and the list of everything.

    Mutable: filled by `take`, once, by whoever lends the directory.

    Attributes:
        patterns: of what comes whole.
        chosen: paths of what comes: what matches, and the directories above it.
        firsts: by path of a chosen file that is the same file as another: the first chosen of them; itself for the first.
        data: the list, as `NAME` holds it.
        mtime: of the newest entry; the list itself is as old.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        """Prepare.

        Args:
            patterns: as of an ignore file; what matches comes whole.

        Raises:
            BadPattern: a pattern cannot be read.
        """
        self.patterns = tuple(patterns)
        self._matcher = PatternMatcher(patterns)
        self.chosen: frozenset[str] = frozenset()
        self.firsts: Mapping[str, str] = {}
        self.data = b""
        self.mtime = 0

    def take(self, entries: Iterable[Told]) -> None:
        """Hear of all entries, each directory before its entries."""
        chosen: set[str] = set()
        firsts: dict[str, str] = {}
        groups: dict[str, str] = {}
        above: list[tuple[str, MatchInfo]] = []
        parts: list[bytes] = []
        for entry in entries:
            path = entry.path
            if path == NAME or path.startswith(NAME + "/"):
                continue
            message = _message(entry)
            parts += (struct.pack("<I", len(message)), message)
            self.mtime = max(self.mtime, entry.mtime)
            while above and not path.startswith(above[-1][0] + "/"):
                above.pop()
            hit, info = self._matcher.matches_under(path, above[-1][1] if above else NO_PARENT)
            if hit:
                chosen.update(directory for directory, _ in above)
                chosen.add(path)
                if stat.S_ISREG(entry.mode):
                    firsts[path] = groups.setdefault(entry.same_as or path, path)
            if stat.S_ISDIR(entry.mode):
                above.append((path, info))
        self.chosen, self.firsts, self.data = frozenset(chosen), firsts, b"".join(parts)


def _message(entry: Told) -> bytes:
    """An entry as a protobuf message; nothing for the default value of a field."""
    link = os.fsencode(entry.same_as or entry.link)
    numbers = (2, to_go(entry.mode)), (3, entry.uid), (4, entry.gid), (5, entry.size), (6, entry.mtime)
    parts = [_field(1, os.fsencode(entry.path)), *(_number(tag, value) for tag, value in numbers), _field(7, link)]
    parts += (_number(8, os.major(entry.device)), _number(9, os.minor(entry.device)))
    for key, value in sorted(entry.xattrs.items()):
        parts.append(_field(10, _field(1, os.fsencode(key)) + _field(2, value)))
    return b"".join(parts)


def _number(tag: int, value: int) -> bytes:
    return varint(tag << 3) + varint(value) if value else b""


def _field(tag: int, value: bytes) -> bytes:
    return varint(tag << 3 | 2) + varint(len(value)) + value if value else b""
