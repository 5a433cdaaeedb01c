"""Cache mounts in a cache elsewhere: chunks of their streams, many in one blob, and an index that says which are where.

    {"version": 1,
     "packs":  [{"digest": DIGEST, "size": BYTES}],
     "chunks": [[DIGEST of the bytes, number of a pack, offset, length in the pack, length]],
     "mounts": [{"id": ID, "based": false, "size": BYTES, "chunks": [number of a chunk]}]}

A mount's stream (`refs.mounttree`) is cut where its bytes say so. A chunk that the index knows already stays where it
is; new ones are compressed with zstd and laid side by side in new packs, so that a small change sends little and the
store elsewhere gets few objects. A pack of which less than half is still named is not used any more: what is needed of
it is sent anew. The index is a blob, zstd too; a cache config names it under `mounts`, which BuildKit does not read.

Whoever writes an index may be lying: packs and chunks are checked against their digests, and sizes bounded.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any

from dockc.base.record import Record
from dockc.golang.text import dump_json
from dockc.oci import digest as digests
from dockc.oci.descriptor import Descriptor
from dockc.runtime.archive.chunking import LARGEST, Chunker
from dockc.runtime.archive.compress import Compression, Decompressor, compress_bytes
from dockc.runtime.cancel import check_cancelled
from dockc.runtime.remotecache.base import CacheFailed

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.types import Progress, Provider

INDEX_TYPE = "application/vnd.dockc.cachemounts.v1+json+zstd"
PACK_TYPE = "application/vnd.dockc.cachemounts.pack.v1"
INDEX_LIMIT = 256 << 20
"""An index is not larger than this (bytes), packed or not."""
_MOST = 4_000_000  # chunks, packs or mounts
_MOST_BYTES = 1 << 40  # of one mount
_PACK = 16 << 20
_VERSION = 1
_ZSTD = Compression("zstd")


class Pack(Record):
    """A blob of chunks."""

    digest: str
    size: int

    @property
    def descriptor(self) -> Descriptor:
        """The blob."""
        return Descriptor(PACK_TYPE, self.digest, self.size)


class Chunk(Record):
    """Some bytes of a stream: their digest and length, and where they lie compressed."""

    digest: str
    pack: int
    offset: int
    length: int
    size: int


class StoredMount(Record):
    """A mount: its id, whether it is based on files of a build, the length of its stream, and its chunks by number."""

    id: str
    based: bool
    size: int
    chunks: tuple[int, ...]


class MountIndex(Record):
    """What a cache has of mounts."""

    packs: tuple[Pack, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    mounts: tuple[StoredMount, ...] = ()

    def find(self, name: str, based: bool) -> StoredMount | None:
        """A mount by its id."""
        return next((one for one in self.mounts if one.id == name and one.based is based), None)


# --- the index ----------------------------------------------------------------------------------------


def dump(index: MountIndex) -> bytes:
    """The bytes of an index's blob; equal indexes give equal bytes."""
    document = {
        "version": _VERSION,
        "packs": [{"digest": one.digest, "size": one.size} for one in index.packs],
        "chunks": [[one.digest, one.pack, one.offset, one.length, one.size] for one in index.chunks],
        "mounts": [
            {"id": one.id, "based": one.based, "size": one.size, "chunks": list(one.chunks)} for one in index.mounts
        ],
    }
    return compress_bytes(dump_json(document), _ZSTD)


def parse(data: bytes) -> MountIndex:
    """Read an index's blob.

    Raises:
        CacheFailed: it is none, or speaks of what is not there or cannot be.
    """
    plain = Decompressor(BytesIO(data)).read(INDEX_LIMIT + 1)
    if len(plain) > INDEX_LIMIT:
        raise CacheFailed(f"the index of cache mounts is larger than {INDEX_LIMIT} bytes")
    try:
        document = json.loads(plain)
        if document["version"] != _VERSION:
            raise CacheFailed(f"an index of cache mounts of version {document['version']!r} cannot be read")
        found = _of_json(document)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise CacheFailed("the index of cache mounts makes no sense") from None
    return found


