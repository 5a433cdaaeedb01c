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
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dockc.runtime.cancel import check_cancelled
from dockc.runtime.content.errors import telling
from dockc.runtime.content.locks import locked
from dockc.runtime.fsutil import marks
from dockc.runtime.refs.database import LAYER
from dockc.runtime.refs.difference import gather
from dockc.runtime.refs.unpack import ensure_directories, inherit_root
from dockc.runtime.snapshot.changes import Change, Kind, layer_changes

if TYPE_CHECKING:
    from pathlib import Path

    from dockc.runtime.refs.core import Core
    from dockc.runtime.refs.types import Progress


def tree_of(
    core: Core,
    record_ids: Sequence[str],
    *,
    cancelled: threading.Event | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """The directories that make up a record (of at most one, as a layer has parents), lowest first, made as needed.

    Raises:
        StoreError, Cancelled: as `unpack.ensure_directories`.
    """
    if not record_ids:
        return []
    (record_id,) = record_ids
    layers, moved = core.stack(record_id), core.moved(record_id)
    ensure_directories(core, layers, cancelled=cancelled, progress=progress)
    if not moved:
        return core.directories(layers)
    found: dict[int, Path] = {}
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
            found[position] = place
    return core.directories(layers, found)


def forget(core: Core) -> None:
    """Remove all moved layers, where the directories that they are links to may be damaged; they are made again."""
    for record in core.db.records():
        if record.kind != LAYER:
            core.discard(core.snapshot_dir(record.id))


def _is_made(place: Path) -> bool:
    return place.is_dir() or place.with_suffix(".plain").exists()


def _make(core: Core, own: Path, made_on: Sequence[Path], here: Sequence[Path], place: Path) -> None:
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
                    inherit_root(made, [own])
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


def _without_vain(core: Core, changes: Sequence[Change], here: Sequence[Path]) -> list[Change]:
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
