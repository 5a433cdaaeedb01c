"""The words of the store: layers to be fetched, layers to be exported, cache directories, usage.

Digests are `algorithm:hex`, sizes are bytes, times are nanoseconds since the epoch.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dockc.base.record import Record, made
from dockc.errors import DockcError
from dockc.oci import digest as digests
from dockc.oci.descriptor import Descriptor
from dockc.runtime.archive.compress import Compression

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore

Progress = Callable[[str, int, int, bool], None]
"""`(digest, current, total, done)` of one transfer, in bytes; called from any thread, never blocks."""


class Provider(Protocol):
    """Where a blob can be had from that is not in the content store yet (a registry, an OCI layout)."""

    def fetch(
        self,
        descriptor: Descriptor,
        content: ContentStore,
        *,
        cancelled: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Bring the blob into `content` (through `content.writer`, which verifies); blocks.

        Called from several threads at once for different blobs. Raises DockcError when it cannot.
        """
        ...


class CacheLayerFailed(DockcError):
    """A layer that was found in a cache, by this build or an earlier one, cannot be had, or is none: the build goes without.

    Attributes:
        layers: digests of what cannot be had with it.
    """

    layers: tuple[str, ...] = ()


@runtime_checkable
class DoubtfulProvider(Provider, Protocol):
    """Where layers come from that a build can do without, as it can make them itself: a cache's."""

    def unusable(self, descriptor: Descriptor, why: str) -> CacheLayerFailed:
        """What a blob that came whole, and is no layer or another one than was said, means to the build."""
        ...


class LayerDescriptor(Record):
    """One layer of an image as its manifest and config name it.

    Attributes:
        diff_id: digest of the uncompressed tar.
        descriptor: the blob as the registry has it; kept as it came.
        provider: fetches the blob on first use; None when it is in the content store already.
        origin: how a later process can find a provider again, for example
            `docker-image://docker.io/library/debian@sha256:...`; "" when it cannot.
    """

    diff_id: str
    descriptor: Descriptor
    provider: Provider | None = None
    origin: str = ""


def blob_chains(layers: Sequence[LayerDescriptor]) -> tuple[str, ...]:
    """For each layer (lowest first) a digest of all that is said of it and of those below: blob, type, size, diff id.

    Equal chains are equal content, whatever is true: unlike the chain of diff ids, which only a config vouches for.
    """
    out: list[str] = []
    below = ""
    for layer in layers:
        blob = layer.descriptor
        below = digests.from_bytes(f"{below} {layer.diff_id} {blob.digest} {blob.size} {blob.media_type}".encode())
        out.append(below)
    return tuple(out)


class Remote(Record):
    """The layers of a ref as blobs, lowest first; what exporters write.

    Attributes:
        layers: descriptor and diff id of each layer. A blob that is not in the content store is fetched by its
            provider (`RefManager.ensure_blobs`); all others are there.
    """

    layers: tuple[LayerDescriptor, ...]

    @property
    def descriptors(self) -> tuple[Descriptor, ...]:
        """The blobs, lowest layer first."""
        return tuple(layer.descriptor for layer in self.layers)

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The uncompressed digests, lowest layer first."""
        return tuple(layer.diff_id for layer in self.layers)


class RemoteOptions(Record):
    """How layers become blobs.

    Attributes:
        compression: of blobs that have to be made (and of existing ones too, if `compression.force`).
        rewrite_timestamp: Unix seconds; newer modification times are set to it (SOURCE_DATE_EPOCH with
            `rewrite-timestamp=true`). Layers of a base image keep their blobs all the same.
    """

    compression: Compression = made(Compression)
    rewrite_timestamp: int | None = None


Fill = Callable[[Path, "threading.Event | None"], None]
"""Puts the files of a cache mount into a directory (empty, or with what it is based on); a DockcError if it cannot."""
Offered = Callable[[str, bool], "Fill | None"]
"""The files of the cache mount of this id, based on files of a build or not, if somebody has them."""


class CacheMount(Record):
    """A cache mount of the store.

    Attributes:
        record: id of its record, as `dockc du` shows it.
        id: as the step names it: `id=` of the mount, or its target.
        based: it began as a copy of files of the build (`from=`, `mode=`, `uid=`), which lie at the place that
            the step's mount shows of it.
        description: the step that made it.
        last_used: nanoseconds since the epoch.
        busy: a step, or somebody else, is at work in it.
    """

    record: str
    id: str
    based: bool
    description: str
    last_used: int
    busy: bool


class Sharing(enum.Enum):
    """How several users of one cache directory get along (`RUN --mount=type=cache,sharing=`)."""

    SHARED = "shared"
    PRIVATE = "private"
    LOCKED = "locked"


class RecordType(enum.StrEnum):
    """What a record is for, in the words of `docker buildx du`; prune filters by it."""

    REGULAR = "regular"
    INTERNAL = "internal"
    FRONTEND = "frontend"
    LOCAL_SOURCE = "source.local"
    GIT_CHECKOUT = "source.git.checkout"
    EXEC_CACHE_MOUNT = "exec.cachemount"


class UsageRecord(Record):
    """One line of `dockc du`.

    Attributes:
        id: of the ref.
        size: bytes on disk that removing it would free (its own directory and blobs, not its parents', nor blobs that
            other records have too).
        in_use: a living process holds it, or a record that stands on it.
        mutable: a cache directory or an unfinished snapshot.
        shared: an image with a name consists of it, or of a record that stands on it.
        lazy: its content has not been fetched.
        held_by: who keeps it from being removed, in words.
    """

    id: str
    record_type: RecordType
    description: str
    size: int
    created_at: int
    last_used_at: int | None
    usage_count: int
    in_use: bool
    mutable: bool
    shared: bool
    lazy: bool
    parents: Sequence[str] = ()
    held_by: tuple[str, ...] = ()
