"""Where outputs go that leave the engine's machine: back to the client that asked for them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from dockc.base.record import Record

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore


class Tree(Record):
    """One result on its way into the directory.

    Attributes:
        name: of its platform.
        root: the mounted file system.
        folder: directory inside the destination, "" for the destination itself.
        epoch: modification time for everything, Unix seconds, or None for the files' own.
    """

    name: str
    root: Path
    folder: str = ""
    epoch: int | None = None


class Sinks(Protocol):
    """Takes outputs, by the number that they have in the request. Methods block and may be called from any thread."""

    def archive(self, output: int, metadata: Mapping[str, str]) -> AbstractContextManager[BinaryIO]:
        """A stream for one archive; it is whole when the block has ended well.

        Args:
            output: which output of the request, from 0.
            metadata: what is known of it, such as its digest.

        Raises:
            StoreError: the client did not take it.
        """
        ...

    def directory(self, output: int, trees: Sequence[Tree], *, delete: bool, cancelled: threading.Event | None) -> None:
        """Bring file trees into a directory of the client.

        Args:
            output: which output of the request, from 0.
            trees: file systems and where they go.
            delete: remove what else is in the directory.
            cancelled: looked at for each entry.

        Raises:
            StoreError: the client did not take them.
        """
        ...

    def blobs(
        self, output: int, digests: Mapping[str, int], content: ContentStore, *, cancelled: threading.Event | None
    ) -> None:
        """Bring blobs into an OCI layout of the client, which names the image there itself.

        Args:
            output: which output of the request, from 0.
            digests: and sizes.
            content: where the blobs are.
            cancelled: looked at for each blob.

        Raises:
            StoreError: the client did not take them.
        """
        ...
