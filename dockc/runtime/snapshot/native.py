"""The native snapshotter: stacks become plain trees by copying. It works wherever files do, and takes its time."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dockc.runtime.fsutil import marks
from dockc.runtime.snapshot.changes import Change, Kind, tree_changes
from dockc.runtime.snapshot.files import copy_attributes
from dockc.runtime.snapshot.removal import remove_tree
from dockc.runtime.snapshot.squash import SquashCache, apply_changes


class NativeSnapshotter:
    """Reading goes to trees of hard links that are kept; writing to a copy that is compared at the end.

    Args:
        squashed: where trees of hard links are kept.
    """

    name = "native"

    def __init__(self, squashed: SquashCache) -> None:
        self._squashed = squashed

    @contextmanager
    def view(self, lowers: Sequence[Path | str]) -> Iterator[Path]:
        """The stack as a plain tree. It shares files with the layers: do not write."""
        with self._squashed.squashed(lowers, plain=True) as tree:
            yield tree

    @contextmanager
    def writable(self, lowers: Sequence[Path | str], upper: Path, work: Path) -> Iterator[Path]:
        """A copy of the stack; at the end, its differences become `upper`. Without lower layers, `upper` itself.

        The differences are taken also when the block raises: the caller throws `upper` away then.
        """
        if not lowers:
            yield upper
            return
        remove_tree(work)
        work.mkdir()
        tree = work / "tree"
        tree.mkdir()
        for layer in (*lowers, upper):
            apply_changes(layer, tree, link=False)
        yield tree
        made = work / "upper"
        made.mkdir()
        with self._squashed.squashed(lowers, plain=True) as below:
            _gather(tree_changes(below, tree), tree, made)
        copy_attributes(str(tree), os.lstat(tree), str(made))
        remove_tree(upper)
        made.rename(upper)
        remove_tree(work)


def _gather(changes: Sequence[Change], tree: Path, made: Path) -> None:
    """Move what changed out of the tree into a change directory."""
    folders: list[tuple[str, os.stat_result, Path]] = []
    root = os.open(made, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for change in changes:
            place = made / change.path
            if change.kind is Kind.DELETE:
                marks.make_whiteout(change.path, root)
            elif change.status is not None and stat.S_ISDIR(change.status.st_mode):
                place.mkdir()
                folders.append((change.source, change.status, place))
            else:
                (tree / change.path).rename(place)
                if change.status is not None:
                    marks.drop_store_attributes(str(place), change.status)
    finally:
        os.close(root)
    for source, status, place in reversed(folders):
        copy_attributes(source, status, str(place))
