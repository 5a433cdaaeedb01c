"""Operating system errors of the store, told as `StoreError`."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dockc.base.record import Record
from dockc.errors import DiskFull, StoreError

if TYPE_CHECKING:
    from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Free(Record):
    """What a disk can still take: bytes, and files (inodes); None where files are not counted."""

    size: int
    files: int | None

    @classmethod
    def at(cls, path: Path | str) -> Free:
        """Of the disk on which a path is.

        Raises:
            OSError: nothing is there.
        """
        state = os.statvfs(path)
        return cls(state.f_bavail * state.f_frsize, state.f_favail if state.f_files else None)

    def has(self, size: int, files: int) -> bool:
        """Whether so much can be written."""
        return self.size >= size and (self.files is None or self.files >= files)


def is_full(error: BaseException | None) -> bool:
    """Whether the error, or what it was raised from, says that the disk (or the quota) is used up."""
    while error is not None:
        if isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in FULL):
            return True
        error = error.__cause__
    return False


def store_error(error: OSError, doing: str, root: Path | str) -> StoreError:
    """The error of an operation on the store at `root`, for people."""
    if error.errno in FULL:
        return DiskFull(
            f"the disk of the store {root} is full ({_lacking(root)}{doing})",
            hint="Free some space, or remove unused build cache with `dockc prune`.",
        )
    where = f": {error.filename}" if error.filename else ""
    if error.errno == errno.EIO:
        return StoreError(
            f"{doing}: the disk of the store {root} reports an error (input/output error){where}",
            hint="See what the kernel says (dmesg); `dockc doctor --full` finds what was lost.",
        )
    # "Not permitted" may also be said of one file: what an archive asks for, what a file system does not know.
    if error.errno in (errno.EACCES, errno.EROFS) or (error.errno == errno.EPERM and not os.access(root, os.W_OK)):
        return StoreError(
            f"the store {root} cannot be written: {error.strerror} ({doing})",
            hint="Check who owns it, or choose another one with $DOCKC_STORE.",
        )
    return StoreError(f"{doing}: {error.strerror or error}{where}")


def _lacking(root: Path | str) -> str:
    """That it is files and not bytes which have run out, where it is so."""
    try:
        left = Free.at(root)
    except OSError:
        return ""
    return "no more files can be made on it, " if left.size and left.files == 0 else ""


@contextmanager
def telling(doing: str, root: Path | str) -> Iterator[None]:
    """Run a block; an `OSError` in it becomes a `StoreError` that says what was being done."""
    try:
        yield
    except OSError as error:
        raise store_error(error, doing, root) from error
