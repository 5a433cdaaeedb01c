"""Finding a path in a stack of change directories without mounting it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from dockc.base.record import Record
from dockc.runtime.fsutil import marks


class Found(Record):
    """An entry of a stack: where it really is, and its state."""

    path: str
    status: os.stat_result


class Stack:
    """A stack of change directories, lowest first. Symbolic links are entries, never followed."""

    def __init__(self, layers: Sequence[Path]) -> None:
        self._layers = [str(layer) for layer in reversed(layers)]

    def __bool__(self) -> bool:
        return bool(self._layers)

    def find(self, path: str) -> Found | None:
        """What a reader of the mounted stack would see at the relative `path`, or None."""
        parts = path.split("/")
        for layer in self._layers:
            here = layer
            hides = False
            for at, part in enumerate(parts):
                here = f"{here}/{part}"
                try:
                    status = os.lstat(here)
                except OSError:
                    break
                if marks.is_whiteout(here, status):
                    return None
                if at == len(parts) - 1:
                    return Found(here, status)
                if not stat.S_ISDIR(status.st_mode):
                    return None
                hides = hides or marks.is_opaque(here)
            if hides:
                return None
        return None
