"""Which cache records to hand to others: a walk down the key graph from the keys of a result.

What comes out is a list of records that refer to each other by position, inputs first, so that it can be
written to a manifest, and read back in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from dockc.base.record import Mutable, Record
from dockc.solver.cache.storage.base import CacheLink, CacheResult, KeyRecord
from dockc.solver.core.cachekey import is_ephemeral, root_key

T = TypeVar("T")

ROOT = -1
"""The output index of a link whose digest is that of operation and output together (`cachekey.root_key`)."""


class ExportMode(StrEnum):
    """How many results go along with the keys."""

    MIN = "min"
    """That of the build, and of its inputs those that can be handed over as they are."""
    MAX = "max"
    """Those of all steps."""


class ExportLink(Record):
    """An input of a record: the position of another record, and the selector it is used with."""

    record: int
    selector: str = ""


class ExportResult(Record, Generic[T]):
    """A result that goes along: when it was made (nanoseconds since the epoch), and what it is to the receiver."""

    created_at: int
    remote: T


class ExportRecord(Record, Generic[T]):
    """One key.

    Attributes:
        digest: of the operation and its output index (`cachekey.root_key`); for a key without inputs, its id.
        inputs: for each input, the records that name it equally well.
        results: loadable results under the key.
    """

    digest: str
    inputs: tuple[tuple[ExportLink, ...], ...] = ()
    results: tuple[ExportResult[T], ...] = ()


class ExportedKeys(Protocol):
    """What a walk asks of a key graph: see `CacheKeyStorage`."""

    def backlinks(self, key: str) -> tuple[tuple[str, CacheLink], ...]:
        """Which keys lead to `key`, and how."""
        ...

    def results(self, key: str) -> tuple[CacheResult, ...]:
        """The results that hang on `key`."""
        ...

    def recall(self, key: str) -> KeyRecord | None:
        """What was remembered about a key."""
        ...


Resolve = Callable[[CacheResult, bool], T | None]
"""Turns a result into what the receiver can load; with False only if that needs no work (no new blobs)."""


def export(
    storage: ExportedKeys,
    keys: Iterable[str],
    resolve: Resolve[T],
    *,
    mode: ExportMode = ExportMode.MIN,
    roots: bool = False,
    allow: Callable[[KeyRecord | None], bool] = lambda record: True,
    instead: Callable[[KeyRecord | None], str] = lambda record: "",
) -> tuple[ExportRecord[T], ...]:
    """The records below `keys`, those of inputs before those of their users.

    A key of which some input can be named by no lasting key is left out, with everything that needs it.

    Args:
        storage: the key graph.
        keys: of the results that were built.
        resolve: see `Resolve`.
        mode: which results go along.
        roots: whether results of keys without inputs (sources) go along too.
        allow: whether the result of a step may go along, by what is remembered of its key.
        instead: the key that says the same of a source to others, by what is remembered of its own key; "" for none.
            Where both lead to a step, only that one goes along.
    """
    return _Walk(storage, resolve, mode, roots, allow, instead).run(tuple(dict.fromkeys(keys)))


class _Visit(Mutable):
    """A key on the way: its links, and how many of them have been followed."""

    key: str
    links: Sequence[tuple[str, CacheLink]]
    at: int = 0


class _Walk(Generic[T]):
    """Depth first, without recursion. `_position` maps a finished key to its record, None for one left out."""

    def __init__(
        self,
        storage: ExportedKeys,
        resolve: Resolve[T],
        mode: ExportMode,
        roots: bool,
        allow: Callable[[KeyRecord | None], bool],
        instead: Callable[[KeyRecord | None], str],
    ) -> None:
        self._storage, self._resolve, self._mode, self._roots, self._allow = storage, resolve, mode, roots, allow
        self._instead = instead
        self._others: dict[str, str] = {}
        self._position: dict[str, int | None] = {}
        self._records: list[ExportRecord[T]] = []

    def run(self, tops: tuple[str, ...]) -> tuple[ExportRecord[T], ...]:
        for top in tops:
            if top in self._position or is_ephemeral(top):
                continue
            open_keys = {top}
            stack = [_Visit(top, self._links(top))]
            while stack:
                visit = stack[-1]
                if visit.at < len(visit.links):
                    below = visit.links[visit.at][0]
                    visit.at += 1
                    # A key can lead back to itself, when an operation changes nothing; that link says nothing.
                    if below not in self._position and below not in open_keys and not is_ephemeral(below):
                        open_keys.add(below)
                        stack.append(_Visit(below, self._links(below)))
                    continue
                stack.pop()
                open_keys.discard(visit.key)
                self._finish(visit, top=visit.key in tops)
        return tuple(self._records)

    def _links(self, key: str) -> Sequence[tuple[str, CacheLink]]:
        """What leads to a key, less the names of sources that say nothing to others beside those that do."""
        links = self._storage.backlinks(key)
        if len(links) < 2:
            return links
        known = frozenset(links)
        return [one for one in links if not (other := self._other(one[0])) or (other, one[1]) not in known]

    def _other(self, key: str) -> str:
        found = self._others.get(key)
        if found is None:
            found = self._others[key] = self._instead(self._storage.recall(key))
        return found

    def _finish(self, visit: _Visit, *, top: bool) -> None:
        """Make the record of a key whose inputs are done."""
        self._position[visit.key] = None
        if not visit.links:
            self._add(visit.key, ExportRecord(visit.key, (), self._results(visit.key, top, self._roots)))
            return
        # Links of one operation belong together; a key found by several operations gives several records.
        by_operation: dict[str, dict[int, dict[ExportLink, None]]] = {}
        for below, link in visit.links:
            position = self._position.get(below)
            root = link.digest if link.output == ROOT else root_key(link.digest, link.output)
            inputs = by_operation.setdefault(root, {})
            names = inputs.setdefault(link.input, {})
            if position is not None:
                names[ExportLink(position, link.selector)] = None
        for root, inputs in sorted(by_operation.items()):
            if sorted(inputs) != list(range(len(inputs))) or not all(inputs.values()):
                continue
            named = tuple(tuple(inputs[i]) for i in range(len(inputs)))
            results = self._results(visit.key, top, True)
            self._add(visit.key, ExportRecord(root, named, results))

    def _add(self, key: str, record: ExportRecord[T]) -> None:
        self._position[key] = len(self._records)
        self._records.append(record)

    def _results(self, key: str, top: bool, wanted: bool) -> tuple[ExportResult[T], ...]:
        """The newest result of a key that can be handed over."""
        if not wanted or not self._allow(self._storage.recall(key)):
            return ()
        for result in sorted(self._storage.results(key), key=lambda r: -r.created_at):
            remote = self._resolve(result, top or self._mode is ExportMode.MAX)
            if remote is not None:
                return (ExportResult(result.created_at, remote),)
        return ()
