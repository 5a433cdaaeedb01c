"""The state of edges and vertices in the core, and every question about it that has one answer.

State is what has been told, and what `inputs.Inputs` counts of it; what follows is computed when asked for (`hopeless`,
`settled_status`, `wish`), never stored. Only `scheduler.SchedulerCore` changes state.

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

from dockc.solver.core.cachekey import root_key
from dockc.solver.core.events import CacheMapSpec, Failure, Output, Record, VertexSpec
from dockc.solver.core.inputs import Inputs
from dockc.solver.core.status import CACHE_FAST, CACHE_SLOW, COMPLETE, INITIAL, EdgeStatus
from dockc.solver.vertex import EdgeId

Work = tuple[str, int]
"""Names work of a vertex: ("map", nth), ("digest", input), ("exec", 0), ("load", output), ("save", output)."""

EXEC: Work = ("exec", 0)

Mode = int
"""A rule by which an edge wants something of its inputs."""

NOTHING: Mode = 0
"""It has what it needs."""
WAIT: Mode = 1
"""Definitions: enough to go on with. What has been asked for is not taken back for a moment's doubt."""
RESULTS: Mode = 2
"""All results, to execute."""
DEFINITIONS: Mode = 3
"""All definitions."""
UNMATCHED: Mode = 4
"""The next step of every input that leads to no key yet."""
CHEAPEST: Mode = 5
"""This plus a status: the next step of the inputs of that status. Every input matches something, but nothing in common;
the cheapest step of all is enough.
"""


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
        depth: more than that of every vertex it reads, and no less than that of one that an edge of it has become.
        users: the active vertices that read it.
    """

    __slots__ = (
        "contents", "depth", "edges", "failure", "id", "jobs", "maps", "outputs", "pending", "share", "spec", "users",
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
        self.depth = 0
        self.users: dict[VertexState, None] = {}

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
        tokens: its names in the index of equal keys; `rivals` are those of edges that must run which it shares;
            `witness` says up to which input it has been compared with those of other edges.
        placed: how many maps were known when it was placed in that index.
        known: what it has seen of its inputs.
        news: inputs that have changed since; `stale`: all may have.
        mode: by which rule it has asked its inputs last; `asking`: whether it wants anything of them.
        need: the work of its vertex that it waits for, beside contents that are being computed.
    """

    __slots__ = (
        "absorbed", "asking", "asks", "failure", "found", "handle", "id", "inputs", "keys", "known", "loaded", "loading",
        "mode", "need", "news", "owner", "placed", "probed", "queries", "records", "result_keys", "rivals", "spent",
        "stale", "status", "tokens", "vertex", "wanted", "witness",
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
        self.rivals: dict[str, None] = {}
        self.witness: dict[str, int] = {}
        self.placed = 0
        self.known = Inputs(n)
        self.news: dict[int, None] = {}
        self.stale = True
        self.mode = NOTHING
        self.asking = False
        self.need: Work | None = None

    def forget_lookups(self) -> None:
        """Let everything be looked up once more."""
        self.keys.clear()
        for found in self.found:
            found.clear()
        for probed in self.probed:
            probed.clear()
        self.known.forget()
        self.stale = True

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

    def hopeless(self) -> bool:
        """Whether no lookup can find a result of this edge any more, whatever else becomes known."""
        return self.ignores_cache or self.known.unmatched[CACHE_SLOW] > 0

    def must_execute(self) -> bool:
        """Whether only running the operation can give the result."""
        if not self.vertex.maps or self.queries:
            return False
        if not self.inputs:
            return self.vertex.maps_complete
        return self.hopeless() or self.known.lowest() == CACHE_SLOW

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
        # A level that an input has reached without a match cannot bring a key of this edge, so this edge has
        # reached it as well, however far the other inputs are.
        status = max(self.known.lowest(), self.known.highest_unmatched())
        if self.records and not self.known.keys_can_come(self):
            status = CACHE_SLOW
        return max(self.status, status)

    def mode_for(self, want: EdgeStatus) -> Mode:
        """By which rule this edge, itself wanted as far as `want`, wants something of its inputs."""
        ready = self.records or self.vertex.outputs is not None
        if not self.inputs or want <= self.status or (want == COMPLETE and ready):
            return NOTHING
        if not self.vertex.maps or self.queries:
            return WAIT
        if self.must_execute():
            return RESULTS if want == COMPLETE else NOTHING
        if want == CACHE_FAST:
            return DEFINITIONS
        if self.known.unmatched[INITIAL] or self.known.unmatched[CACHE_FAST]:
            return UNMATCHED
        return CHEAPEST + self.known.least()

    def wish(self, mode: Mode, i: int) -> EdgeStatus:
        """What this edge wants of input `i` by the rule `mode`."""
        if mode == NOTHING:
            return INITIAL
        if mode == WAIT:
            return max(CACHE_FAST, self.asks[i])
        if mode == RESULTS:
            return COMPLETE
        seen = self.known.seen[i]
        if mode == DEFINITIONS or seen.level == CACHE_SLOW:
            return CACHE_FAST
        next_one = not seen.matched if mode == UNMATCHED else seen.status == mode - CHEAPEST
        return EdgeStatus(min(seen.status + 1, COMPLETE)) if next_one else CACHE_FAST

    def needs(self, work: Work) -> bool:
        """Whether this edge has a use for a piece of work of its vertex."""
        return work == self.need or (work[0] == "digest" and work[1] in self.known.digesting)

    def __repr__(self) -> str:
        return f"EdgeState({self.id} {self.status.label}, wanted {self.want.label})"
