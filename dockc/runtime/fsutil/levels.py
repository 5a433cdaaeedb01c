"""The open directories on the way to where a walk stands: as many as a process may well hold, however deep the tree is."""

from __future__ import annotations

import os
from typing import Generic, TypeVar

from dockc.base.record import Mutable
from dockc.errors import StoreError

T = TypeVar("T")

_OPEN_MOST = 96
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Level(Mutable):
    folder: int
    identity: tuple[int, int]


class Levels(Generic[T]):
    """A stack of directories, each in the one before, with what the walk knows of them. Only the innermost ones are held
    open; one further up is opened again from the one below it, and must be the same then.

    A context manager, which closes those that are open at its end.
    """

    def __init__(self) -> None:
        self._levels: list[_Level] = []
        self._known: list[T] = []

    def __enter__(self) -> Levels[T]:
        return self

    def __exit__(self, *_: object) -> None:
        for level in self._levels:
            if level.folder >= 0:
                os.close(level.folder)

    def __bool__(self) -> bool:
        return bool(self._levels)

    @property
    def here(self) -> tuple[int, T]:
        """The innermost directory: a descriptor, open until it is left, and what is known of it."""
        return self._levels[-1].folder, self._known[-1]

    def enter(self, folder: int, known: T) -> None:
        """Stand in an open directory, which belongs to this from now on."""
        self._levels.append(_Level(folder, _identity(folder)))
        self._known.append(known)
        if len(self._levels) > _OPEN_MOST:
            far = self._levels[-1 - _OPEN_MOST]
            os.close(far.folder)
            far.folder = -1

    def leave(self) -> tuple[int, T]:
        """Stand in the directory above; the one that was left, whose descriptor is the caller's.

        Raises:
            OSError: the one above cannot be opened again.
            StoreError: it is another one now.
        """
        above = self._levels[-2] if len(self._levels) > 1 else None
        if above is not None and above.folder < 0:
            folder = os.open("..", _DIRECTORY, dir_fd=self._levels[-1].folder)
            if _identity(folder) != above.identity:
                os.close(folder)
                raise StoreError("a directory has been moved while the tree was walked")
            above.folder = folder
        return self._levels.pop().folder, self._known.pop()


def _identity(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino
