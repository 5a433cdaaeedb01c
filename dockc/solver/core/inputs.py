"""What an edge knows of its inputs, with every count that its decisions are made of.

It is told of one input at a time, so that news of one cost what one costs, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from dockc.base.record import NamedTuple
from dockc.solver.core.status import CACHE_FAST, CACHE_SLOW, COMPLETE, INITIAL, EdgeStatus

if TYPE_CHECKING:
    from dockc.solver.core.events import CacheMapSpec, Failure

    class _Vertex(Protocol):
        maps: list[CacheMapSpec]
        contents: dict[int, str]

    class _Edge(Protocol):
        """What is read of an edge (`edge.EdgeState`) and of those that it reads."""

        status: EdgeStatus
        handle: int | None
        failure: Failure | None
        tokens: set[str]
        found: list[dict[str, None]]
        keys: dict[str, None]
        asks: list[EdgeStatus]
        news: dict[int, None]

        @property
        def vertex(self) -> _Vertex: ...
        @property
        def inputs(self) -> Sequence[_Edge]: ...
        @property
        def owner(self) -> _Edge | None: ...
        @property
        def live(self) -> _Edge: ...
        def dep(self, i: int) -> _Edge: ...


class Seen(NamedTuple):
    """What one input was like.

    Attributes:
        status: of the edge that stands for it.
        level: how far the lookups through it had got: at most cache-slow, and then they are finished.
        matched: whether it leads to a key of the edge that reads it.
        result: whether it has one.
        unread: whether its content can be read, and has to be before the operation can run.
    """

    status: EdgeStatus = INITIAL
    level: EdgeStatus = INITIAL
    matched: bool = False
    result: bool = False
    unread: bool = False


class Names(NamedTuple):
    """By what one input was known in the index of equal keys: the edge that stands for it, how many tokens that has,
    whether its content has been looked at, and whether this comes to any name at all.
    """

    edge: int = 0
    tokens: int = 0
    read: bool = False
    known: bool = False


_NOTHING, _NAMELESS = Seen(), Names()


class Inputs:
    """The inputs of one edge, as they were when `look` last looked at each. Changed by the core only.

    Attributes:
        number: how many there are.
        seen: what each was like.
        at: how many are at each level.
        unmatched: of these, how many lead to no key of the edge.
        behind: of those below cache-slow, how many there are of each status.
        results: how many have a result.
        nameless: how many the index of equal keys has no name for.
        failed: those that have failed.
        changed: those of which something else may have to be asked than before.
        renamed: those whose names have changed since the edge was placed in the index.
        digesting: those whose contents are being computed for the edge.
        undigested: those whose contents the edge needs computed, too, as soon as it waits for nothing else.
        open: keys that some of them lead to and that the edge does not have yet: how many at cache-slow do.
    """

    __slots__ = (
        "_hits", "_names", "at", "behind", "changed", "digesting", "failed", "nameless", "number", "open", "renamed",
        "results", "seen", "undigested", "unmatched",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = [_NOTHING] * number
        self.at = [number, 0, 0]
        self.unmatched = [number, 0, 0]
        self.behind = [number, 0, 0, 0]
        self.results = 0
        self.nameless = number
        self.failed: set[int] = set()
        self.changed: dict[int, None] = {}
        self.renamed: dict[int, None] = {}
        self.digesting: dict[int, None] = {}
        self.undigested: dict[int, None] = {}
        self.open: dict[str, int] = {}
        self._hits: dict[str, int] = {}
        self._names = [_NAMELESS] * number

    # ------------------------------------------------------------ being told

    def look(self, edge: _Edge, i: int) -> None:
        """Take up what is known of input `i` of `edge` by now."""
        dep = edge.inputs[i]
        if dep.owner is not None:
            dep = dep.live
        vertex = edge.vertex
        if dep.failure is not None:
            self.failed.add(i)
        elif self.failed:
            self.failed.discard(i)
        if not vertex.maps:
            return
        content = vertex.contents.get(i)
        seen = _seen(edge, dep, i)
        if seen != self.seen[i]:
            self._replace(edge, i, self.seen[i], Seen._make(seen))
        names = (id(dep), len(dep.tokens), content is not None, bool(dep.tokens or content))
        if names != self._names[i]:
            self.nameless += self._names[i].known - names[3]
            self._names[i] = Names._make(names)
            self.renamed[i] = None

    def _replace(self, edge: _Edge, i: int, before: Seen, now: Seen) -> None:
        for seen, by in ((before, -1), (now, 1)):
            self.at[seen.level] += by
            self.unmatched[seen.level] += 0 if seen.matched else by
            self.behind[seen.status] += by if seen.level < CACHE_SLOW else 0
            self.results += by if seen.result else 0
        if self.open and (before.level == CACHE_SLOW) != (now.level == CACHE_SLOW):
            for key in edge.found[i]:
                if key in self.open:
                    self.open[key] += 1 if now.level == CACHE_SLOW else -1
        self.seen[i] = now
        self.changed[i] = None
        self.asked(edge, i)

    def asked(self, edge: _Edge, i: int) -> bool:
        """Take up what the edge wants of input `i`; whether it lets go of a content that is being computed."""
        if edge.asks[i] == COMPLETE and self.seen[i].unread:
            if i not in self.digesting:
                self.undigested[i] = None
            return False
        self.undigested.pop(i, None)
        return self.digesting.pop(i, 0) is None

    def lead(self, edge: _Edge, i: int, keys: Iterable[str]) -> list[str]:
        """Take up that input `i` leads to these keys; those of them that all inputs lead to by now and that are new."""
        found, slow = edge.found[i], self.seen[i].level == CACHE_SLOW
        new = []
        for key in dict.fromkeys(keys):
            if key not in found:
                found[key] = None
                self._hits[key] = self._hits.get(key, 0) + 1
                if key not in edge.keys:
                    self.open[key] = self.open.get(key, 0) + slow
            if self._hits[key] == self.number and key not in edge.keys:
                self.open.pop(key, None)
                new.append(key)
        return new

    def forget(self) -> None:
        """No input leads to any key."""
        self.open.clear()
        self._hits.clear()

    # ------------------------------------------------------------ being asked

    def lowest(self) -> EdgeStatus:
        """The lowest level of all inputs; cache-slow without any."""
        return INITIAL if self.at[INITIAL] else CACHE_FAST if self.at[CACHE_FAST] else CACHE_SLOW

    def highest_unmatched(self) -> EdgeStatus:
        """The highest level of those that lead to no key."""
        return CACHE_SLOW if self.unmatched[CACHE_SLOW] else CACHE_FAST if self.unmatched[CACHE_FAST] else INITIAL

    def keys_can_come(self, edge: _Edge) -> bool:
        """Whether a key that some lead to might still be confirmed by the others."""
        slow = self.at[CACHE_SLOW]
        return any(count == slow and key not in edge.keys for key, count in self.open.items())

    def least(self) -> EdgeStatus:
        """The least status of those below cache-slow."""
        return next(status for status in EdgeStatus if self.behind[status])

    def wrong(self, edge: _Edge) -> str:
        """What of all this is not what there is, for checks; linear in the inputs."""
        for i, seen in enumerate(self.seen):
            if i not in edge.news and seen != (now := _seen(edge, edge.dep(i), i)):
                return f"input {i} is {now}, not {seen}"
        for level in (INITIAL, CACHE_FAST, CACHE_SLOW):
            there = [seen for seen in self.seen if seen.level == level]
            if (self.at[level], self.unmatched[level]) != (len(there), sum(not seen.matched for seen in there)):
                return f"{len(there)} inputs are at {level.label}, not {self.at[level]}"
        if self.results != sum(seen.result for seen in self.seen):
            return f"{self.results} inputs do not have results"
        behind = [seen.status for seen in self.seen if seen.level < CACHE_SLOW]
        if self.behind != [behind.count(status) for status in EdgeStatus]:
            return f"the statuses {behind} are not {self.behind}"
        slow = [found for found, seen in zip(edge.found, self.seen, strict=True) if seen.level == CACHE_SLOW]
        for key in {key for found in edge.found for key in found if key not in edge.keys}:
            if self.open[key] != sum(key in found for found in slow):
                return f"not {self.open[key]} inputs lead to {key}"
        asked = {i for i, seen in enumerate(self.seen) if seen.unread and edge.asks[i] == COMPLETE}
        return "" if asked == {*self.digesting, *self.undigested} else f"the inputs to be read are {asked}"


def _seen(edge: _Edge, dep: _Edge, i: int) -> tuple[EdgeStatus, EdgeStatus, bool, bool, bool]:
    """What input `i` is like now, which `dep` stands for: a `Seen`, or what is equal to it."""
    vertex = edge.vertex
    spec, status, content = vertex.maps[0].deps[i], dep.status, vertex.contents.get(i)
    level = status if status < CACHE_SLOW else CACHE_SLOW
    if spec.content:
        level = CACHE_SLOW if content is not None else level if level < CACHE_FAST else CACHE_FAST
    result = dep.handle is not None
    return status, level, bool(edge.found[i]), result, result and content is None and (spec.content or spec.preprocess)
