"""Copying computed changes into a change directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from dockc.runtime.fsutil import marks
from dockc.runtime.snapshot.changes import Change, Kind
from dockc.runtime.snapshot.files import copy_attributes, copy_file
from dockc.runtime.snapshot.squash import link_file


def gather(changes: Sequence[Change], target: Path, *, link: bool = False) -> None:
    """Make the change directory of a list of changes in the empty directory `target`; names stay linked.

    With `link` files are hard links to their sources where that can be: neither may be written to any more.
    """
    links: dict[tuple[int, int], Path] = {}
    folders: list[Change] = []
    root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for change in changes:
            place = target / change.path
            if change.kind is Kind.DELETE:
                marks.make_whiteout(change.path, root)
            elif change.status is not None and stat.S_ISDIR(change.status.st_mode):
                place.mkdir()
                folders.append(change)
            elif change.status is not None:
                if link and link_file(change.source, str(place)):
                    continue
                first = links.setdefault((change.status.st_dev, change.status.st_ino), place)
                if first != place and change.status.st_nlink > 1:
                    os.link(first, place, follow_symlinks=False)
                else:
                    copy_file(change.source, change.status, str(place))
    finally:
        os.close(root)
    for change in reversed(folders):
        assert change.status is not None
        copy_attributes(change.source, change.status, str(target / change.path))
