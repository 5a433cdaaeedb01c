"""An imported cache as the solver reads one: a key graph and results that are fetched when somebody needs them.

A config names operations by the digest of `operation@output` alone (`cachekey.root_key`), so links are looked up by
that. Ids of imported keys that
have inputs are made here, the same for the same config; what a build uses of them is copied to the store's own cache by
`CombinedCache`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

from dockc.base.record import Record
from dockc.errors import DockcError
from dockc.runtime.cancel import Cancelled
from dockc.runtime.refs.result import RefResult
from dockc.runtime.refs.types import CacheLayerFailed, LayerDescriptor, Provider
from dockc.runtime.registry.transport import Unreachable
from dockc.runtime.remotecache.config import CacheConfig, CacheRecord
from dockc.solver.cache.export import ROOT
from dockc.solver.cache.storage.base import CacheKeyStorage, CacheLink, CacheResult, KeyRecord, NotFound
from dockc.solver.core.cachekey import root_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading

    from dockc.oci.descriptor import Descriptor
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.types import Progress
    from dockc.solver.result import Result

_Link = tuple[int, str, str]  # input, key of operation and output, selector
_NUMBERS = itertools.count()


class CautiousProvider:
    """Fetches a cache's layers; whatever goes wrong is the cache's fault (`DoubtfulProvider`). A layer that has failed once is
    not asked for again, and nothing is once the cache could not be reached.
    """

    def __init__(self, name: str, inner: Provider, layers: tuple[str, ...] = ()) -> None:
        """Guard a provider.

        Args:
            name: whose layers these are, for messages.
            inner: fetches them.
            layers: digests of all that it has, which are given up together; of none, each by itself.
        """
        self._name = name
        self._inner = inner
        self._layers = layers
        self._failed: dict[str, str] = {}

    def fetch(
        self,
        descriptor: Descriptor,
        content: ContentStore,
        *,
        cancelled: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Bring a blob into the content store, which verifies it.

        Raises:
            CacheLayerFailed: it cannot be had, or is not what it should be.
        """
        if failed := self._failed.get("") or self._failed.get(descriptor.digest):
            raise self._lost(descriptor, failed)
        try:
            self._inner.fetch(descriptor, content, cancelled=cancelled, progress=progress)
        except Cancelled:
            raise
        except DockcError as error:
            self._failed["" if isinstance(error, Unreachable) else descriptor.digest] = error.message
            raise self._lost(descriptor, error.message) from error

    def unusable(self, descriptor: Descriptor, why: str) -> CacheLayerFailed:
        """See `DoubtfulProvider`."""
        return self._lost(descriptor, why)

    def _lost(self, descriptor: Descriptor, why: str) -> CacheLayerFailed:
        error = CacheLayerFailed(f"{self._name}: {why}")
        error.layers = self._layers or (descriptor.digest,)
        return error


class Imported(Record):
    """What was read of one cache.

    Attributes:
        name: for messages.
        config: its keys.
        layers: its layers as something that can be fetched, by position; None for one that cannot be used.
        provider: fetches what else the config names.
    """

    name: str
    config: CacheConfig
    layers: tuple[LayerDescriptor | None, ...]
    provider: Provider | None = None


