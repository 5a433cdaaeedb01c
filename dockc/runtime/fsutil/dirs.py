"""Making directories inside a root."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator

from dockc.runtime.fsutil import meta
from dockc.runtime.fsutil.failure import FileError, failed
from dockc.runtime.fsutil.inroot import Root, entries
from dockc.runtime.fsutil.users import Owner

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def every_dir(tree: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of each directory of a tree that nobody else changes, parents first; good until the next one.

    One is open at a time, however deep the tree is: the way back is `..`. What lies below is looked for when the
    descriptor is given back.
    """
    here = os.open(tree, _DIRECTORY)
    waiting: list[list[str]] = []
    try:
        while True:
            yield here
            waiting.append(
                [
                    name
                    for name in entries(here)
                    if stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode)
                ]
            )
            while not waiting[-1]:
                waiting.pop()
                if not waiting:
                    return
                here = _go(here, "..")
            here = _go(here, waiting[-1].pop())
    finally:
        os.close(here)


def _go(here: int, name: str) -> int:
    there = os.open(name, _DIRECTORY, dir_fd=here)
    os.close(here)
    return there


def make_dirs(root: Root, path: str, mode: int, owner: Owner | None, time_ns: int | None) -> list[str]:
    """Make a directory and those above it that are missing; those that are there stay as they are.

    Args:
        root: where.
        path: resolved by `root`.
        mode: permission bits of new directories.
        owner: of new directories; None is the owner of this process.
        time_ns: modification time of new directories.

    Returns:
        The paths that were made, outermost first.

    Raises:
        FileError: something on the way is not a directory, or the system refused.
    """
    parts = [part for part in path.split("/") if part]
    made: list[str] = []
    here = "/"
    for part in parts:
        here = posixpath.join(here, part)
        status = root.lstat(here)
        if status is not None:
            if not stat.S_ISDIR(status.st_mode):
                raise FileError(f"mkdir {here}: not a directory")
            continue
        with root.parent(here) as (fd, name):
            make_plain_dir(fd, name, mode, here)
            if owner is not None:
                meta.chown(fd, name, owner, here)
            if time_ns is not None:
                meta.utime(fd, name, (time_ns, time_ns), here)
        made.append(here)
    return made


def make_dir(fd: int, name: str, mode: int, shown: str, *, wrap: str = "") -> None:
    """Make one directory; it must not be there."""
    try:
        os.mkdir(name, mode, dir_fd=fd)
    except OSError as error:
        raise failed("mkdir", shown, error, wrap=wrap) from error


def make_plain_dir(fd: int, name: str, mode: int, shown: str) -> None:
    """Make one directory with exactly this mode.

    The umask of this process plays no part; the setgid bit that a directory hands down does.
    """
    make_dir(fd, name, mode, shown)
    inherited = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode & stat.S_ISGID
    meta.chmod(fd, name, mode | inherited, shown)
