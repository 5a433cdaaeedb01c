"""Looks up, loads and saves results by cache key: the key graph and the result store as one cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from dockc.base import record as lean
from dockc.base.concealing import concealed, secret_values, without_values
from dockc.solver.cache.storage.base import CacheKeyStorage, CacheLink, CacheResult, CacheResultStorage, KeyRecord
from dockc.solver.core.cachekey import derived_key, is_ephemeral, root_key
from dockc.solver.core.events import KeyRef, KeySpec, Record
from dockc.solver.result import Result


class Provenance(lean.Record):
    """What to remember about a key when a result is saved under it: for explanations, so without secrets."""

    vertex: str
    name: str
    preimage: Mapping[str, object] = lean.made(dict)
    contents: Mapping[int, str] = lean.made(dict)

    @property
    def shown(self) -> str:
        """The name, without the values of secret variables that the compiler has put into it."""
        return without_values(self.name, secret_values(self.preimage))

    def record(self, key: str, spec: KeySpec, created_at: int) -> KeyRecord:
        """What to remember about `key`, made as `spec`."""
        inputs = tuple(
            {
                "keys": [[ref.key, ref.selector] for ref in refs if not ref.content],
                "content": self.contents.get(i, ""),
            }
            for i, refs in enumerate(spec.deps)
        )
        preimage = concealed(self.preimage)
        return KeyRecord(key, spec.digest, spec.output, self.vertex, self.shown, preimage, inputs, created_at)


class CacheManager(Protocol):
    """A cache as the runner sees it. `query`, `records` and `has` are quick; `load` and `save` may block."""

    def query(self, digest: str, output: int, index: int, keys: Sequence[KeyRef]) -> tuple[str, ...]:
        """Keys of output `output` of operation `digest` that follow from the keys of its input `index`.

        With index -1 the operation has no inputs.
        """
        ...

    def link(
        self, digest: str, output: int, keys: Sequence[str], names: Sequence[tuple[int, Sequence[KeyRef]]]
    ) -> None:
        """Let all `names` of inputs, by their numbers, lead to `keys`, which were found through every input."""
        ...

    def records(self, keys: Sequence[str]) -> tuple[Record, ...]:
        """The loadable results under `keys`."""
        ...

    def load(self, record: Record) -> Result:
        """A hold on a result; raises NotFound or a DockcError."""
        ...

    def save(self, spec: KeySpec, result: Result, created_at: int, about: Provenance) -> str:
        """Keep `result` (still the caller's) under a key; return the key's id."""
        ...

    def has(self, spec: KeySpec) -> bool:
        """Whether a loadable result is there under the key."""
        ...

    def similar(self, name: str, digest: str) -> tuple[KeyRecord, ...]:
        """What is remembered about keys of vertices with this name or this digest, newest first."""
        ...

    def flush(self) -> None:
        """Make what was saved visible to other processes."""
        ...


class LocalCache:
    """The cache over one key graph and one result store. No state of its own: any thread may call."""

    def __init__(self, keys: CacheKeyStorage, results: CacheResultStorage) -> None:
        self.keys = keys
        self.results = results

    def query(self, digest: str, output: int, index: int, keys: Sequence[KeyRef]) -> tuple[str, ...]:
        """See `CacheManager.query`."""
        if index < 0:
            root = root_key(digest, output)
            return (root,) if self.keys.exists(root) else ()
        found: dict[str, None] = {}
        for ref in keys:
            found.update(dict.fromkeys(self.keys.links(ref.key, CacheLink(index, output, digest, ref.selector))))
        return tuple(found)

    def link(
        self, digest: str, output: int, keys: Sequence[str], names: Sequence[tuple[int, Sequence[KeyRef]]]
    ) -> None:
        """See `CacheManager.link`."""
        for i, refs in names:
            for ref in refs:
                link = CacheLink(i, output, digest, ref.selector)
                for key in keys:
                    if not is_ephemeral(ref.key) and not self.keys.has_link(ref.key, link, key):
                        self.keys.add_link(ref.key, link, key)

    def records(self, keys: Sequence[str]) -> tuple[Record, ...]:
        """See `CacheManager.records`; forgets results that the result store has lost."""
        records = []
        for key in keys:
            for result in self.keys.results(key):
                if self.results.exists(result.id):
                    records.append(Record(key, result.id, result.created_at))
                else:
                    self.keys.release(result.id)
        return tuple(records)

    def load(self, record: Record) -> Result:
        """See `CacheManager.load`."""
        return self.results.load(CacheResult(record.result, record.created_at))

    def find(self, spec: KeySpec) -> str | None:
        """The id of an existing key, by the links from all of its inputs; None for a new key."""
        if not spec.deps:
            return root_key(spec.digest, spec.output)
        common: dict[str, None] | None = None
        for i, refs in enumerate(spec.deps):
            here: dict[str, None] = {}
            for ref in refs:
                link = CacheLink(i, spec.output, spec.digest, ref.selector)
                here.update(dict.fromkeys(self.keys.links(ref.key, link)))
            common = here if common is None else {key: None for key in common if key in here}
            if not common:
                return None
        return min(common) if common else None

    def save(self, spec: KeySpec, result: Result, created_at: int, about: Provenance) -> str:
        """See `CacheManager.save`.

        A key that cannot be found again (an input without any lasting name) is not stored, nor is the result.
        """
        key = self.find(spec) or derived_key(spec)
        if is_ephemeral(key):
            return key
        kept = self.results.save(result, created_at)
        self.keys.add_result(key, kept)
        for i, refs in enumerate(spec.deps):
            for ref in refs:
                if not is_ephemeral(ref.key):
                    self.keys.add_link(ref.key, CacheLink(i, spec.output, spec.digest, ref.selector), key)
        self.keys.remember(about.record(key, spec, created_at))
        return key

    def has(self, spec: KeySpec) -> bool:
        """See `CacheManager.has`."""
        key = self.find(spec)
        return key is not None and any(self.results.exists(result.id) for result in self.keys.results(key))

    def similar(self, name: str, digest: str) -> tuple[KeyRecord, ...]:
        """See `CacheManager.similar`."""
        return self.keys.recall_similar(name, digest)

    def flush(self) -> None:
        """See `CacheManager.flush`."""
        self.keys.flush()

    def release_unreferenced(self) -> int:
        """Forget every result that the result store has lost; return how many there were."""
        lost = [result for result in self.keys.result_ids() if not self.results.exists(result)]
        for result in lost:
            self.keys.release(result)
        self.keys.flush()
        return len(lost)
