"""Layers that stand elsewhere than where they were made: in a difference, and in a merge above the first part.

A change directory holds more than what was changed: overlayfs copies a file up when it is opened for writing, and a
directory when anything is made in it and removed again; and an opaque directory hides whatever is below. At its own
place that shows nowhere; at another it would undo what is there, and a removal of what is not there would show as a
name without a file. So a combination (a record without a layer) keeps such layers in a form of its own, as far as it
differs: hard links to what was really changed, and a whiteout for each thing removed that is there.

<root>/snapshots/<combination>/moved/<position>         the layer at that position of its stack
<root>/snapshots/<combination>/moved/<position>.plain   its change directory is good as it is
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.errors import StoreError
from dockc.runtime.cancel import check_cancelled
from dockc.runtime.content.errors import telling
from dockc.runtime.content.locks import locked
from dockc.runtime.fsutil import marks
from dockc.runtime.refs.database import LAYER
from dockc.runtime.refs.difference import gather
from dockc.runtime.refs.unpack import ensure_record, inherit_root
from dockc.runtime.snapshot.changes import Change, Kind, layer_changes

if TYPE_CHECKING:
    from dockc.runtime.refs.core import Core
    from dockc.runtime.refs.types import Progress


def tree_of(
    core: Core,
    record_ids: Sequence[str],
    *,
    cancelled: threading.Event | None = None,
    progress: Progress | None = None,
) -> Sequence[str]:
    """The directories that make up a record (of at most one, as a layer has parents), lowest first, made as needed.

    Raises:
        StoreError, Cancelled: as `unpack.ensure_directories`.
    """
    if not record_ids:
        return ()
    (record_id,) = record_ids
    unmoved = ensure_record(core, record_id, cancelled=cancelled, progress=progress)
    if unmoved is not None:
        return unmoved
    layers, moved = core.stack(record_id), core.moved(record_id)
    found: dict[int, str] = {}
    for position in sorted(moved):
        combination, index = moved[position]
        place = core.snapshot_dir(combination) / "moved" / str(index)
        if not _is_made(place):
            made_on = tree_of(core, core.db.parents(layers[position]), cancelled=cancelled, progress=progress)
            here = core.directories(layers[:position], found)
            (place.parent).mkdir(parents=True, exist_ok=True)
            with locked(core.lock_path("moved", combination), cancelled):
                if not _is_made(place):
                    check_cancelled(cancelled)
                    _make(core, core.changes_dir(layers[position]), made_on, here, place)
        if place.is_dir():
            found[position] = str(place)
    return core.directories(layers, found)


@contextmanager
def tree(
    core: Core,
    record_ids: Sequence[str],
    *,
    cancelled: threading.Event | None = None,
    progress: Progress | None = None,
) -> Iterator[Path]:
    """What `tree_of` gives as one directory for reading.

    Raises:
        StoreError, Cancelled: as `tree_of`, or it cannot be mounted.
    """
    with ExitStack() as stack:
        yield mounted(
            core,
            stack,
            lambda: tree_of(core, record_ids, cancelled=cancelled, progress=progress),
            core.snapshotter.view,
        )


def mounted(
    core: Core,
    stack: ExitStack,
    directories: Callable[[], Sequence[str]],
    use: Callable[[Sequence[str]], AbstractContextManager[Path]],
) -> Path:
    """Enter what is made of directories that `tree_of` gives. Where one of them has gone since this process looked, all
    are looked for once more: those that can be are made again, and the error names what cannot.
    """
    try:
        return stack.enter_context(use(directories()))
    except (StoreError, FileNotFoundError) as error:
        if not isinstance(error, FileNotFoundError) and not isinstance(error.__cause__, FileNotFoundError):
            raise
        with core.db.lock:
            core.trees.clear()
    return stack.enter_context(use(directories()))


def forget(core: Core) -> None:
    """Remove all moved layers, where the directories that they are links to may be damaged; they are made again."""
    for record in core.db.records():
        if record.kind != LAYER:
            core.discard(core.snapshot_dir(record.id))


def _is_made(place: Path) -> bool:
    return place.is_dir() or place.with_suffix(".plain").exists()


def _make(core: Core, own: Path, made_on: Sequence[str], here: Sequence[str], place: Path) -> None:
    """Make a layer's directory for another place, or write down that its own will do.

    Args:
        core: the store.
        own: the change directory.
        made_on: directories of what it was made on.
        here: directories of what it stands on now.
        place: where the directory goes.
    """
    with telling("computing what a layer changes", core.root):
        if made_on and not marks.is_opaque(str(own)):
            with core.snapshotter.view(made_on) as lower:
                changes = layer_changes(own, lower)
            if not _is_all(own, changes):
                changes = _without_vain(core, changes, here)
                with core.workspace("moved") as folder:
                    made = folder / "new"
                    made.mkdir()
                    gather(changes, made, link=True)
                    inherit_root(made, [str(own)])
                    made.rename(place)
                return
        place.with_suffix(".plain").touch()


def _is_all(own: Path, changes: Sequence[Change]) -> bool:
    """Whether a change directory holds what was set, one entry each, and nothing is removed or hidden."""
    told = {change.path: change.kind for change in changes}
    todo, found = [""], 0
    while todo:
        path = todo.pop()
        for name in os.listdir(f"{own}/{path}"):  # noqa: PTH208 - one string per file
            inner = f"{path}/{name}" if path else name
            status = os.lstat(f"{own}/{inner}")
            if told.get(inner) is not Kind.SET or marks.is_whiteout(f"{own}/{inner}", status):
                return False
            found += 1
            if stat.S_ISDIR(status.st_mode):
                if marks.is_opaque(f"{own}/{inner}"):
                    return False
                todo.append(inner)
    return found == len(told)


def _without_vain(core: Core, changes: Sequence[Change], here: Sequence[str]) -> list[Change]:
    """The changes without removals of what is not there."""
    if all(change.kind is Kind.SET for change in changes):
        return list(changes)
    if not here:
        return [change for change in changes if change.kind is Kind.SET]
    with core.snapshotter.view(here) as tree:
        folders = {"": True}

        def is_folder(path: str) -> bool:
            if path not in folders:
                folders[path] = is_folder(path.rpartition("/")[0]) and stat.S_ISDIR(_mode(f"{tree}/{path}"))
            return folders[path]

        return [
            change
            for change in changes
            if change.kind is Kind.SET
            or (is_folder(change.path.rpartition("/")[0]) and _mode(f"{tree}/{change.path}") != 0)
        ]


def _mode(path: str) -> int:
    """Mode of an entry; 0 where nothing is."""
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
