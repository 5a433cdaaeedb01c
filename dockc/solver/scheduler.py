"""The scheduler core: told events, it answers with commands. No clock, no I/O, no asyncio, no randomness.

How it works: every edge that something may have changed for is put on a list and advanced until the list is
empty. To advance an edge is to bring it in accordance with the facts: take up what its inputs offer, look it up,
climb as far as the facts allow, decide whether to load or to run, and say what is wanted of the inputs. Whoever
wants the edge is put on the list when it has changed; whoever it wants something of, when that wish has changed.
At the end, work that nobody needs any more is cancelled.

Invariant (`check`): an edge that is wanted further than it has got waits for a ticket or for an input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from dockc.solver.cachekey import content_key
from dockc.solver.edge import (
    COMPLETE,
    EXEC,
    INITIAL,
    TRANSITIONS,
    EdgeState,
    EdgeStatus,
    VertexState,
    Work,
)
from dockc.solver.events import (
    CacheMapReady,
    Cancel,
    Cancelled,
    Command,
    ComputeDigest,
    ContentDigestReady,
    Event,
    Execute,
    Executed,
    Failed,
    Failure,
    Finish,
    GraphLoaded,
    JobClosed,
    KeyRef,
    KeysFound,
    KeySpec,
    LoadCacheMap,
    LoadResult,
    QueryKeys,
    QueryRecords,
    RecordsFound,
    Release,
    Requested,
    ResultLoaded,
    Saved,
    SaveResult,
    Superseded,
    VertexSpec,
    Withdrawn,
)
from dockc.solver.index import Atom, EdgeIndex
from dockc.solver.vertex import EdgeId

__all__ = ["SchedulerCore", "SchedulerError"]

E = TypeVar("E", bound=Event)
_NOCACHE = "+nocache"


class SchedulerError(AssertionError):
    """The core has broken one of its own rules: a bug, with the story of the last events."""


class _Ticket:
    """Whose work a ticket is: `edge` for queries, loads and saves; `vertex` None once nobody is interested."""

    __slots__ = ("cancelling", "edge", "input", "vertex", "work")

    def __init__(self, vertex: VertexState | None, work: Work, edge: EdgeState | None, i: int) -> None:
        self.vertex = vertex
        self.work = work
        self.edge = edge
        self.input = i
        self.cancelling = False


class SchedulerCore:
    """All scheduling decisions of one process.

    Mutable state: the tables below and the `VertexState`/`EdgeState` objects they lead to. It is changed inside
    `handle` only, which must not be called by two threads at once.

    A vertex that must ignore the cache, while an equal one that may use it is active, is active beside it as
    `<digest>+nocache`; while such a vertex is active, later builds that bring the vertex join it.
    """

    def __init__(self) -> None:
        self.vertices: dict[str, VertexState] = {}
        self.index = EdgeIndex()
        self.requests: dict[int, tuple[EdgeState, str, EdgeId]] = {}
        self.history: deque[Event] = deque(maxlen=40)
        self._bindings: dict[str, dict[str, str]] = {}
        self._tickets: dict[int, _Ticket] = {}
        self._last_ticket = 0
        self._dirty: dict[EdgeState, None] = {}
        self._touched: dict[VertexState, None] = {}
        self._commands: list[Command] = []

    # ------------------------------------------------------------ the one entrance

    def handle(self, event: Event) -> list[Command]:
        """Take one event; return what is to be done now.

        Raises:
            SchedulerError: an event for a ticket that is not open or does not fit, or a bug.
        """
        self.history.append(event)
        handler = self._HANDLERS.get(type(event))
        if handler is None:
            raise SchedulerError(f"not an event: {event!r}")
        handler(self, event)
        while self._dirty:
            edge = next(iter(self._dirty))
            del self._dirty[edge]
            self._advance(edge)
        self._sweep()
        commands, self._commands = self._commands, []
        return commands

    @property
    def open_tickets(self) -> int:
        """How many pieces of work have not been answered."""
        return len(self._tickets)

    def active_id(self, job: str, digest: str) -> str:
        """The id of the active vertex that stands for `digest` in `job`."""
        return self._bindings[job][digest]

    # ------------------------------------------------------------ builds come and go

    def _on_graph_loaded(self, event: GraphLoaded) -> None:
        bound = self._bindings.setdefault(event.job, {})
        for spec in event.vertices:
            if spec.digest in bound:
                continue
            inputs = tuple(EdgeId(bound[edge.vertex], edge.index) for edge in spec.inputs)
            active = self._choose_id(spec, inputs)
            bound[spec.digest] = active
            vertex = self.vertices.get(active)
            if vertex is None:
                vertex = VertexState(active, VertexSpec(spec.digest, inputs, spec.ignore_cache))
                self.vertices[active] = vertex
            self._attach(vertex, event.job)

    def _choose_id(self, spec: VertexSpec, inputs: tuple[EdgeId, ...]) -> str:
        other = spec.digest + _NOCACHE
        if other in self.vertices:
            return other
        vertex = self.vertices.get(spec.digest)
        if vertex is None:
            return spec.digest
        if (spec.ignore_cache and not vertex.spec.ignore_cache) or vertex.spec.inputs != inputs:
            return other
        return spec.digest

    def _attach(self, vertex: VertexState, job: str) -> None:
        """Let `job` hold `vertex`, what it reads, and what its edges have been merged into."""
        stack = [vertex]
        while stack:
            vertex = stack.pop()
            if job in vertex.jobs:
                continue
            vertex.jobs.add(job)
            stack += [self.vertices[edge.vertex] for edge in vertex.spec.inputs]
            stack += [edge.live.vertex for edge in vertex.edges.values() if edge.owner is not None]

    def _on_requested(self, event: Requested) -> None:
        active = EdgeId(self._bindings[event.job][event.edge.vertex], event.edge.index)
        edge = self._edge(active).live
        self.requests[event.request] = (edge, event.job, event.edge)
        edge.wanted[(event.request, 0)] = COMPLETE
        self._wake(edge)

    def _on_withdrawn(self, event: Withdrawn) -> None:
        found = self.requests.pop(event.request, None)
        if found is not None:
            edge = found[0].live
            edge.wanted.pop((event.request, 0), None)
            self._wake(edge)

    def _on_job_closed(self, event: JobClosed) -> None:
        for request, (_, job, _) in list(self.requests.items()):
            if job == event.job:
                self._on_withdrawn(Withdrawn(request))
        self._bindings.pop(event.job, None)
        dropped = []
        for vertex in self.vertices.values():
            vertex.jobs.discard(event.job)
            if not vertex.jobs:
                dropped.append(vertex)
        for vertex in dropped:
            for edge in vertex.edges.values():
                self._retire(edge)
        for vertex in dropped:
            self._drop(vertex)

    def _retire(self, edge: EdgeState) -> None:
        """Take back whatever `edge` wants of others."""
        for i, ask in enumerate(edge.asks):
            if ask > INITIAL:
                dep = edge.dep(i)
                dep.wanted.pop((edge, i), None)
                self._wake(dep)
                edge.asks[i] = INITIAL
        if edge.owner is not None and edge in edge.owner.absorbed:
            edge.owner.absorbed.remove(edge)

    def _drop(self, vertex: VertexState) -> None:
        for ticket_id in vertex.pending.values():
            self._cancel(ticket_id)
            self._orphan(ticket_id)
        for edge in vertex.edges.values():
            for ticket_id in edge.queries:
                self._orphan(ticket_id)
            self._dirty.pop(edge, None)
            if edge.owner is None:
                self.index.remove(edge)
            if edge.handle is not None and edge.loaded:
                self._commands.append(Release(edge.handle))
        for output in vertex.outputs or ():
            if output is not None:
                self._commands.append(Release(output.handle))
        self._touched.pop(vertex, None)
        del self.vertices[vertex.id]

    def _orphan(self, ticket_id: int) -> None:
        ticket = self._tickets[ticket_id]
        ticket.vertex = ticket.edge = None

    # ------------------------------------------------------------ answers

    def _on_cache_map_ready(self, event: CacheMapReady) -> None:
        ticket = self._close(event.ticket, "map")
        vertex = ticket.vertex
        if vertex is None:
            return
        if len(event.spec.deps) != len(vertex.spec.inputs):
            message = f"cache map speaks of {len(event.spec.deps)} inputs, the vertex has {len(vertex.spec.inputs)}"
            vertex.failure = Failure(event.ticket, vertex.spec.digest, message)
        vertex.maps.append(event.spec)
        self._wake_all(vertex)

    def _on_keys_found(self, event: KeysFound) -> None:
        ticket = self._close(event.ticket, "query")
        edge = ticket.edge
        if edge is None:
            return
        edge.queries.discard(event.ticket)
        if ticket.input >= 0:
            edge.found[ticket.input].update(dict.fromkeys(event.keys))
        new = [k for k in event.keys if k not in edge.keys and all(k in found for found in edge.found)]
        if new and edge.owner is None:
            edge.keys.update(dict.fromkeys(new))
            self._commands.append(QueryRecords(self._query(edge, -1), edge.id, tuple(new)))
            self._wake_users(edge)
        self._wake(edge)

    def _on_records_found(self, event: RecordsFound) -> None:
        ticket = self._close(event.ticket, "query")
        edge = ticket.edge
        if edge is None:
            return
        edge.queries.discard(event.ticket)
        for record in event.records:
            if (record.key, record.result) not in edge.spent:
                edge.records[(record.key, record.result)] = record
        self._wake(edge)

    def _on_content_digest_ready(self, event: ContentDigestReady) -> None:
        ticket = self._close(event.ticket, "digest")
        if ticket.vertex is not None:
            ticket.vertex.contents[ticket.input] = event.digest
            self._wake_all(ticket.vertex)

    def _on_result_loaded(self, event: ResultLoaded) -> None:
        ticket = self._close(event.ticket, "load")
        edge = ticket.edge
        if edge is None or edge.owner is not None or edge.handle is not None:
            self._commands.append(Release(event.handle))
            return
        assert edge.loading is not None
        keys = dict.fromkeys((edge.loading.key, *edge.keys))
        self._complete(edge, event.handle, tuple(keys), loaded=True)

    def _on_executed(self, event: Executed) -> None:
        vertex = self._close(event.ticket, "exec").vertex
        if vertex is None:
            self._commands += [Release(output.handle) for output in event.outputs if output is not None]
            return
        vertex.outputs = event.outputs
        for edge in list(vertex.edges.values()):
            output = event.outputs[edge.index] if edge.index < len(event.outputs) else None
            if edge.owner is None and edge.handle is None and output is not None and output.keys:
                self._complete(edge, output.handle, output.keys, loaded=False)
        self._wake_all(vertex)

    def _on_superseded(self, event: Superseded) -> None:
        vertex = self._close(event.ticket, "exec").vertex
        if vertex is None:
            return
        # Look everything up once more; if that finds nothing, run without asking the neighbours again.
        vertex.share = False
        for edge in vertex.edges.values():
            if edge.handle is None:
                edge.forget_lookups()
        self._wake_all(vertex)

    def _on_saved(self, event: Saved) -> None:
        ticket = self._close(event.ticket, "save")
        edge = ticket.edge
        if edge is None or edge.owner is not None:
            return
        assert ticket.vertex is not None
        assert ticket.vertex.outputs is not None
        output = ticket.vertex.outputs[edge.index]
        assert output is not None
        self._complete(edge, output.handle, event.keys, loaded=False)

    def _on_failed(self, event: Failed) -> None:
        ticket = self._close(event.ticket, None)
        vertex, edge = ticket.vertex, ticket.edge
        if vertex is None:
            return
        if ticket.cancelling:
            # Asked to stop, it has stopped; what it says about that is of no interest.
            self._forget(ticket)
            return
        failure = Failure(event.ticket, vertex.spec.digest, event.message)
        if ticket.work[0] == "load" and edge is not None:
            # What cannot be loaded is as good as not cached.
            assert edge.loading is not None
            name = (edge.loading.key, edge.loading.result)
            edge.spent.add(name)
            edge.records.pop(name, None)
            edge.loading = None
            self._wake(edge)
        elif edge is not None:
            edge.queries.discard(event.ticket)
            edge.failure = failure
            self._wake(edge)
            self._wake_users(edge)
        else:
            vertex.failure = failure
            self._wake_all(vertex)

    def _on_cancelled(self, event: Cancelled) -> None:
        ticket = self._close(event.ticket, None)
        if not ticket.cancelling:
            raise self._error(f"ticket {event.ticket} was not cancelled by the core")
        self._forget(ticket)

    def _forget(self, ticket: _Ticket) -> None:
        if ticket.edge is not None:
            ticket.edge.loading = None
        if ticket.vertex is not None:
            self._wake_all(ticket.vertex)

    # ------------------------------------------------------------ advancing an edge

    def _advance(self, edge: EdgeState) -> None:
        if edge.owner is not None:
            return
        self._touched[edge.vertex] = None
        want = edge.want
        if want == INITIAL:
            self._ask(edge, [INITIAL] * len(edge.inputs))
            edge.needs = frozenset()
            return
        if edge.handle is None and self._failure_of(edge) is not None:
            self._fail(edge)
            return
        if edge.handle is None and edge.vertex.maps:
            self._probe(edge)
            if self._merge_if_equal(edge):
                return
        self._climb(edge, edge.settled_status())
        if want <= edge.status:
            self._ask(edge, [INITIAL] * len(edge.inputs))
            edge.needs = frozenset()
            self._finish_requests(edge)
            return
        self._ask(edge, edge.wishes(want))
        edge.needs = frozenset(self._work(edge, want))
        for work in edge.needs:
            if work not in edge.vertex.pending:
                self._start(edge, work)

    def _failure_of(self, edge: EdgeState) -> Failure | None:
        if edge.failure is None:
            edge.failure = edge.vertex.failure
        if edge.failure is None:
            for i, ask in enumerate(edge.asks):
                if ask > INITIAL and (failure := edge.dep(i).failure) is not None:
                    edge.failure = failure
                    break
        return edge.failure

    def _fail(self, edge: EdgeState) -> None:
        self._ask(edge, [INITIAL] * len(edge.inputs))
        edge.needs = frozenset()
        self._finish_requests(edge)
        self._wake_users(edge)

    def _probe(self, edge: EdgeState) -> None:
        """Look up what the keys of the inputs lead to, each key once."""
        if edge.ignores_cache:
            return
        vertex = edge.vertex
        if not edge.inputs:
            for name in vertex.maps:
                if name.digest not in edge.probed[0]:
                    edge.probed[0].add(name.digest)
                    self._commands.append(QueryKeys(self._query(edge, -1), edge.id, name.digest))
            return
        digest = vertex.maps[0].digest
        for i in range(len(edge.inputs)):
            dep, spec = edge.dep(i), vertex.maps[0].deps[i]
            new = [KeyRef(k, spec.selector) for k in dep.offered_keys() if k not in edge.probed[i]]
            also: list[KeyRef] = []
            content = vertex.contents.get(i, "")
            if content and (key := content_key(content)) not in edge.probed[i]:
                new.append(KeyRef(key, content=True))
                also = [ref for ref in self._names(edge, i, content=False) if ref not in new]
            if new:
                edge.probed[i].update(ref.key for ref in new)
                ticket = self._query(edge, i)
                self._commands.append(QueryKeys(ticket, edge.id, digest, i, tuple(new), tuple(also)))

    def _names(self, edge: EdgeState, i: int, *, content: bool = True) -> list[KeyRef]:
        """Every key that names input `i` of `edge`, for looking up and for saving."""
        dep, vertex = edge.dep(i), edge.vertex
        selector = vertex.maps[0].deps[i].selector
        names = [KeyRef(k, selector) for k in dict.fromkeys((*dep.result_keys, *dep.offered_keys()))]
        digest = vertex.contents.get(i, "")
        if content and digest:
            names.append(KeyRef(content_key(digest), content=True))
        return names

    def _climb(self, edge: EdgeState, status: EdgeStatus) -> None:
        if status == edge.status:
            return
        if status not in TRANSITIONS[edge.status]:
            raise self._error(f"{edge} cannot go to {status.label}")
        edge.status = status
        self._wake_users(edge)

    def _complete(self, edge: EdgeState, handle: int, keys: tuple[str, ...], *, loaded: bool) -> None:
        edge.handle, edge.loaded, edge.loading = handle, loaded, None
        edge.result_keys = keys
        edge.keys.update(dict.fromkeys(keys))
        self._climb(edge, COMPLETE)
        self._wake(edge)

    def _work(self, edge: EdgeState, want: EdgeStatus) -> set[Work]:
        """What must be going on for `edge` to get further."""
        vertex = edge.vertex
        if not vertex.maps or (not edge.inputs and not vertex.maps_complete and not edge.records):
            if edge.queries:
                return set()
            return {("map", len(vertex.maps))}
        if vertex.outputs is not None and want == COMPLETE:
            return {("save", edge.index)}
        if edge.loading is not None or (want == COMPLETE and edge.records):
            return {("load", edge.index)}
        if edge.queries:
            return {work for work in edge.needs if work[0] == "digest" and work in vertex.pending}
        needs: set[Work] = {
            ("digest", i)
            for i, ask in enumerate(edge.asks)
            if ask == COMPLETE and vertex.needs_digest(i) and edge.dep(i).handle is not None
        }
        ready = all(edge.dep(i).handle is not None for i in range(len(edge.inputs)))
        if want == COMPLETE and not needs and ready and edge.must_execute():
            needs.add(EXEC)
        return needs

    def _start(self, edge: EdgeState, work: Work) -> None:
        vertex, (kind, n) = edge.vertex, work
        if kind == "map":
            self._commands.append(LoadCacheMap(self._begin(vertex, work), vertex.id, n))
        elif kind == "digest":
            handle = self._handle(edge.dep(n))
            self._commands.append(ComputeDigest(self._begin(vertex, work), vertex.id, n, handle))
        elif kind == "load":
            edge.loading = edge.best_record()
            assert edge.loading is not None
            self._commands.append(LoadResult(self._begin(vertex, work, edge), edge.id, edge.loading))
        elif kind == "exec":
            inputs = tuple(self._handle(edge.dep(i)) for i in range(len(edge.inputs)))
            edges = [e for _, e in sorted(vertex.edges.items()) if e.owner is None and e.handle is None]
            saves = tuple((e.index, self._key_specs(e)) for e in edges)
            share = vertex.share and not edge.ignores_cache
            self._commands.append(Execute(self._begin(vertex, work), vertex.id, inputs, saves, share))
        else:
            self._start_save(edge, work)

    def _start_save(self, edge: EdgeState, work: Work) -> None:
        outputs = edge.vertex.outputs
        assert outputs is not None
        output = outputs[edge.index] if edge.index < len(outputs) else None
        if output is None:
            message = f"the operation has no output {edge.index}: it gave {len(outputs)}"
            edge.failure = Failure(0, edge.vertex.spec.digest, message)
            self._fail(edge)
            return
        specs = self._key_specs(edge)
        self._commands.append(SaveResult(self._begin(edge.vertex, work, edge), edge.id, output.handle, specs))

    def _key_specs(self, edge: EdgeState) -> tuple[KeySpec, ...]:
        """The keys to save a result of `edge` under, with the names that merged edges know its inputs by."""
        vertex = edge.vertex
        if not edge.inputs:
            return tuple(KeySpec(spec.digest, edge.index) for spec in vertex.maps)
        deps = [dict.fromkeys(self._names(edge, i)) for i in range(len(edge.inputs))]
        family = list(edge.absorbed)
        for other in family:
            family += other.absorbed
            if other.vertex.maps and len(other.inputs) == len(deps):
                for i, names in enumerate(deps):
                    names.update(dict.fromkeys(self._names(other, i)))
        return (KeySpec(vertex.maps[0].digest, edge.index, tuple(tuple(names) for names in deps)),)

    def _handle(self, edge: EdgeState) -> int:
        assert edge.handle is not None
        return edge.handle

    # ------------------------------------------------------------ merging

    def _merge_if_equal(self, edge: EdgeState) -> bool:
        """Merge `edge` with an active edge of equal key, if there is one. True: `edge` is no more."""
        # Tokens, contents and maps only ever become more: where their numbers have stayed, nothing is new.
        vertex = edge.vertex
        known = [len(vertex.maps), len(vertex.contents)]
        for i in range(len(edge.inputs)):
            dep = edge.dep(i)
            known += (id(dep), len(dep.tokens))
        if edge.placed == known:
            return False
        edge.placed = known
        atoms = self._atoms(edge)
        if atoms is None:
            return False
        before = len(edge.tokens)
        holder = self.index.place(edge, [spec.digest for spec in vertex.maps], atoms)
        if len(edge.tokens) != before:
            self._wake_users(edge)
        if holder is None or holder.failure is not None or self._related(edge, holder):
            return False
        # The one that has got farther stays; of two equals, the older. One that must run stays in any case.
        source, target = (holder, edge) if self._progress(edge) > self._progress(holder) else (edge, holder)
        if source.ignores_cache and not target.ignores_cache:
            source, target = target, source
        if source.handle is not None or (source.ignores_cache and not target.ignores_cache):
            return False
        self._merge(source, target)
        return source is edge

    def _progress(self, edge: EdgeState) -> int:
        at_work = EXEC in edge.vertex.pending or ("load", edge.index) in edge.vertex.pending
        return 2 if edge.handle is not None else int(at_work)

    def _atoms(self, edge: EdgeState) -> list[frozenset[Atom]] | None:
        """What each input is known by; None while one of them is not known by anything."""
        atoms: list[frozenset[Atom]] = []
        for i in range(len(edge.inputs)):
            selector = edge.vertex.maps[0].deps[i].selector
            names = {(selector, token) for token in edge.dep(i).tokens}
            if content := edge.vertex.contents.get(i, ""):
                names.add(("=", content))
            if not names:
                return None
            atoms.append(frozenset(names))
        return atoms

    def _related(self, a: EdgeState, b: EdgeState) -> bool:
        """Whether one of the two needs the other, as things stand: they cannot become one."""
        return a.vertex is b.vertex or self._reaches(a, b) or self._reaches(b, a)

    def _reaches(self, start: EdgeState, goal: EdgeState) -> bool:
        seen: set[VertexState] = {start.vertex}
        stack = [start.vertex]
        while stack:
            vertex = stack.pop()
            below = [self.vertices[edge.vertex] for edge in vertex.spec.inputs]
            below += [edge.owner.vertex for edge in vertex.edges.values() if edge.owner is not None]
            for other in below:
                if other is goal.vertex:
                    return True
                if other not in seen:
                    seen.add(other)
                    stack.append(other)
        return False

    def _merge(self, source: EdgeState, target: EdgeState) -> None:
        self._ask(source, [INITIAL] * len(source.inputs))
        source.needs = frozenset()
        self._touched[source.vertex] = None
        source.owner = target
        target.absorbed.append(source)
        self.index.transfer(source, target)
        for consumer, ask in source.wanted.items():
            target.wanted[consumer] = max(ask, target.wanted.get(consumer, INITIAL))
            if isinstance(consumer[0], EdgeState):
                self._wake(consumer[0])
        source.wanted.clear()
        for request, (edge, job, name) in self.requests.items():
            if edge is source:
                self.requests[request] = (target, job, name)
        for job in source.vertex.jobs:
            self._attach(target.vertex, job)
        self._wake(target)
        self._wake_users(target)

    # ------------------------------------------------------------ small tools

    def _edge(self, edge_id: EdgeId) -> EdgeState:
        """The state of an edge; made, with those below it, when first spoken of."""
        vertex = self.vertices[edge_id.vertex]
        edge = vertex.edges.get(edge_id.index)
        if edge is not None:
            return edge
        stack = [edge_id]
        while stack:
            top = stack[-1]
            vertex = self.vertices[top.vertex]
            missing = [below for below in vertex.spec.inputs if below.index not in self.vertices[below.vertex].edges]
            if missing:
                stack += missing
                continue
            stack.pop()
            if top.index not in vertex.edges:
                inputs = [self.vertices[below.vertex].edges[below.index] for below in vertex.spec.inputs]
                vertex.edges[top.index] = EdgeState(vertex, top.index, inputs)
        return self.vertices[edge_id.vertex].edges[edge_id.index]

    def _ask(self, edge: EdgeState, wishes: list[EdgeStatus]) -> None:
        for i, wish in enumerate(wishes):
            if wish == edge.asks[i]:
                continue
            edge.asks[i] = wish
            dep = edge.dep(i)
            if wish == INITIAL:
                dep.wanted.pop((edge, i), None)
            else:
                dep.wanted[(edge, i)] = wish
            self._wake(dep)
            if dep.failure is not None and wish > INITIAL:
                self._wake(edge)

    def _wake(self, edge: EdgeState) -> None:
        self._dirty[edge] = None

    def _wake_all(self, vertex: VertexState) -> None:
        self._touched[vertex] = None
        for edge in vertex.edges.values():
            self._dirty[edge] = None

    def _wake_users(self, edge: EdgeState) -> None:
        for consumer, _ in edge.wanted:
            if isinstance(consumer, EdgeState):
                self._dirty[consumer] = None

    def _finish_requests(self, edge: EdgeState) -> None:
        for consumer, i in [c for c in edge.wanted if not isinstance(c[0], EdgeState)]:
            assert isinstance(consumer, int)
            if edge.failure is None and edge.handle is None:
                continue
            del edge.wanted[(consumer, i)]
            _, job, name = self.requests.pop(consumer)
            if edge.failure is not None:
                self._commands.append(Finish(consumer, job, name, failure=edge.failure))
            else:
                self._commands.append(Finish(consumer, job, name, self._handle(edge), edge.result_keys))

    def _begin(self, vertex: VertexState, work: Work, edge: EdgeState | None = None) -> int:
        """Open a ticket for work of a vertex, which is cancelled when no edge needs it any more."""
        self._last_ticket += 1
        self._tickets[self._last_ticket] = _Ticket(vertex, work, edge, work[1])
        vertex.pending[work] = self._last_ticket
        return self._last_ticket

    def _query(self, edge: EdgeState, i: int) -> int:
        """Open a ticket for a cache query of an edge; queries are quick and are never cancelled."""
        self._last_ticket += 1
        self._tickets[self._last_ticket] = _Ticket(edge.vertex, ("query", i), edge, i)
        edge.queries.add(self._last_ticket)
        return self._last_ticket

    def _close(self, ticket_id: int, kind: str | None) -> _Ticket:
        ticket = self._tickets.pop(ticket_id, None)
        if ticket is None:
            raise self._error(f"ticket {ticket_id} is not open")
        if kind is not None and ticket.work[0] != kind:
            raise self._error(f"ticket {ticket_id} is for {ticket.work}, not for {kind!r}")
        if ticket.vertex is not None and ticket.vertex.pending.get(ticket.work) == ticket_id:
            del ticket.vertex.pending[ticket.work]
        return ticket

    def _cancel(self, ticket_id: int) -> None:
        ticket = self._tickets[ticket_id]
        if not ticket.cancelling:
            ticket.cancelling = True
            self._commands.append(Cancel(ticket_id))

    def _sweep(self) -> None:
        """Cancel work of the vertices just touched that none of their edges needs any more."""
        for vertex in self._touched:
            if not vertex.pending:
                continue
            needed: set[Work] = set()
            for edge in vertex.edges.values():
                needed |= edge.needs
            for work, ticket_id in vertex.pending.items():
                if work not in needed and work[0] != "save":
                    self._cancel(ticket_id)
        self._touched.clear()

    def _error(self, message: str) -> SchedulerError:
        story = "\n  ".join(repr(event)[:400] for event in self.history)
        return SchedulerError(f"{message}\nlast events:\n  {story}")

    # ------------------------------------------------------------ the rules

    def check(self) -> None:
        """Verify every rule that ties the tables together; for tests and debugging, linear in the graph.

        Raises:
            SchedulerError: a rule is broken.
        """
        for vertex in self.vertices.values():
            if not vertex.jobs:
                raise self._error(f"{vertex.id} is active without a build")
            for work, ticket_id in vertex.pending.items():
                if ticket_id not in self._tickets:
                    raise self._error(f"{vertex.id} waits for {work}, whose ticket is closed")
            for edge in vertex.edges.values():
                self._check_edge(edge)
        for request, (edge, _, _) in self.requests.items():
            if (request, 0) not in edge.wanted or edge.owner is not None:
                raise self._error(f"request {request} is lost")

    def _check_edge(self, edge: EdgeState) -> None:
        if edge.owner is not None:
            if edge.wanted or any(edge.asks) or edge.needs:
                raise self._error(f"{edge} has been merged and is still at work")
            return
        for i, ask in enumerate(edge.asks):
            if edge.dep(i).wanted.get((edge, i), INITIAL) != ask:
                raise self._error(f"{edge} asks {ask.label} of input {i}, which does not know")
        for consumer, i in edge.wanted:
            if isinstance(consumer, EdgeState) and consumer.asks[i] == INITIAL:
                raise self._error(f"{edge} is wanted by {consumer}, which does not ask")
        if edge.want == INITIAL and (any(edge.asks) or edge.needs):
            raise self._error(f"{edge} is not wanted and still at work")
        if edge.want <= edge.status or edge.failure is not None:
            return
        waits = edge.queries or any(work in edge.vertex.pending for work in edge.needs)
        waits = waits or any(edge.dep(i).status < ask for i, ask in enumerate(edge.asks))
        if not waits:
            raise self._error(f"{edge} waits for nothing")

    _HANDLERS: ClassVar[dict[type[Any], Callable[[SchedulerCore, Any], None]]] = {
        GraphLoaded: _on_graph_loaded,
        Requested: _on_requested,
        Withdrawn: _on_withdrawn,
        JobClosed: _on_job_closed,
        CacheMapReady: _on_cache_map_ready,
        KeysFound: _on_keys_found,
        RecordsFound: _on_records_found,
        ContentDigestReady: _on_content_digest_ready,
        ResultLoaded: _on_result_loaded,
        Executed: _on_executed,
        Superseded: _on_superseded,
        Saved: _on_saved,
        Failed: _on_failed,
        Cancelled: _on_cancelled,
    }