class ImportedKeys:
    """The key graph of a config (`CacheKeyStorage`). Additions stay in memory and end with the build; nothing is
    remembered for explanations.
    """

    def __init__(self, config: CacheConfig, usable: Callable[[int], bool]) -> None:
        """Take over a config.

        Args:
            config: links of its records go backwards.
            usable: whether a layer, by its position, can be fetched.
        """
        self._links: dict[str, dict[_Link, dict[str, None]]] = {}
        self._back: dict[str, dict[tuple[str, CacheLink], None]] = {}
        self._results: dict[str, dict[str, CacheResult]] = {}
        self._sources: dict[str, dict[tuple[str, CacheLink], None]] = {}
        number = next(_NUMBERS)
        ids: list[str] = []
        for at, record in enumerate(config.records):
            key = _id(record, ids)
            ids.append(key)
            for i, names in enumerate(record.inputs):
                for one in names:
                    source = (ids[one.link], CacheLink(i, ROOT, record.digest, one.selector))
                    self._sources.setdefault(key, {})[source] = None
                    self._links.setdefault(ids[one.link], {}).setdefault((i, record.digest, one.selector), {})[key] = (
                        None
                    )
            for which, result in enumerate(record.results):
                if all(map(usable, result.layers)):
                    name = f"{at}.{which}.{number}"  # several caches are read as one: names are of no other
                    self._results.setdefault(key, {})[name] = CacheResult(name, result.created_at)

    def exists(self, key: str) -> bool:
        """See `CacheKeyStorage`."""
        return key in self._results or key in self._links

    def keys(self) -> Iterator[str]:
        """See `CacheKeyStorage`."""
        return iter(tuple(dict.fromkeys((*self._results, *self._links))))

    def results(self, key: str) -> tuple[CacheResult, ...]:
        """See `CacheKeyStorage`."""
        return tuple(self._results.get(key, {}).values())

    def load(self, key: str, result_id: str) -> CacheResult:
        """See `CacheKeyStorage`."""
        try:
            return self._results[key][result_id]
        except KeyError:
            raise NotFound(f"no result {result_id} under key {key}") from None

    def add_result(self, key: str, result: CacheResult) -> None:
        """An imported cache takes no results."""
        raise TypeError("an imported cache is read only")

    def release(self, result_id: str) -> None:
        """Forget a result that cannot be had."""
        for results in self._results.values():
            results.pop(result_id, None)

    def keys_by_result(self, result_id: str) -> tuple[str, ...]:
        """See `CacheKeyStorage`."""
        return tuple(key for key, results in self._results.items() if result_id in results)

    def result_ids(self) -> tuple[str, ...]:
        """See `CacheKeyStorage`."""
        return tuple(dict.fromkeys(name for results in self._results.values() for name in results))

    def add_link(self, key: str, link: CacheLink, target: str) -> None:
        """Let `key` lead to `target` while this build lasts."""
        self._links.setdefault(key, {}).setdefault(_link(link), {})[target] = None

    def links(self, key: str, link: CacheLink) -> tuple[str, ...]:
        """See `CacheKeyStorage`; also notes how the build spelt a link that is found, which the config does not say."""
        targets = tuple(self._links.get(key, {}).get(_link(link), ()))
        for target in targets:
            self._back.setdefault(target, {})[key, link] = None
        return targets

    def has_link(self, key: str, link: CacheLink, target: str) -> bool:
        """See `CacheKeyStorage`."""
        return target in self._links.get(key, {}).get(_link(link), {})

    def backlinks(self, key: str) -> tuple[tuple[str, CacheLink], ...]:
        """The links to `key` that a build has followed; of others only a digest is known."""
        return tuple(self._back.get(key, {}))

    def sources(self, key: str) -> tuple[tuple[str, CacheLink], ...]:
        """All links to `key` that the config knows; their digest is that of operation and output together."""
        return tuple(self._sources.get(key, {}))

    def remember(self, record: KeyRecord) -> None:
        """Nothing is kept."""

    def recall(self, key: str) -> KeyRecord | None:
        """Nothing is known."""
        return None

    def recall_similar(self, name: str, digest: str, limit: int = 8) -> tuple[KeyRecord, ...]:
        """Nothing is known."""
        return ()

    def flush(self) -> None:
        """Nothing to write."""

    def close(self) -> None:
        """Nothing to close."""


def _link(link: CacheLink) -> _Link:
    return link.input, root_key(link.digest, link.output), link.selector


def _id(record: CacheRecord, ids: Sequence[str]) -> str:
    if not record.inputs:
        return record.digest
    hasher = sha256(b"imported\n" + record.digest.encode())
    for names in record.inputs:
        name = min((ids[one.link], one.selector) for one in names)
        hasher.update("\n{} {}".format(*name).encode("utf-8", "surrogatepass"))
    return "sha256:" + hasher.hexdigest()


class ImportedResults:
    """Results of a config (`CacheResultStorage`): nothing is fetched before a step or an output needs the files."""

    def __init__(self, imported: Imported, refs: RefManager) -> None:
        self._imported = imported
        self._refs = refs

    def save(self, result: Result, created_at: int) -> CacheResult:
        """An imported cache takes no results."""
        raise TypeError("an imported cache is read only")

    def load(self, result: CacheResult) -> Result:
        """The layers of a result as a file system."""
        layers = _layers(self._imported, result.id)
        if any(layer is None for layer in layers):
            raise NotFound(result.id)
        return RefResult(self._refs.from_layers([layer for layer in layers if layer is not None]))

    def exists(self, result_id: str) -> bool:
        """Whether `load` has what it needs; blobs are asked for when they are needed."""
        return True


class WithImported:
    """A store's key graph with those of the caches that a build reads, for writing a cache (`ExportedKeys`)."""

    def __init__(self, main: CacheKeyStorage, imports: Sequence[tuple[ImportedKeys, Imported]]) -> None:
        self._main, self._imports = main, imports

    def backlinks(self, key: str) -> tuple[tuple[str, CacheLink], ...]:
        """See `CacheKeyStorage`."""
        found = dict.fromkeys(self._main.backlinks(key))
        for keys, _ in self._imports:
            found.update(dict.fromkeys(keys.sources(key)))
        return tuple(found)

    def results(self, key: str) -> tuple[CacheResult, ...]:
        """See `CacheKeyStorage`: the store's own first; `layers` knows the others."""
        found = list(self._main.results(key))
        for number, (keys, _) in enumerate(self._imports):
            found += [CacheResult(f"{number}:{one.id}", one.created_at) for one in keys.results(key)]
        return tuple(found)

    def recall(self, key: str) -> KeyRecord | None:
        """See `CacheKeyStorage`."""
        return self._main.recall(key)

    def layers(self, result_id: str) -> tuple[LayerDescriptor, ...] | None:
        """The layers of a cache's result; None for one of the store's own."""
        number, colon, name = result_id.partition(":")
        if not colon:
            return None
        _, imported = self._imports[int(number)]
        return tuple(layer for layer in _layers(imported, name) if layer is not None)


def _layers(imported: Imported, name: str) -> list[LayerDescriptor | None]:
    """The layers of a result by its name in `ImportedKeys`."""
    at, which, _ = map(int, name.split("."))
    return [imported.layers[place] for place in imported.config.records[at].results[which].layers]
