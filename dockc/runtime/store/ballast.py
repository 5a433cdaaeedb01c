"""What a store keeps in reserve: freeing space on a full disk needs a little space itself, and a few files.

`ballast` holds bytes, `spare/` inodes. A build never takes them: one that finds the disk full says so, and would only use
up what `dockc prune` needs. Commands that look at the store or free space borrow them, and lay them down again at their
end.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dockc.runtime.content.errors import Free

SIZE = 4 << 20
FILES = 16
_SHORT = SIZE // 2
_FOLDER = "spare"
_NAME = "ballast"


def settle(root: Path) -> None:
    """Lay the reserve down where there is plenty of room; call it before the databases are opened."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = Free.at(root)
    except OSError:
        return  # whoever opens the store says what is wrong
    if free.size > 3 * SIZE and (free.files is None or free.files > 4 * FILES):
        lay(root, SIZE)


def borrow(root: Path) -> int | None:
    """Give the reserve up where the disk is short of bytes or files.

    Returns:
        The bytes that it held; None where the disk is not short. Give it to `give_back`.
    """
    try:
        if Free.at(root).has(_SHORT, FILES):
            return None
    except OSError:
        return None
    with contextlib.suppress(OSError), _folder(root) as folder:
        for name in range(FILES):
            with contextlib.suppress(OSError):
                os.unlink(str(name), dir_fd=folder)
    held = 0
    with contextlib.suppress(OSError):
        held = (root / _NAME).stat().st_blocks * 512
        (root / _NAME).unlink()
    return held


def give_back(root: Path, borrowed: int | None) -> None:
    """Lay the reserve down again: what was borrowed, or a part of what has come free."""
    if borrowed is not None:
        with contextlib.suppress(OSError):
            lay(root, max(borrowed, min(SIZE, Free.at(root).size // 4)))


def lay(root: Path, size: int) -> None:
    """Make the reserve, `size` bytes with their blocks, as far as the disk has room for it and it is not there."""
    with contextlib.suppress(OSError):
        _lay_bytes(root / _NAME, size)
    with contextlib.suppress(OSError):
        (root / _FOLDER).mkdir(mode=0o700, exist_ok=True)
        with _folder(root) as folder:
            for name in range(len(os.listdir(folder)), FILES):  # noqa: PTH208 - of an open directory
                with contextlib.suppress(FileExistsError):
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                    os.close(os.open(str(name), flags, 0o600, dir_fd=folder))


@contextlib.contextmanager
def _folder(root: Path) -> Iterator[int]:
    """The open directory of the files; never one behind a link."""
    handle = os.open(root / _FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _lay_bytes(path: Path, size: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return
        while size > status.st_blocks * 512:
            try:
                os.posix_fallocate(handle, 0, size)
                break
            except OSError:  # the largest half of a half that there is room for
                size //= 2
                os.ftruncate(handle, min(status.st_size, size))
    finally:
        os.close(handle)
