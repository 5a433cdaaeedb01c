"""What the world last said: answers that `--offline` gives instead of asking.

One small file for each question in `memory/` beside the blobs, named by a hash of the question, which may hold a
password. Only what has no other place is here: images have their names (`source.registry.LocalNames`), downloads their
snapshots.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from dockc.base.files import open_regular
from dockc.oci import digest as digests

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT = 32 << 20
_FILES = 4096
"""More answers than these: the older half is forgotten."""


class Memory:
    """The memory of a store; safe between processes. What cannot be written is not remembered, and nobody minds."""

    def __init__(self, content: Path) -> None:
        """`content` is the directory of the store's blobs; nothing is read or made yet."""
        self._folder = content / "memory"

    def get(self, kind: str, question: str) -> bytes | None:
        """The last answer, None where there is none."""
        try:
            with open_regular(self._file(kind, question)) as file:
                data = file.read(_LIMIT + 1)
        except OSError:
            return None
        return data if len(data) <= _LIMIT else None

    def put(self, kind: str, question: str, answer: bytes) -> None:
        """Remember an answer."""
        if len(answer) > _LIMIT or self.get(kind, question) == answer:
            return
        temporary = self._folder / f".new-{secrets.token_hex(8)}"
        try:
            self._folder.mkdir(exist_ok=True)
            temporary.write_bytes(answer)
            temporary.replace(self._file(kind, question))
            self._forget()
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _forget(self) -> None:
        with os.scandir(self._folder) as found:
            files = list(found)
        if len(files) > _FILES:
            for entry in sorted(files, key=lambda one: one.stat().st_mtime_ns)[: _FILES // 2]:
                os.unlink(entry.path)  # noqa: PTH108 - names come from scandir

    def _file(self, kind: str, question: str) -> Path:
        text = f"{kind}\0{question}".encode("utf-8", "surrogateescape")
        return self._folder / digests.encoded(digests.from_bytes(text))
