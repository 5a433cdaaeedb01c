"""Sockets at paths that are longer than a socket's address. Loads nothing: commands begin with it."""

from __future__ import annotations

import os

_LONGEST = 107
"""Bytes of a path that a socket's address holds."""


class Address:
    """What to bind or connect a socket of a path to, while the block runs; for other processes of this machine it is there.

    A longer path is reached by its open directory.

    Raises:
        OSError: on entry; the directory is not there.
    """

    __slots__ = ("_folder", "_path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path, self._folder = os.fspath(path), -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= _LONGEST:
            return self._path
        folder, name = os.path.split(self._path)
        self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._folder}/{name}"

    def __exit__(self, *_: object) -> None:
        if self._folder >= 0:
            os.close(self._folder)
