"""A key graph and results in memory: for solvers without a store."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Iterator

from dockc.solver.cache.storage.base import CacheLink, CacheResult, KeyRecord, NotFound
from dockc.solver.result import HeldResult, Result, SharedResult


class MemoryKeyStorage:
    """`CacheKeyStorage` in dictionaries. Mutable state: all `_` tables, under `_lock`."""

    def __init__(self) -> None:
        self._results: dict[str, dict[str, CacheResult]] = {}
        self._links: dict[str, dict[CacheLink, dict[str, None]]] = {}
        self._back: dict[str, dict[tuple[str, CacheLink], None]] = {}
        self._by_result: dict[str, dict[str, None]] = {}
        self._records: dict[str, KeyRecord] = {}
        self._alike: dict[str, list[tuple[int, str]]] = {}  # by name and by digest: when made and key, oldest first
        self._lock = threading.RLock()

    def exists(self, key: str) -> bool:
        """Whether the key has results or leads anywhere."""
        return key in self._results or key in self._links

    def keys(self) -> Iterator[str]:
        """Every key id."""
        with self._lock:
            return iter(tuple(dict.fromkeys((*self._results, *self._links, *self._back))))

    def results(self, key: str) -> tuple[CacheResult, ...]:
        """The results that hang on `key`."""
        with self._lock:
            return tuple(self._results.get(key, {}).values())

    def load(self, key: str, result_id: str) -> CacheResult:
        """The result `result_id` of `key`; raises NotFound."""
        try:
            return self._results[key][result_id]
        except KeyError:
            raise NotFound(f"no result {result_id} under key {key}") from None

    def add_result(self, key: str, result: CacheResult) -> None:
        """Hang a result on a key."""
        with self._lock:
            self._results.setdefault(key, {})[result.id] = result
            self._by_result.setdefault(result.id, {})[key] = None

    def release(self, result_id: str) -> None:
        """Forget a result, and the keys that lead nowhere without it."""
        with self._lock:
            empty = list(self._by_result.pop(result_id, {}))
            for key in empty:
                results = self._results.get(key, {})
                results.pop(result_id, None)
                if not results:
                    self._results.pop(key, None)
            while empty:
                key = empty.pop()
                if key in self._results or key in self._links:
                    continue
                self._forget(key)
                for parent, link in self._back.pop(key, {}):
                    links = self._links[parent]
                    del links[link][key]
                    if not links[link]:
                        del links[link]
                    if not links:
                        del self._links[parent]
                        empty.append(parent)

    def keys_by_result(self, result_id: str) -> tuple[str, ...]:
        """The keys on which a result hangs."""
        with self._lock:
            return tuple(self._by_result.get(result_id, {}))

    def result_ids(self) -> tuple[str, ...]:
        """Every result id once."""
        with self._lock:
            return tuple(self._by_result)

    def add_link(self, key: str, link: CacheLink, target: str) -> None:
        """Let `key` lead to `target`."""
        with self._lock:
            self._links.setdefault(key, {}).setdefault(link, {})[target] = None
            self._back.setdefault(target, {})[key, link] = None

    def links(self, key: str, link: CacheLink) -> tuple[str, ...]:
        """Where `key` leads by `link`."""
        with self._lock:
            return tuple(self._links.get(key, {}).get(link, {}))

    def has_link(self, key: str, link: CacheLink, target: str) -> bool:
        """Whether `key` leads to `target` by `link`."""
        return target in self._links.get(key, {}).get(link, {})

    def backlinks(self, key: str) -> tuple[tuple[str, CacheLink], ...]:
        """Which keys lead to `key`, and how."""
        with self._lock:
            return tuple(self._back.get(key, {}))

    def remember(self, record: KeyRecord) -> None:
        """Keep what is known about a key."""
        with self._lock:
            self._forget(record.key)
            self._records[record.key] = record
            for what in _what(record):
                insort(self._alike.setdefault(what, []), (record.created_at, record.key))

    def _forget(self, key: str) -> None:
        record = self._records.pop(key, None)
        if record is None:
            return
        for what in _what(record):
            alike, entry = self._alike[what], (record.created_at, key)
            del alike[bisect_left(alike, entry)]
            if not alike:
                del self._alike[what]

    def recall(self, key: str) -> KeyRecord | None:
        """What was remembered about a key."""
        return self._records.get(key)

    def recall_similar(self, name: str, digest: str, limit: int = 8) -> tuple[KeyRecord, ...]:
        """Records with the same name or digest, newest first."""
        with self._lock:
            newest = [*self._alike.get(f"name {name}", ())[-limit:], *self._alike.get(f"digest {digest}", ())[-limit:]]
            return tuple(self._records[key] for _, key in sorted(set(newest), reverse=True)[:limit])

    def flush(self) -> None:
        """Nothing to do: no other process sees this."""

    def close(self) -> None:
        """Nothing to let go of."""


def _what(record: KeyRecord) -> tuple[str, str]:
    return f"name {record.name}", f"digest {record.digest}"


class MemoryResultStorage:
    """`CacheResultStorage` that holds on to the results themselves. `close` releases them."""

    def __init__(self) -> None:
        self._results: dict[str, tuple[SharedResult, HeldResult]] = {}
        self._lock = threading.Lock()

    def save(self, result: Result, created_at: int) -> CacheResult:
        """Keep a hold of `result`."""
        with self._lock:
            if result.id not in self._results:
                kept = result.clone() if isinstance(result, HeldResult) else result
                shared = SharedResult(kept)
                self._results[result.id] = (shared, shared.acquire())
        return CacheResult(result.id, created_at)

    def load(self, result: CacheResult) -> Result:
        """One more hold."""
        with self._lock:
            found = self._results.get(result.id)
            if found is None:
                raise NotFound(f"no result {result.id}")
            return found[0].acquire()

    def exists(self, result_id: str) -> bool:
        """Whether it is kept."""
        return result_id in self._results

    def remove(self, result_id: str) -> None:
        """Let go of one result."""
        with self._lock:
            found = self._results.pop(result_id, None)
        if found is not None:
            found[1].release()

    def close(self) -> None:
        """Let go of all."""
        for result_id in tuple(self._results):
            self.remove(result_id)
