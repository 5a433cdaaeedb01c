"""The content store: blobs by digest under `blobs/<algorithm>/<hex>` of an OCI layout."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self


class ContentStore:
    """Blobs by digest. Any thread and any process may use one directory at the same time."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, digest: str) -> bool:
        """Whether the blob is here."""
        raise NotImplementedError

    def size(self, digest: str) -> int:
        """Bytes of the blob; raises StoreError when it is not here."""
        raise NotImplementedError

    def path(self, digest: str) -> Path:
        """Where the blob is (read only); raises StoreError when it is not here."""
        raise NotImplementedError

    def open(self, digest: str) -> BinaryIO:
        """The blob's bytes, seekable, not verified again; raises StoreError when it is not here."""
        raise NotImplementedError

    def read(self, digest: str, limit: int = 8 << 20) -> bytes:
        """The whole blob, verified; raises StoreError when it is larger than `limit`, DigestMismatch when damaged."""
        raise NotImplementedError

    def put(self, data: bytes, expected: str | None = None) -> str:
        """Store bytes and return their digest."""
        raise NotImplementedError

    def writer(
        self,
        expected: str | None = None,
        size: int | None = None,
        *,
        cancelled: threading.Event | None = None,
    ) -> Writer:
        """Begin a blob.

        With `expected`, only one writer of a digest is at work over all processes: this call waits for the
        other, and the `Writer` then says `complete`. What an interrupted writer left is taken up again:
        `Writer.offset` bytes are already there, and the caller goes on from that byte (or calls `restart()`).
        """
        raise NotImplementedError

    def remove(self, digest: str) -> int:
        """Delete a blob; returns the bytes freed (0 when it was not here)."""
        raise NotImplementedError

    def digests(self) -> Iterator[str]:
        """All blobs, in no particular order."""
        raise NotImplementedError


class Writer:
    """One blob in the making; leaving the `with` block without `commit` keeps what can be resumed."""

    offset: int
    complete: bool

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes; raises DigestMismatch as soon as there are more than promised, StoreError when the disk is full."""
        raise NotImplementedError

    def restart(self) -> None:
        """Drop what is there and begin at offset 0."""
        raise NotImplementedError

    def commit(self) -> tuple[str, int]:
        """Verify, fsync, rename into place; returns digest and size. Raises DigestMismatch and drops the bytes."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError
