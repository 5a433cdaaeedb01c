"""What one build was told of the world: asked once, an answer holds for as long as the build runs.

A tag that moves and a download that changes between the frontend's question and the step that needs them are the same
for both.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from dockc.base.record import Record
from dockc.solver.lent import Key

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Download(Record):
    """What came of a URL.

    Attributes:
        file: the content; to be read from one thread at a time, under `Seen.guard`.
        digest: of it.
        name: as the server or the URL says.
        modified, etag: headers of the answer.
    """

    file: BinaryIO
    digest: str
    name: str
    modified: str
    etag: str


class Seen:
    """Answers of one build. Any thread."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], object] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self.guard = threading.Lock()
        self.downloads: dict[str, Download] = {}

    def once(self, kind: str, question: str, ask: Callable[[], T]) -> T:
        """The answer, asked for by whoever comes first; a failure is no answer."""
        key = kind, question
        with self.guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._answers:
                self._answers[key] = ask()
            return cast(T, self._answers[key])

    def close(self) -> None:
        """Let go of the files; the build is over."""
        with self.guard:
            for one in self.downloads.values():
                one.file.close()
            self.downloads.clear()


SEEN: Key[Seen] = Key("seen")
"""The answers of the build."""