def _of_json(document: dict[str, Any]) -> MountIndex:
    if max(len(document[key]) for key in ("packs", "chunks", "mounts")) > _MOST:
        raise ValueError
    packs = tuple(Pack(_digest(one["digest"]), _within(one["size"], 1 << 40)) for one in document["packs"])
    chunks = []
    for digest, pack, offset, length, size in document["chunks"]:
        whole = packs[_within(pack, len(packs) - 1)].size
        chunks.append(
            Chunk(
                _digest(digest), pack, _within(offset, whole), _within(length, whole - offset), _within(size, LARGEST)
            )
        )
    mounts = []
    for one in document["mounts"]:
        numbers = tuple(_within(number, len(chunks) - 1) for number in one["chunks"])
        size = sum(chunks[number].size for number in numbers)
        if size != _within(one["size"], _MOST_BYTES) or not isinstance(one["id"], str) or not one["id"]:
            raise ValueError
        mounts.append(StoredMount(one["id"], one["based"] is True, size, numbers))
    return MountIndex(packs, tuple(chunks), tuple(mounts))


def _digest(value: object) -> str:
    if not isinstance(value, str) or not digests.is_valid(value):
        raise ValueError
    return value


def _within(value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError
    return value


# --- writing ------------------------------------------------------------------------------------------


class MountWriter:
    """Collects mounts for one cache: chunks that are known stay where they are, new ones go into packs.

    Mutable: the tables of the index to come, and the pack that is being filled.

    Attributes:
        made: digests of the packs that were put into the content store.
    """

    def __init__(self, content: ContentStore, known: MountIndex | None = None) -> None:
        """Begin.

        Args:
            content: takes the new packs.
            known: what the place has already.
        """
        self._content = content
        self._packs: list[Pack] = []
        self._chunks: list[Chunk] = []
        self._numbers: dict[str, int] = {}
        self._mounts: list[StoredMount] = []
        self._filling: list[bytes] = []
        self._filled = 0
        self._waiting: list[int] = []
        self._known: dict[str, Chunk] = {}
        self._old = known.packs if known is not None else ()
        self._old_place: dict[int, int] = {}
        self.made: list[str] = []
        if known is not None:
            worth = _worthwhile(known)
            self._known = {one.digest: one for one in known.chunks if one.pack in worth}

    def add(
        self, name: str, based: bool, write: Callable[[Callable[[bytes], object]], object], *,
        cancelled: threading.Event | None = None,
    ) -> None:  # fmt: skip
        """Take in a mount; `write` is given what takes its stream."""
        numbers: list[int] = []
        size = 0

        def take(chunk: bytes) -> None:
            nonlocal size
            check_cancelled(cancelled)
            numbers.append(self._number(chunk))
            size += len(chunk)

        chunker = Chunker(take)
        write(chunker.write)
        chunker.close()
        self._mounts.append(StoredMount(name, based, size, tuple(numbers)))

    def keep(self, other: MountIndex, mount: StoredMount) -> None:
        """Let a mount of the index that was known stay as it is."""
        numbers = []
        for at in mount.chunks:
            chunk = other.chunks[at]
            if chunk.digest not in self._numbers:
                self._numbers[chunk.digest] = len(self._chunks)
                self._chunks.append(self._of_old(chunk))
            numbers.append(self._numbers[chunk.digest])
        self._mounts.append(StoredMount(mount.id, mount.based, mount.size, tuple(numbers)))

    def close(self) -> MountIndex:
        """All packs are in the content store, or where they were; the index names no others."""
        self._flush()
        return MountIndex(tuple(self._packs), tuple(self._chunks), tuple(self._mounts))

    def _number(self, chunk: bytes) -> int:
        digest = f"sha256:{sha256(chunk).hexdigest()}"
        number = self._numbers.get(digest)
        if number is not None:
            return number
        number = self._numbers[digest] = len(self._chunks)
        known = self._known.get(digest)
        if known is not None:
            self._chunks.append(self._of_old(known))
            return number
        data = compress_bytes(chunk, _ZSTD)
        self._chunks.append(Chunk(digest, -1, self._filled, len(data), len(chunk)))
        self._waiting.append(number)
        self._filling.append(data)
        self._filled += len(data)
        if self._filled >= _PACK:
            self._flush()
        return number

    def _of_old(self, chunk: Chunk) -> Chunk:
        place = self._old_place.get(chunk.pack)
        if place is None:
            place = self._old_place[chunk.pack] = len(self._packs)
            self._packs.append(self._old[chunk.pack])
        return Chunk(chunk.digest, place, chunk.offset, chunk.length, chunk.size)

    def _flush(self) -> None:
        if not self._filling:
            return
        data = b"".join(self._filling)
        digest = digests.from_bytes(data)
        if not self._content.has(digest):
            self.made.append(digest)
        self._content.put(data)
        for number in self._waiting:
            old = self._chunks[number]
            self._chunks[number] = Chunk(old.digest, len(self._packs), old.offset, old.length, old.size)
        self._packs.append(Pack(digest, len(data)))
        self._filling, self._filled, self._waiting = [], 0, []


def _worthwhile(index: MountIndex) -> set[int]:
    """The packs of which at least half is named."""
    named: dict[int, int] = {}
    for chunk in index.chunks:
        named[chunk.pack] = named.get(chunk.pack, 0) + chunk.length
    return {pack for pack, size in named.items() if 2 * size >= index.packs[pack].size}


# --- reading ------------------------------------------------------------------------------------------


class MountReader:
    """The stream of a mount, of packs that are fetched when they are needed and removed when they are not any more.

    Raises:
        CacheFailed: from `read`: bytes that are not what the index says.
        DockcError: from `read`: a pack cannot be had.
    """

    def __init__(
        self,
        index: MountIndex,
        mount: StoredMount,
        provider: Provider,
        content: ContentStore,
        *,
        cancelled: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Begin at the start of the stream.

        Args:
            index: that of the cache.
            mount: one of its mounts.
            provider: has the packs.
            content: takes them for a while; nobody else's, or what others fetched would be removed.
            cancelled: looked at before each chunk.
            progress: told of every pack.
        """
        self._index = index
        self._provider = provider
        self._content = content
        self._cancelled = cancelled
        self._progress = progress
        self._chunks: Iterator[int] = iter(mount.chunks)
        self._last = {index.chunks[at].pack: place for place, at in enumerate(mount.chunks)}
        self._here: set[int] = set()
        self._place = -1
        self._left = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, all with -1; empty at the end."""
        parts: list[memoryview] = []
        while size:
            if not self._left:
                self._left = memoryview(self._next())
                if not self._left:
                    break
            part = self._left[:size] if size >= 0 else self._left
            self._left = self._left[len(part) :]
            size -= len(part) if size > 0 else 0
            parts.append(part)
        return b"".join(parts)

    def _next(self) -> bytes:
        check_cancelled(self._cancelled)
        number = next(self._chunks, None)
        if number is None:
            return b""
        self._place += 1
        chunk = self._index.chunks[number]
        data = chunk_bytes(self._bytes_of(chunk), chunk)
        if self._last[chunk.pack] == self._place:
            self._here.discard(chunk.pack)
            self._content.remove(self._index.packs[chunk.pack].digest)
        return data

    def _bytes_of(self, chunk: Chunk) -> bytes:
        pack = self._index.packs[chunk.pack]
        if chunk.pack not in self._here:
            self._provider.fetch(pack.descriptor, self._content, cancelled=self._cancelled, progress=self._progress)
            self._here.add(chunk.pack)
        with self._content.open(pack.digest) as file:
            file.seek(chunk.offset)
            return file.read(chunk.length)


def chunk_bytes(data: bytes, chunk: Chunk) -> bytes:
    """The bytes of a chunk from what lies in the pack.

    Raises:
        CacheFailed: they are not what the index says.
        StoreError: they are no zstd.
    """
    plain = Decompressor(BytesIO(data)).read(chunk.size + 1)
    if len(plain) != chunk.size or f"sha256:{sha256(plain).hexdigest()}" != chunk.digest:
        raise CacheFailed(f"a chunk of a cache mount is not what its index says ({chunk.digest})")
    return plain
