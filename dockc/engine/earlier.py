"""Builds of the history that a build is compared with, to say why its steps had to run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.base.hashing import sha256
from dockc.engine.history import FOLDER, begun, file_ref, names, read, told_of
from dockc.errors import StoreError

if TYPE_CHECKING:
    from dockc.engine.told import Told

_MOST = 8
"""Builds that a build is compared with."""
_MOST_BYTES = 32 << 20
"""Bytes of their keys together; the newest one is compared in any case."""


class Index:
    """Of which Dockerfile the builds of a store are, so that a process that builds all day reads each record once.

    Mutable: `_likes`, `like` of the builds that are over, by the names of their files; "" of those that tell no keys.
    `_shared`, one string for all builds that are alike. Threads may share it.
    """

    def __init__(self) -> None:
        self._likes: dict[str, str] = {}
        self._shared: dict[str, str] = {}

    def like(self, path: Path) -> str:
        """Of which Dockerfile a build is; "" where there is nothing to compare (any more).

        Raises:
            StoreError: its record cannot be read.
        """
        known = self._likes.get(path.name)
        if known is not None:
            return known
        try:
            record = read(path)
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        if record is None:
            return ""
        found = like(record.options) if record.keys_at else ""
        if record.status != "running":
            self._likes[path.name] = self._shared.setdefault(found, found)
        return found

    def forget(self, there: list[str]) -> None:
        """Forget those that are not there any more, as soon as they are as many as those that are."""
        if len(self._likes) > 2 * len(there):
            left = set(there)
            self._likes = {name: found for name, found in tuple(self._likes.items()) if name in left}
            self._shared = {found: found for found in self._likes.values()}


def like(options: Mapping[str, Any]) -> str:
    """The same for builds of the same Dockerfile and context, by their options (`engine.recording.options_of`)."""
    return sha256(json.dumps([options.get("context"), options.get("file")]).encode())[:16]


def earlier(
    root: Path, options: Mapping[str, Any], *, but: str = "", before: int = 0, index: Index | None = None
) -> list[Told]:
    """Builds to compare one with, the newest first; those of the same Dockerfile before others.

    Args:
        root: the store.
        options: of the build, as `engine.recording.options_of` gives them.
        but: its own name.
        before: only builds that began before this, in nanoseconds since the epoch.
        index: what is known of the records, by one who asks often.

    Raises:
        StoreError: the history cannot be read.
    """
    folder, index = root / FOLDER, index or Index()
    there = names(folder)
    index.forget(there)
    mine = like(options)
    alike: list[Path] = []
    others: list[Path] = []
    own = f"-{file_ref(but)}.jsonl" if but else None
    for name in there:
        if (own and name.endswith(own)) or (before and begun(name) >= before):
            continue
        found = index.like(folder / name)
        if found == mine:
            alike.append(folder / name)
            if len(alike) == _MOST:
                break
        elif found and len(others) < _MOST:
            others.append(folder / name)
    return _told([*alike, *others][:_MOST])


def _told(paths: list[Path]) -> list[Told]:
    """What builds told of their keys, as far as there is room."""
    chosen: list[Told] = []
    room = _MOST_BYTES
    for path in paths:
        try:
            record = read(path)
            if record is None:
                continue  # collected meanwhile
            room -= os.stat(path).st_size - record.keys_at  # noqa: PTH116
            if chosen and room < 0:
                break
            told = told_of(record)
        except (OSError, StoreError) as error:
            if path.exists():
                raise StoreError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
            continue
        if told.steps:
            chosen.append(told)
    return chosen
