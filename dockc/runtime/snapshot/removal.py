"""Removing trees: without following links, however deep, also where directories have no permissions."""

# ruff: noqa: PTH101, PTH106, PTH108, PTH208 - paths hang on descriptors: no Path per file
from __future__ import annotations

import errno
import os
import secrets
import stat

_DEEPEST = 96  # directories held open at a time
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove a directory and all below it; nothing happens when it is not there.

    Deep trees are taken apart: a directory at the depth limit is first moved up beside the top, so that neither
    path lengths nor open files bound what can be removed. A mount point inside raises OSError (EBUSY).
    """
    top = os.fspath(path)
    try:
        os.unlink(top)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        pass
    try:
        root = _open(top, None)
    except FileNotFoundError:
        return
    try:
        while True:
            moved = _empty(root, root)
            if not moved:
                break
    finally:
        os.close(root)
    try:
        os.rmdir(top)
    except FileNotFoundError:
        pass


def _empty(top: int, root: int) -> bool:
    """Empty the directory; returns whether deep directories were moved to `top`, which then needs another go."""
    moved = False
    # Each level: descriptor, names still to be removed, name in its parent.
    levels: list[tuple[int, list[str], str]] = [(root, os.listdir(root), "")]
    device = os.fstat(root).st_dev
    while levels:
        here, names, own_name = levels[-1]
        if not names:
            levels.pop()
            if levels:
                os.close(here)
                _rmdir(own_name, levels[-1][0])
            continue
        name = names.pop()
        if _unlink(name, here):
            continue
        if len(levels) >= _DEEPEST:
            os.rename(name, f".deep-{secrets.token_hex(8)}", src_dir_fd=here, dst_dir_fd=top)
            moved = True
            continue
        try:
            descriptor = _open(name, here)
        except FileNotFoundError:
            continue
        if os.fstat(descriptor).st_dev != device:
            # What is mounted here belongs to somebody: never reach into it.
            os.close(descriptor)
            raise OSError(errno.EBUSY, "a file system is mounted here", name)
        levels.append((descriptor, os.listdir(descriptor), name))
    return moved


def _open(name: str, parent: int | None) -> int:
    try:
        return os.open(name, _OPEN, dir_fd=parent)
    except PermissionError:
        os.chmod(name, stat.S_IRWXU, dir_fd=parent)
        return os.open(name, _OPEN, dir_fd=parent)


def _unlink(name: str, parent: int) -> bool:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        return False
    except PermissionError:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            return False
        os.chmod(f"/proc/self/fd/{parent}/.", stat.S_IRWXU)
        os.unlink(name, dir_fd=parent)
    return True


def _rmdir(name: str, parent: int) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except PermissionError:
        os.chmod(f"/proc/self/fd/{parent}/.", stat.S_IRWXU)
        os.rmdir(name, dir_fd=parent)
