"""Several caches as one: the own one, which is written to, and others that are only read."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from dockc.base.record import replace
from dockc.solver.cache.cachemanager import LocalCache, Provenance
from dockc.solver.cache.storage.base import KeyRecord, NotFound
from dockc.solver.core.cachekey import is_ephemeral
from dockc.solver.core.events import KeyRef, KeySpec, Record
from dockc.solver.result import Result


class CombinedCache:
    """Reads `main` and others as one; what comes from another source is kept in `main`, with its keys.

    Others come and go while builds run. A `Record` says in `source` where it is from: 0 is `main`.

    Mutable: `_caches` by their number, which is never given twice; to be changed on the loop's thread.
    """

    def __init__(self, main: LocalCache, others: Sequence[LocalCache] = ()) -> None:
        self._main = main
        self._caches: dict[int, LocalCache] = dict(enumerate((main, *others)))
        self._numbers = itertools.count(len(self._caches))

    def join(self, cache: LocalCache) -> int:
        """Read one more cache from now on; returns the number by which it leaves."""
        number = next(self._numbers)
        self._caches = {**self._caches, number: cache}
        return number

    def leave(self, number: int) -> None:
        """Read a cache no more. What was taken from it is kept."""
        self._caches = {at: cache for at, cache in self._caches.items() if at != number}

    def query(self, digest: str, output: int, index: int, keys: Sequence[KeyRef]) -> tuple[str, ...]:
        """See `CacheManager.query`."""
        caches = self._caches
        if len(caches) == 1:
            return self._main.query(digest, output, index, keys)
        found: dict[str, None] = {}
        for cache in caches.values():
            found.update(dict.fromkeys(cache.query(digest, output, index, keys)))
        return tuple(found)

    def link(
        self, digest: str, output: int, keys: Sequence[str], names: Sequence[tuple[int, Sequence[KeyRef]]]
    ) -> None:
        """See `CacheManager.link`; of other sources' keys only those that are kept here already."""
        self._main.link(digest, output, [key for key in keys if self._main.keys.results(key)], names)

    def records(self, keys: Sequence[str]) -> tuple[Record, ...]:
        """See `CacheManager.records`; a result that several sources have is taken from the first."""
        records: dict[tuple[str, str], Record] = {}
        for source, cache in self._caches.items():
            for record in cache.records(keys):
                records.setdefault((record.key, record.result), replace(record, source=source))
        return tuple(records.values())

    def load(self, record: Record) -> Result:
        """See `CacheManager.load`."""
        source = self._caches.get(record.source)
        if source is None:
            raise NotFound(record.result)
        result = source.load(record)
        if source is not self._main:
            try:
                kept = self._main.results.save(result, record.created_at)
                self._main.keys.add_result(record.key, kept)
                self._copy_links(source, record.key)
            except BaseException:
                result.release()
                raise
        return result

    def _copy_links(self, source: LocalCache, key: str) -> None:
        """Let `key` be found in the main cache by every way that leads to it in `source`."""
        seen = {key}
        stack = [key]
        while stack:
            target = stack.pop()
            if (record := source.keys.recall(target)) is not None:
                self._main.keys.remember(record)
            for parent, link in source.keys.backlinks(target):
                if not is_ephemeral(parent):
                    self._main.keys.add_link(parent, link, target)
                if parent not in seen:
                    seen.add(parent)
                    stack.append(parent)

    def save(self, spec: KeySpec, result: Result, created_at: int, about: Provenance) -> str:
        """See `CacheManager.save`."""
        return self._main.save(spec, result, created_at, about)

    def has(self, spec: KeySpec) -> bool:
        """See `CacheManager.has`; only the own cache counts, since others do not change meanwhile."""
        return self._main.has(spec)

    def similar(self, name: str, digest: str) -> tuple[KeyRecord, ...]:
        """See `CacheManager.similar`."""
        return self._main.similar(name, digest)

    def flush(self) -> None:
        """See `CacheManager.flush`."""
        self._main.flush()
