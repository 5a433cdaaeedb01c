"""Files of a build's file systems for whoever asks: parts of files, entries of directories, one entry.

All paths are resolved inside of the root that is given; links never lead out of it.
"""

from __future__ import annotations

import os
import stat as modes
from typing import TYPE_CHECKING

from dockc.base.record import Record
from dockc.errors import DockcError

if TYPE_CHECKING:
    from pathlib import Path

#: Larger answers are read in parts.
READ_LIMIT = 64 << 20
_BLOCK = 1 << 20


class Stat(Record):
    """One entry of a file system.

    Attributes:
        path: below the root, without a leading slash.
        mode: as `os.stat` gives it.
        modified: nanoseconds since the epoch.
        link: where a symbolic link leads.
    """

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    modified: int = 0
    link: str = ""
    device: int = 0


def read_file(root: Path, *, path: str, offset: int = 0, length: int = 0) -> bytes:
    """A part of a regular file, `length` 0 for all of it.

    Raises:
        DockcError: there is none (`no such file or directory`), or it is larger than `READ_LIMIT`.
    """
    from dockc.runtime.fsutil.inroot import NotRegular, Root

    with Root(root) as opened:
        try:
            file = opened.open_regular(path)
        except NotRegular:
            raise DockcError(f"failed to read {path}: not a regular file") from None
        if file is None:
            raise missing(path)
        with file:
            if offset >= os.fstat(file.fileno()).st_size:
                return b""
            file.seek(offset)
            data = file.read(min(length, READ_LIMIT) if length else READ_LIMIT + 1)
    if len(data) > READ_LIMIT:
        raise DockcError(f"failed to read {path}: larger than {READ_LIMIT} bytes")
    return data


def digest_file(root: Path, *, path: str, algorithm: str, suffix: bytes = b"") -> str:
    """The digest of a regular file of any size and of what is put after it.

    Args:
        root: the file system.
        path: of the file.
        algorithm: `sha256`, `sha384` or `sha512`.
        suffix: counted as if the file ended with it.

    Raises:
        DockcError: there is no such file.
    """
    import hashlib

    from dockc.runtime.fsutil.inroot import NotRegular, Root

    with Root(root) as opened:
        try:
            file = opened.open_regular(path)
        except NotRegular:
            raise DockcError(f"failed to read {path}: not a regular file") from None
        if file is None:
            raise missing(path)
        hasher = hashlib.new(algorithm)
        with file:
            while data := file.read(_BLOCK):
                hasher.update(data)
    hasher.update(suffix)
    return f"{algorithm}:{hasher.hexdigest()}"


def read_dir(root: Path, *, path: str, include: str = "") -> tuple[Stat, ...]:
    """The entries of a directory, by name; of a glob `include` only those that match.

    Raises:
        DockcError: there is no such directory, or the glob cannot be read.
    """
    from dockc.grammar.globs import BadPattern, PatternMatcher
    from dockc.runtime.fsutil.inroot import Root, entries

    with Root(root) as opened:
        resolved = opened.resolve(path)
        status = opened.lstat(resolved)
        if status is None:
            raise missing(path)
        if not modes.S_ISDIR(status.st_mode):
            raise DockcError(f"readdirent {path}: not a directory")
        fd = opened.open_dir(resolved, read=True)
        try:
            names = sorted(entries(fd))
            if include:
                try:
                    names = list(filter(PatternMatcher((include,)).matches, names))
                except BadPattern:
                    raise DockcError(f"invalid includepattern: {include[:80]}: syntax error in pattern") from None
            return tuple(_stat(fd, name, name) for name in names)
        finally:
            os.close(fd)


def stat_file(root: Path, *, path: str) -> Stat:
    """What is at a path; a link itself, not where it leads.

    Raises:
        DockcError: nothing (`no such file or directory`).
    """
    from dockc.runtime.fsutil.inroot import Root

    with Root(root) as opened:
        resolved = opened.resolve_parent(path)
        if opened.lstat(resolved) is None:
            raise missing(path)
        with opened.parent(resolved, "lstat") as (folder, name):
            return _stat(folder, name, resolved.strip("/"))


def missing(path: str) -> DockcError:
    """There is nothing at a path, in the words that clients look for."""
    return DockcError(f"open {path}: no such file or directory")


def _stat(folder: int, name: str, path: str) -> Stat:
    found = os.lstat(name, dir_fd=folder) if name not in {"", "."} else os.fstat(folder)
    link = os.readlink(name, dir_fd=folder) if modes.S_ISLNK(found.st_mode) else ""
    return Stat(path, found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns, link, found.st_rdev)
