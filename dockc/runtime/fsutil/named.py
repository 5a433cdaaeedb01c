"""A root directory on systems where no directory can be held open, as Windows: all is done by names.

A link that somebody puts on a path between two calls is followed there; `inroot.Root`, with open directories, is what
refuses it on all other systems.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from types import TracebackType

from dockc.errors import UnsafePath
from dockc.runtime.fsutil.failure import failed
from dockc.runtime.fsutil.inroot import Root

_VERBATIM = "\\\\?\\"
"""What Windows may put before the target of a link."""


class NamedRoot(Root):
    """As `Root`, for reading: `lstat`, `listing`, `names` and `link`; nothing is open."""

    __slots__ = ("_base",)

    def __init__(self, path: Path) -> None:
        try:
            if not stat.S_ISDIR(path.stat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        except OSError as error:
            raise failed("open", str(path), error) from error
        self._base = path
        self.fd = -1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def lstat(self, path: str) -> os.stat_result | None:
        """As of `Root`."""
        try:
            return self._named(path).lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failed("lstat", path, error) from error

    def listing(self, path: str) -> list[tuple[str, os.stat_result]]:
        """As of `Root`."""
        place = self._named(path, folder=True)
        found: list[tuple[str, os.stat_result]] = []
        for name in self._names(place, path):
            try:
                found.append((name, (place / name).lstat()))
            except FileNotFoundError:  # gone meanwhile
                continue
        return found

    def names(self, path: str) -> list[str]:
        """As of `Root`."""
        return self._names(self._named(path, folder=True), path)

    def link(self, path: str) -> str:
        """As of `Root`; the target is written with slashes."""
        place = self._named(path)
        return str(place.readlink()).removeprefix(_VERBATIM).replace(os.sep, "/") if place.is_symlink() else ""

    def _names(self, place: Path, path: str) -> list[str]:
        try:
            return sorted((inner.name for inner in place.iterdir()), key=os.fsencode)
        except OSError as error:
            raise failed("open", path, error) from error

    def _named(self, path: str, *, folder: bool = False) -> Path:
        """The name on this system; no part is a link but perhaps the last one of what is no folder.

        Raises:
            UnsafePath: a part is a link, or no name.
        """
        parts = [part for part in path.split("/") if part]
        place = self._base
        for number, part in enumerate(parts):
            if part == ".." or Path(part).name != part:
                raise UnsafePath(f"path {path} is not resolved")
            place /= part
            if (folder or number < len(parts) - 1) and place.is_symlink():
                raise UnsafePath(f"path {path} leads through a link")
        return place


def root_at(path: Path) -> Root:
    """A directory to read, by what the system has.

    Raises:
        FileError: it is not a directory that can be opened.
    """
    return NamedRoot(path) if sys.platform == "win32" else Root(path)
