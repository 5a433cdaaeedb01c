"""Which paths lie in which others, however many there are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


def outermost(paths: Iterable[str]) -> list[str]:
    """The paths that lie in no other one, each once, in order. Paths are text: `..` and links are not looked at."""
    kept: list[str] = []
    outer = ""
    for folder, path in sorted({(path.removesuffix("/") + "/", path) for path in paths}):
        if not outer or not path.startswith(outer):  # what lies in a folder comes right after it
            kept.append(path)
            outer = folder
    return kept


class Folders:
    """Folders that are asked whether paths lie in one of them."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._folders = outermost(path.rstrip("/") + "/" for path in paths)

    def __contains__(self, path: str) -> bool:
        at = bisect_right(self._folders, path)
        return at > 0 and path.startswith(self._folders[at - 1])
