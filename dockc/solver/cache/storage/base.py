"""The two halves of a cache: the key graph, and the results.

The key graph knows ids, links between them, and which result ids hang on which key; the result storage
turns a result id into a `Result`. They are apart so that a graph can live in SQLite, in memory or in a
manifest from a registry, while results live in the snapshot store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

from dockc.base.record import NamedTuple, Record
from dockc.solver.result import Result


class NotFound(KeyError):
    """No such key, or no such result."""


class CacheResult(Record):
    """A result id that hangs on a key, and when the result was made (nanoseconds since the epoch)."""

    id: str
    created_at: int


class CacheLink(NamedTuple):
    """How one key leads to another: as input `input` of operation `digest`, giving `output`."""

    input: int
    output: int
    digest: str
    selector: str = ""


class KeyRecord(Record):
    """What is remembered about a key for explanations; never used for a lookup.

    Attributes:
        key: the key's id.
        digest: the cache map's digest.
        output: output index.
        vertex: digest of the vertex that made the record.
        name: the vertex's name.
        preimage: what was hashed into `digest` (JSON values).
        inputs: for each input, its key ids and selectors, and its content digest: `{"keys": [[id, selector],
            ...], "content": "sha256:..." | ""}`.
        created_at: nanoseconds since the epoch.
    """

    key: str
    digest: str
    output: int
    vertex: str
    name: str
    preimage: Mapping[str, object]
    inputs: tuple[Mapping[str, object], ...]
    created_at: int


@runtime_checkable
class CacheKeyStorage(Protocol):
    """The key graph. Calls are quick and may come from any thread; a call is atomic."""

    def exists(self, key: str) -> bool:
        """Whether the key has results or leads anywhere."""
        ...

    def keys(self) -> Iterator[str]:
        """Every key id, in no particular order; safe against changes during the walk."""
        ...

    def results(self, key: str) -> tuple[CacheResult, ...]:
        """The results that hang on `key`."""
        ...

    def load(self, key: str, result_id: str) -> CacheResult:
        """The result `result_id` of `key`; raises NotFound."""
        ...

    def add_result(self, key: str, result: CacheResult) -> None:
        """Hang a result on a key; a second time updates its time."""
        ...

    def release(self, result_id: str) -> None:
        """Forget a result everywhere, and every key that then neither has results nor leads to any."""
        ...

    def keys_by_result(self, result_id: str) -> tuple[str, ...]:
        """The keys on which a result hangs."""
        ...

    def result_ids(self) -> tuple[str, ...]:
        """Every result id once."""
        ...

    def add_link(self, key: str, link: CacheLink, target: str) -> None:
        """Let `key` lead to `target`."""
        ...

    def links(self, key: str, link: CacheLink) -> tuple[str, ...]:
        """Where `key` leads by `link`."""
        ...

    def has_link(self, key: str, link: CacheLink, target: str) -> bool:
        """Whether `key` leads to `target` by `link`."""
        ...

    def backlinks(self, key: str) -> tuple[tuple[str, CacheLink], ...]:
        """Which keys lead to `key`, and how."""
        ...

    def remember(self, record: KeyRecord) -> None:
        """Keep what is known about a key for explanations; the latest record of a key wins."""
        ...

    def recall(self, key: str) -> KeyRecord | None:
        """What was remembered about a key."""
        ...

    def recall_similar(self, name: str, digest: str, limit: int = 8) -> tuple[KeyRecord, ...]:
        """Records of vertices with the same name or the same digest, newest first."""
        ...

    def flush(self) -> None:
        """Make everything written so far durable and visible to other processes."""
        ...

    def close(self) -> None:
        """Flush and let go of files. Further calls raise."""
        ...


@runtime_checkable
class CacheResultStorage(Protocol):
    """Results by id. `exists` is called often and must be quick; `save` and `load` may block."""

    def save(self, result: Result, created_at: int) -> CacheResult:
        """Keep `result` beyond this build (it stays the caller's) and return how to find it."""
        ...

    def load(self, result: CacheResult) -> Result:
        """A new hold on a kept result; raises NotFound when it has gone."""
        ...

    def exists(self, result_id: str) -> bool:
        """Whether `load` would find it."""
        ...
