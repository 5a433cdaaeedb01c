"""Finding a path in a stack of change directories without mounting it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from dockc.base.record import Record
from dockc.runtime.fsutil import marks

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Found(Record):
    """An entry of a stack: where it really is, and its state."""

    path: str
    status: os.stat_result


class Stack:
    """A stack of change directories, lowest first. Symbolic links are entries, never followed.

    Args:
        layers: not copied: whoever holds a thousand layers makes a thousand of these.
        top: one more change directory above them.
    """

    def __init__(self, layers: Sequence[Path | str], top: Path | None = None) -> None:
        self._layers = layers
        self._top = top

    def __bool__(self) -> bool:
        return bool(self._layers) or self._top is not None

    def find(self, path: str) -> Found | None:
        """What a reader of the mounted stack would see at the relative `path`, or None."""
        parts = path.split("/")
        for layer in chain(() if self._top is None else (self._top,), reversed(self._layers)):
            found = _look(str(layer), parts)
            if found is not _BELOW:
                return found
        return None


_BELOW = Found("", os.stat_result(range(10)))
"""Nothing in this layer, and nothing that hides the layers below."""


def _look(layer: str, parts: Sequence[str]) -> Found | None:
    """An entry of one layer; None: hidden; `_BELOW`: look further down. One descriptor a level: no path walked
    twice.
    """
    here = layer
    hides = False
    folder = -1
    try:
        for at, part in enumerate(parts):
            try:
                if at == 0:
                    status = os.lstat(f"{layer}/{part}")  # most layers have nothing there: nothing is opened for that
                else:
                    above = (here, None) if folder < 0 else (parts[at - 1], folder)
                    inner = os.open(above[0], _FOLDER, dir_fd=above[1])
                    if folder >= 0:
                        os.close(folder)
                    folder = inner
                    hides = hides or marks.is_opaque(folder)
                    status = os.stat(part, dir_fd=folder, follow_symlinks=False)
            except OSError:
                break
            here = f"{here}/{part}"
            if marks.is_whiteout(here, status):
                return None
            if at == len(parts) - 1:
                return Found(here, status)
            if not stat.S_ISDIR(status.st_mode):
                return None
    finally:
        if folder >= 0:
            os.close(folder)
    return None if hides else _BELOW
