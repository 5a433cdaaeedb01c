"""Directories of a tree by their paths, for work that goes from neighbour to neighbour: the way to the last one stays open.

The kernel walks each path from its beginning; in a tree of great depth that is most of the work. From a directory that is
held the next one is near, wherever the walk stands.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from dockc.errors import UnsafePath
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.fsutil.inroot import Root

_SHALLOW = 16
"""Components of a path that the kernel may as well walk."""
_MOST = 64
"""Directories that are held open, each in the one before."""


class Holder:
    """The directories of a root on the way to the one that was used last. Use as a context manager.

    No directory of the tree may be moved or replaced meanwhile.

    Args:
        root: the tree.
        read: the directories are to be listed, too.
    """

    def __init__(self, root: Root, *, read: bool = False) -> None:
        self._root, self._read = root, read
        self._held: list[tuple[str, int]] = []  # each with a slash at its end, and an ancestor of the next

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, descriptor in self._held:
            os.close(descriptor)
        self._held.clear()

    def at(self, path: str) -> tuple[int, str]:
        """The open directory of a relative path, and the name in it (`.` for the root itself).

        Raises:
            FileError, UnsafePath: see `Root.open_dir`.
        """
        directory, _, name = path.rpartition("/")
        return self.folder(directory), name or "."

    def folder(self, path: str) -> int:
        """A directory by its relative path, "" for the root; open until the next one is asked for.

        Raises:
            FileError, UnsafePath: see `Root.open_dir`.
        """
        wanted = f"{path}/" if path else ""
        held = self._held
        while held and not wanted.startswith(held[-1][0]):
            os.close(held.pop()[1])
        if held and held[-1][0] == wanted:
            return held[-1][1]
        # Of a long way that is new, the nearest directories are held one by one: the walk may come back to each of them.
        left = wanted[len(held[-1][0]) if held else 0 :]
        if left.count("/") > _SHALLOW:
            parts = left.split("/")[:-1]
            first = max(1, len(parts) - _MOST)
            self._open("/".join(parts[:first]))
            for part in parts[first:]:
                self._open(part)
        else:
            self._open(left[:-1])
        while len(held) > _MOST:
            os.close(held.pop(0)[1])
        return held[-1][1]

    def _open(self, left: str) -> None:
        """Open a directory below the last one that is held, or below the root, and hold it."""
        before, root = (self._held[-1][0], Root.at(self._held[-1][1])) if self._held else ("", self._root)
        self._held.append((f"{before}{left}/" if left else before, root.open_dir(left, read=self._read)))


class Near:
    """Short paths to the entries of a tree, however deep it is. Use as a context manager.

    Args:
        tree: path of the tree, in which nothing is moved or replaced meanwhile.
    """

    def __init__(self, tree: str) -> None:
        self.tree = tree
        self._stack = ExitStack()
        self._holder: Holder | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *told: object) -> None:
        self._stack.close()

    def of(self, path: str) -> str:
        """A path to an entry by its relative path, good until the next one is asked for. What cannot be reached is named
        in full, so that whoever uses it is told by the system.
        """
        if path.count("/") < _SHALLOW:
            return f"{self.tree}/{path}" if path else self.tree
        try:
            if self._holder is None:
                self._holder = self._stack.enter_context(Holder(self._stack.enter_context(Root(Path(self.tree)))))
            folder, name = self._holder.at(path)
        except (FileError, UnsafePath):
            return f"{self.tree}/{path}"
        return f"/proc/self/fd/{folder}/{name}"
