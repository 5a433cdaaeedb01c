"""The state of edges and vertices in the core, and every question about it that has one answer.

State is what has been told; what follows from it is computed when asked for (`level`, `hopeless`, `settled_status`,
`wishes`), never stored. Only `scheduler.SchedulerCore` changes state.

How far an edge has got is its status:

    initial      nothing is known
    cache-fast   every lookup that needs only definitions has been made
    cache-slow   every lookup that needs contents of inputs has been made too; or more lookups can change nothing
    complete     the result is here

An edge climbs only as far as somebody wants it to. What it wants from its inputs follows from the same ladder:
definitions first; then, for the inputs that match nothing yet, what needs content; then the same for the inputs
that do match; and only when nothing can match any more, the results of all inputs, to execute.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from dockc.solver.core.cachekey import root_key
from dockc.solver.core.events import CacheMapSpec, Failure, Output, Record, VertexSpec
from dockc.solver.vertex import EdgeId


class EdgeStatus(IntEnum):
    """How far an edge has got, or is wanted to get (`INITIAL`: not wanted)."""

    INITIAL = 0
    CACHE_FAST = 1
    CACHE_SLOW = 2
    COMPLETE = 3

    @property
    def label(self) -> str:
        """The name in texts: `cache-fast`."""
        return self.name.lower().replace("_", "-")


TRANSITIONS: dict[EdgeStatus, frozenset[EdgeStatus]] = {
    EdgeStatus.INITIAL: frozenset({EdgeStatus.CACHE_FAST, EdgeStatus.CACHE_SLOW, EdgeStatus.COMPLETE}),
    EdgeStatus.CACHE_FAST: frozenset({EdgeStatus.CACHE_SLOW, EdgeStatus.COMPLETE}),
    EdgeStatus.CACHE_SLOW: frozenset({EdgeStatus.COMPLETE}),
    EdgeStatus.COMPLETE: frozenset(),
}

INITIAL, CACHE_FAST, CACHE_SLOW, COMPLETE = EdgeStatus

Work = tuple[str, int]
"""Names work of a vertex: ("map", nth), ("digest", input), ("exec", 0), ("load", output), ("save", output)."""

EXEC: Work = ("exec", 0)


class VertexState:
    """A vertex that at least one build has loaded. Changed by `SchedulerCore` only.

    Attributes:
        id: its name among the active vertices: its digest, or that with `+nocache` (see `SchedulerCore`).
        spec: what was loaded; its inputs name active vertices.
        jobs: builds that hold it.
        maps: cache maps so far; more than one only for vertices without inputs.
        contents: content digest by input, once computed ("" for none).
        outputs: what the operation gave, once executed.
        edges: by output index.
        pending: tickets of work that goes on.
        failure: why nothing more can be had from it.
        share: whether an execution shall first look for equal work of other processes.
    """

    __slots__ = (
        "contents", "edges", "failure", "id", "jobs", "maps", "outputs", "pending", "share", "spec",
    )  # fmt: skip

    def __init__(self, vertex_id: str, spec: VertexSpec) -> None:
        self.id = vertex_id
        self.spec = spec
        self.jobs: set[str] = set()
        self.maps: list[CacheMapSpec] = []
        self.contents: dict[int, str] = {}
        self.outputs: tuple[Output | None, ...] | None = None
        self.edges: dict[int, EdgeState] = {}
        self.pending: dict[Work, int] = {}
        self.failure: Failure | None = None
        self.share = True

    @property
    def maps_complete(self) -> bool:
        """Whether every name of the vertex is known."""
        return bool(self.maps) and not self.maps[-1].more

    @property
    def claims(self) -> bool:
        """Whether a name of the vertex is not beyond doubt."""
        return any(spec.claimed for spec in self.maps)

    @property
    def digests(self) -> list[str]:
        """The names that are beyond doubt, in the order in which they were told."""
        return [spec.digest for spec in self.maps if not spec.claimed]

    def needs_digest(self, i: int) -> bool:
        """Whether input `i` must still be preprocessed or digested before the operation can run."""
        dep = self.maps[0].deps[i]
        return (dep.content or dep.preprocess) and i not in self.contents


class Wanted:
    """Who wants an edge and how far: `(edge, input)` or `(request, 0)`. Who wants it farthest is known without a
    search.

    Attributes:
        by: how far each wants it.
        requests: those of `by` that are requests of builds.
    """

    __slots__ = ("_counts", "by", "requests")

    def __init__(self) -> None:
        self.by: dict[tuple[EdgeState | int, int], EdgeStatus] = {}
        self.requests: dict[int, None] = {}
        self._counts = [0, 0, 0, 0]

    def set(self, consumer: tuple[EdgeState | int, int], ask: EdgeStatus) -> None:
        """Let one want the edge so far; INITIAL: not any more."""
        self._counts[self.by.pop(consumer, INITIAL)] -= 1
        if ask > INITIAL:
            self.by[consumer] = ask
            self._counts[ask] += 1
        if isinstance(consumer[0], int):
            if ask > INITIAL:
                self.requests[consumer[0]] = None
            else:
                self.requests.pop(consumer[0], None)

    @property
    def highest(self) -> EdgeStatus:
        """The farthest that anybody wants."""
        counts = self._counts
        return COMPLETE if counts[3] else CACHE_SLOW if counts[2] else CACHE_FAST if counts[1] else INITIAL


class EdgeState:
    """One output of an active vertex. Changed by `SchedulerCore` only.

    Attributes:
        inputs: the edges read, as loaded; `dep(i)` follows merges.
        wanted: who wants this edge and how far.
        asks: what this edge wants of each input; mirrored in the inputs' `wanted`.
        found: for each input, the keys of this edge that the input's keys lead to.
        probed: for each input, the input's keys that have been looked up; without inputs, the own names.
        keys: keys of this edge: found through every input, or made by saving.
        records: loadable results by (key, result).
        spent: records that could not be loaded.
        queries: tickets of cache queries that have not been answered.
        handle: the result; `loaded` when this edge owns it, else the vertex's output owns it.
        result_keys: the keys of the result.
        owner: the edge this one has been merged into.
        absorbed: edges merged into this one.
        tokens: its names in the index of equal keys; `placed` tells what was known when they were looked up.
    """

    __slots__ = (
        "absorbed", "asks", "failure", "found", "handle", "id", "inputs", "keys", "loaded", "loading", "needs",
        "owner", "placed", "probed", "queries", "records", "result_keys", "spent", "status", "tokens", "vertex",
        "wanted",
    )  # fmt: skip

    def __init__(self, vertex: VertexState, index: int, inputs: list[EdgeState]) -> None:
        n = len(inputs)
        self.vertex = vertex
        self.id = EdgeId(vertex.id, index)
        self.inputs = inputs
        self.wanted = Wanted()
        self.asks = [INITIAL] * n
        self.status = INITIAL
        self.found: list[dict[str, None]] = [{} for _ in range(n)]
        self.probed: list[set[str]] = [set() for _ in range(max(n, 1))]
        self.keys: dict[str, None] = {}
        self.records: dict[tuple[str, str], Record] = {}
        self.spent: set[tuple[str, str]] = set()
        self.queries: set[int] = set()
        self.handle: int | None = None
        self.loaded = False
        self.loading: Record | None = None
        self.result_keys: tuple[str, ...] = ()
        self.failure: Failure | None = None
        self.owner: EdgeState | None = None
        self.absorbed: dict[EdgeState, None] = {}
        self.tokens: set[str] = set()
        self.placed: list[int] = []
        self.needs: frozenset[Work] = frozenset()

    def forget_lookups(self) -> None:
        """Let everything be looked up once more."""
        self.keys.clear()
        for found in self.found:
            found.clear()
        for probed in self.probed:
            probed.clear()

    # ------------------------------------------------------------ derived facts

    @property
    def index(self) -> int:
        """Output index."""
        return self.id.index

    @property
    def want(self) -> EdgeStatus:
        """The farthest that anybody wants this edge."""
        return self.wanted.highest

    @property
    def live(self) -> EdgeState:
        """This edge, or the one that it has become by merging."""
        edge = self
        while edge.owner is not None:
            edge = edge.owner
        return edge

    def dep(self, i: int) -> EdgeState:
        """The edge that stands for input `i` now."""
        return self.inputs[i].live

    @property
    def ignores_cache(self) -> bool:
        """Whether the vertex must run in any case."""
        return self.vertex.spec.ignore_cache

    def deps(self) -> list[EdgeState]:
        """The edges that stand for all inputs now."""
        return [edge if edge.owner is None else edge.live for edge in self.inputs]

    def offered_keys(self) -> Iterable[str]:
        """Keys by which users of this edge may find their own results.

        An edge that must run in any case offers none: its users shall not be answered from before the run.
        """
        return () if self.ignores_cache else self.keys

    def lasting_keys(self) -> Iterable[str]:
        """Keys by which results of users may be kept: those of the result, and those offered that are beyond doubt."""
        offered = self.offered_keys()
        if self.vertex.claims:
            doubtful = {root_key(spec.digest, self.index) for spec in self.vertex.maps if spec.claimed}
            offered = [key for key in offered if key not in doubtful]
        return dict.fromkeys((*self.result_keys, *offered))

    def levels(self) -> list[EdgeStatus]:
        """How far the lookups through each input have got: at most cache-slow, and then they are finished."""
        contents = self.vertex.contents
        found = []
        for i, (dep, spec) in enumerate(zip(self.deps(), self.vertex.maps[0].deps, strict=True)):
            status = dep.status
            if spec.content:
                status = CACHE_SLOW if i in contents else status if status < CACHE_FAST else CACHE_FAST
            found.append(status if status < CACHE_SLOW else CACHE_SLOW)
        return found

    def hopeless(self) -> bool:
        """Whether no lookup can find a result of this edge any more, whatever else becomes known."""
        if self.ignores_cache:
            return True
        if all(self.found):
            return False
        return any(not found and level == CACHE_SLOW for found, level in zip(self.found, self.levels(), strict=True))

    def must_execute(self) -> bool:
        """Whether only running the operation can give the result."""
        if not self.vertex.maps or self.queries:
            return False
        if not self.inputs:
            return self.vertex.maps_complete
        return self.hopeless() or all(level == CACHE_SLOW for level in self.levels())

    def best_record(self) -> Record | None:
        """The record to load: the newest, of equally new ones that of the first cache source."""
        if not self.records:
            return None
        return min(self.records.values(), key=lambda r: (-r.created_at, r.source, r.key, r.result))

    def settled_status(self) -> EdgeStatus:
        """The status that the facts justify."""
        if self.handle is not None:
            return COMPLETE
        if not self.vertex.maps or self.queries:
            return self.status
        if not self.inputs:
            return CACHE_SLOW if self.keys or self.vertex.maps_complete else self.status
        if self.hopeless():
            return CACHE_SLOW
        levels = self.levels()
        status = min(levels)
        # A level that an input has reached without a match cannot bring a key of this edge, so this edge has
        # reached it as well, however far the other inputs are.
        for level, found in zip(levels, self.found, strict=True):
            if not found:
                status = max(status, level)
        if self.records and not self._keys_can_come(levels):
            status = CACHE_SLOW
        return max(self.status, status)

    def _keys_can_come(self, levels: list[EdgeStatus]) -> bool:
        """Whether a key that some input leads to might still be confirmed by the others."""
        known = {key for found in self.found for key in found if key not in self.keys}
        return any(
            all(key in found or level < CACHE_SLOW for found, level in zip(self.found, levels, strict=True))
            for key in known
        )

    def wishes(self, want: EdgeStatus) -> list[EdgeStatus]:
        """What this edge, itself wanted as far as `want`, wants of each input."""
        n = len(self.inputs)
        ready = self.records or self.vertex.outputs is not None
        if n == 0 or want <= self.status or (want == COMPLETE and ready):
            return [INITIAL] * n
        if not self.vertex.maps or self.queries:
            # Enough to go on with; what has already been asked for is not taken back for a moment's doubt.
            return [max(CACHE_FAST, ask) for ask in self.asks]
        if self.must_execute():
            return [COMPLETE if want == COMPLETE else INITIAL] * n
        if want == CACHE_FAST:
            return [CACHE_FAST] * n
        levels = self.levels()
        behind = [i for i in range(n) if levels[i] < CACHE_SLOW and not self.found[i]]
        if not behind:
            # Every input matches something, but nothing in common: the cheapest next step of all is enough.
            behind = [i for i in range(n) if levels[i] < CACHE_SLOW]
            least = min(self.dep(i).status for i in behind)
            behind = [i for i in behind if self.dep(i).status == least]
        wishes = [CACHE_FAST] * n
        for i in behind:
            wishes[i] = EdgeStatus(min(self.dep(i).status + 1, COMPLETE))
        return wishes

    def __repr__(self) -> str:
        return f"EdgeState({self.id} {self.status.label}, wanted {self.want.label})"
