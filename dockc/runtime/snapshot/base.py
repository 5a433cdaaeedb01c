"""What every snapshotter offers, and the one form of a layer on disk.

A layer is a *change directory*: what was added or changed lies at its path; what was removed is a character
device 0/0 at its path (a whiteout); a directory that hides what is below it carries the extended attribute
`trusted.overlay.opaque=y` (`user.overlay.opaque=y` in a user namespace). That is overlayfs's own form, so that
a stack of layers is mounted as it is; the native snapshotter reads the same form.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Snapshotter(Protocol):
    """Turns stacks of change directories into directories that programs can use."""

    @property
    def name(self) -> str:
        """`overlay` or `native`."""
        ...

    def view(self, lowers: Sequence[Path | str]) -> AbstractContextManager[Path]:
        """The stack (lowest first) as one directory for reading."""
        ...

    def writable(self, lowers: Sequence[Path | str], upper: Path, work: Path) -> AbstractContextManager[Path]:
        """The stack as one directory for writing.

        When the block ends, what was changed is in the change directory `upper`. `work` is a directory beside
        it (same file system) that belongs to the snapshotter and may go on to the next `writable` of the same
        `upper`.
        """
        ...
