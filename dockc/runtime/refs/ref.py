"""Refs: holds on file systems. A ref is one holder's; whoever needs it longer takes a `clone()`."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from dockc.runtime.refs.types import LayerDescriptor, Progress, Remote, RemoteOptions


class ImmutableRef:
    """A hold on a committed file system (nothing writes to it ever again)."""

    @property
    def id(self) -> str:
        """Stable identity over processes."""
        raise NotImplementedError

    def clone(self) -> ImmutableRef:
        """One more hold on the same file system."""
        raise NotImplementedError

    def release(self) -> None:
        """Give up this hold; the content stays until it is pruned. Once per hold."""
        raise NotImplementedError

    def mount(self) -> AbstractContextManager[Path]:
        """A directory with the whole file system, for reading only, fetched and unpacked as needed."""
        raise NotImplementedError

    def prefetch(self, *, cancelled: threading.Event | None = None, progress: Progress | None = None) -> None:
        """Fetch and unpack now what `mount` would need."""
        raise NotImplementedError

    def layers(self) -> tuple[LayerDescriptor | None, ...]:
        """Each layer, lowest first; None for one that has not been made a blob yet."""
        raise NotImplementedError

    def remote(self, options: RemoteOptions | None = None, *, cancelled: threading.Event | None = None) -> Remote:
        """The layers as blobs; those not there yet are made now. Base image blobs stay as they came."""
        raise NotImplementedError

    def get_meta(self, key: str) -> bytes | None:
        """Metadata kept with the ref."""
        raise NotImplementedError

    def set_meta(self, key: str, value: bytes | None) -> None:
        """Keep metadata with the ref (None removes it); `RefManager.find` searches by it."""
        raise NotImplementedError

    @property
    def description(self) -> str:
        """What people see in `dockc du`."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class MutableRef:
    """A hold on a file system that is being written."""

    @property
    def id(self) -> str:
        """Stable identity over processes."""
        raise NotImplementedError

    def mount(self) -> AbstractContextManager[Path]:
        """A directory with the whole file system, writable; may be mounted again, one at a time."""
        raise NotImplementedError

    def commit(self, *, description: str | None = None) -> ImmutableRef:
        """Freeze it; this hold becomes the returned one. It must not be mounted."""
        raise NotImplementedError

    def release(self) -> None:
        """Give it up: removed, unless it was made with `retain`. After `commit` it does nothing."""
        raise NotImplementedError

    def get_meta(self, key: str) -> bytes | None:
        """Metadata kept with the ref."""
        raise NotImplementedError

    def set_meta(self, key: str, value: bytes | None) -> None:
        """Keep metadata with the ref (None removes it)."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
