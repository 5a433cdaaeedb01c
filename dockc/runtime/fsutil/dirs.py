"""Making directories inside a root."""

from __future__ import annotations

import os
import posixpath
import stat

from dockc.runtime.fsutil import meta
from dockc.runtime.fsutil.failure import FileError, failed
from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.fsutil.users import Owner


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
