"""RefManager: the one door to file systems in the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.runtime.refs.ref import ImmutableRef, MutableRef
from dockc.runtime.refs.types import LayerDescriptor, Progress, Provider, RecordType, Remote, Sharing

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.snapshot.base import Snapshotter

ProviderFactory = Callable[[str], Provider | None]
"""From `LayerDescriptor.origin` to a provider, for layers that an earlier process knew and never fetched."""


class RefManager:
    """Makes, finds and removes refs. Any thread may call; several processes share one root."""

    root: Path
    content: ContentStore
    snapshotter: Snapshotter

    def scratch(self) -> ImmutableRef:
        """The empty file system."""
        raise NotImplementedError

    def from_layers(
        self,
        layers: Sequence[LayerDescriptor],
        *,
        description: str = "",
        record_type: RecordType = RecordType.REGULAR,
    ) -> ImmutableRef:
        """The file system of an image's layers, lowest first.

        Nothing is fetched or unpacked before the first mount. Equal chains are one ref.
        """
        raise NotImplementedError

    def new_mutable(
        self,
        parent: ImmutableRef | None = None,
        *,
        description: str = "",
        record_type: RecordType = RecordType.REGULAR,
        retain: bool = False,
    ) -> MutableRef:
        """A writable file system on top of `parent` (which stays the caller's).

        With `retain` an uncommitted ref outlives `release()` and the process and is found again by its metadata
        (`find_mutable`); without, `release()` removes it.
        """
        raise NotImplementedError

    def merge(self, refs: Sequence[ImmutableRef], *, description: str = "") -> ImmutableRef:
        """The layers of all `refs` on top of each other, later ones winning. No data is copied."""
        raise NotImplementedError

    def diff(self, lower: ImmutableRef | None, upper: ImmutableRef | None, *, description: str = "") -> ImmutableRef:
        """What has to be applied to `lower` to get `upper`: known layers where possible, computed otherwise."""
        raise NotImplementedError

    def get(self, ref_id: str) -> ImmutableRef:
        """A new hold on a committed ref; raises `RefNotFound`."""
        raise NotImplementedError

    def exists(self, ref_id: str) -> bool:
        """Whether `get` finds it and all of its content is here or can be fetched."""
        raise NotImplementedError

    def find(self, key: str, value: bytes) -> tuple[str, ...]:
        """Ids of committed refs whose metadata `key` is `value`, latest used first."""
        raise NotImplementedError

    def find_mutable(self, key: str, value: bytes) -> MutableRef | None:
        """A retained mutable ref with this metadata, locked for the caller; None if there is none or all are busy."""
        raise NotImplementedError

    def cache_dir(
        self,
        key: str,
        sharing: Sharing = Sharing.SHARED,
        base: ImmutableRef | None = None,
        *,
        cancelled: threading.Event | None = None,
        description: str = "",
    ) -> AbstractContextManager[Path]:
        """The persistent directory of a cache mount, writable.

        On first use it is a copy of `base`. SHARED: used by many at once; LOCKED: waits until it is alone;
        PRIVATE: another directory of the same key is taken (or made) while this one is in use.
        """
        raise NotImplementedError

    def ensure_blobs(
        self,
        remote: Remote,
        *,
        cancelled: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Fetch every blob of `remote` that is not in the content store."""
        raise NotImplementedError
