"""The scheduler core: told events, it answers with commands. No clock, no I/O, no asyncio, no randomness.

How it works: every edge that something may have changed for is put on a list and advanced until the list is
empty; edges that are wanted less than before come last. To advance an edge is to bring it in accordance with the facts:
take up what its inputs offer, look it up,
climb as far as the facts allow, decide whether to load or to run, and say what is wanted of the inputs. Whoever
wants the edge is put on the list when it has changed; whoever it wants something of, when that wish has changed.
At the end, work that nobody needs any more is cancelled.

Invariant (`check`): an edge that is wanted further than it has got waits for a ticket or for an input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from dockc.solver.core.advance import Advancing
from dockc.solver.core.coretables import SchedulerError, Ticket
from dockc.solver.core.edge import NOTHING, EdgeState, VertexState
from dockc.solver.core.events import (
    CacheMapReady,
    Cancelled,
    Command,
    ContentDigestReady,
    Event,
    Executed,
    Failed,
    Failure,
    GraphLoaded,
    JobClosed,
    KeysFound,
    QueryRecords,
    RecordsFound,
    Release,
    Requested,
    ResultLoaded,
    Saved,
    Superseded,
    VertexSpec,
    Withdrawn,
)
from dockc.solver.core.status import COMPLETE, INITIAL
from dockc.solver.vertex import EdgeId

__all__ = ["SchedulerCore", "SchedulerError"]

_NOCACHE = "+nocache"


class SchedulerCore(Advancing):
    """All scheduling decisions of one process.

    Mutable state: the tables below and the `VertexState`/`EdgeState` objects they lead to. It is changed inside
    `handle` only, which must not be called by two threads at once.

    A vertex that must ignore the cache, while an equal one that may use it is active, is active beside it as
    `<digest>+nocache`; while such a vertex is active, later builds that bring the vertex join it. A private vertex
    is active once for each build, as `<digest>+<build>`; what it turns out to be is still shared by its keys.
    """

    # ------------------------------------------------------------ the one entrance

    def handle(self, event: Event) -> list[Command]:
        """Take one event; return what is to be done now.

        Raises:
            SchedulerError: an event for a ticket that is not open or does not fit, or a bug.
        """
        for _ in self.handling(event):
            pass
        return self.taken()

    def handling(self, event: Event) -> Iterator[None]:
        """Take one event in small steps: one that concerns a large graph leaves time for something else in between.

        No other event may come before the last step. What is to be done is `taken()` after it.

        Raises:
            SchedulerError: see `handle`.
        """
        self.history.append(event)
        handler = self._HANDLERS.get(type(event))
        if handler is None:
            raise SchedulerError(f"not an event: {event!r}")
        steps = handler(self, event)
        if steps is not None:
            yield from steps
        while self._dirty or self._lowered:
            edge, _ = (self._dirty or self._lowered).popitem(last=False)
            self._lowered.pop(edge, None)
            self._advance(edge)
            yield
        self._sweep()

    def taken(self) -> list[Command]:
        """What is to be done after an event, once."""
        commands, self._commands = self._commands, []
        return commands

    def taken_leave(self) -> list[str]:
        """The ids of vertices that have been dropped, once."""
        dropped, self._dropped = self._dropped, []
        return dropped

    @property
    def open_tickets(self) -> int:
        """How many pieces of work have not been answered."""
        return len(self._tickets)

    def active_id(self, job: str, digest: str) -> str:
        """The id of the active vertex that stands for `digest` in `job`."""
        return self._bindings[job][digest]

    def job_of(self, vertex_id: str) -> str:
        """A build that holds an active vertex; "" for one that nobody holds."""
        vertex = self.vertices.get(vertex_id)
        return "" if vertex is None else next(iter(vertex.jobs), "")

    # ------------------------------------------------------------ builds come and go

    def _on_graph_loaded(self, event: GraphLoaded) -> Iterator[None]:
        bound = self._bindings.setdefault(event.job, {})
        for spec in event.vertices:
            if spec.digest in bound:
                continue
            inputs = tuple(EdgeId(bound[edge.vertex], edge.index) for edge in spec.inputs)
            active = self._choose_id(event.job, spec, inputs)
            bound[spec.digest] = active
            vertex = self.vertices.get(active)
            if vertex is None:
                vertex = VertexState(active, VertexSpec(spec.digest, inputs, spec.ignore_cache, spec.private))
                self.vertices[active] = vertex
                for below in inputs:
                    self.vertices[below.vertex].users[vertex] = None
                    self._edge(below)
                self._deepen(vertex)
            self._attach(vertex, event.job)
            yield

    def _choose_id(self, job: str, spec: VertexSpec, inputs: tuple[EdgeId, ...]) -> str:
        plain = f"{spec.digest}+{job}" if spec.private else spec.digest
        other = plain + _NOCACHE
        if other in self.vertices:
            return other
        vertex = self.vertices.get(plain)
        if vertex is None:
            return plain
        if (spec.ignore_cache and not vertex.spec.ignore_cache) or vertex.spec.inputs != inputs:
            return other
        return plain

    def _on_requested(self, event: Requested) -> None:
        active = EdgeId(self._bindings[event.job][event.edge.vertex], event.edge.index)
        edge = self._edge(active).live
        self.requests[event.request] = (edge, event.job, event.edge)
        edge.wanted.set((event.request, 0), COMPLETE)
        self._wake(edge)

    def _on_withdrawn(self, event: Withdrawn) -> None:
        found = self.requests.pop(event.request, None)
        if found is not None:
            edge = found[0].live
            edge.wanted.set((event.request, 0), INITIAL)
            self._wake(edge)

    def _on_job_closed(self, event: JobClosed) -> Iterator[None]:
        for request, (_, job, _) in list(self.requests.items()):
            if job == event.job:
                self._on_withdrawn(Withdrawn(request))
        self._bindings.pop(event.job, None)
        dropped = []
        for vertex in self._held.pop(event.job, {}):
            vertex.jobs.discard(event.job)
            if not vertex.jobs:
                dropped.append(vertex)
        for vertex in dropped:
            for edge in vertex.edges.values():
                self._retire(edge)
            yield
        for vertex in dropped:
            self._drop(vertex)
            yield

    def _retire(self, edge: EdgeState) -> None:
        """Take back whatever `edge` wants of others."""
        for i, ask in enumerate(edge.asks):
            if ask > INITIAL:
                dep = edge.dep(i)
                dep.wanted.set((edge, i), INITIAL)
                self._wake(dep)
                edge.asks[i] = INITIAL
        edge.asking, edge.mode = False, NOTHING
        if edge.owner is not None:
            edge.owner.absorbed.pop(edge, None)

    def _drop(self, vertex: VertexState) -> None:
        for ticket_id in vertex.pending.values():
            self._cancel(ticket_id)
            self._orphan(ticket_id)
        for edge in vertex.edges.values():
            for ticket_id in edge.queries:
                self._orphan(ticket_id)
            self._dirty.pop(edge, None)
            self._lowered.pop(edge, None)
            if edge.owner is None:
                self.index.remove(edge)
            if edge.handle is not None and edge.loaded:
                self._commands.append(Release(edge.handle))
        for output in vertex.outputs or ():
            if output is not None:
                self._commands.append(Release(output.handle))
        for below in vertex.spec.inputs:
            if below.vertex in self.vertices:
                self.vertices[below.vertex].users.pop(vertex, None)
        del self.vertices[vertex.id]
        self._dropped.append(vertex.id)
        vertex.edges.clear()  # no circle is left: it goes at once
        vertex.users.clear()

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
        for edge in vertex.edges.values():
            edge.stale = True
        self._wake_all(vertex)

    def _on_keys_found(self, event: KeysFound) -> None:
        ticket = self._close(event.ticket, "query")
        edge = ticket.edge
        if edge is None:
            return
        edge.queries.discard(event.ticket)
        if ticket.input >= 0:
            new = edge.known.lead(edge, ticket.input, event.keys)
            edge.news[ticket.input] = None
        else:
            new = [key for key in event.keys if key not in edge.keys]
        if ticket.input >= 0 and edge.owner is None:
            self._link(edge, list(edge.keys), (ticket.input,))
            self._link(edge, new, range(len(edge.inputs)))
        if new and edge.owner is None:
            edge.keys.update(dict.fromkeys(new))
            self._commands.append(QueryRecords(self._query(edge, -1), edge.id, tuple(new)))
            self._wake_users(edge)
        if not edge.queries:  # else another answer is still to come, and until then nothing can be decided
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
            for edge in ticket.vertex.edges.values():
                edge.news[ticket.input] = None
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

    def _forget(self, ticket: Ticket) -> None:
        if ticket.edge is not None:
            ticket.edge.loading = None
        if ticket.vertex is not None:
            if ticket.work[0] == "digest":
                for edge in ticket.vertex.edges.values():
                    self._restart(edge, (ticket.input,))
            self._wake_all(ticket.vertex)

    _HANDLERS: ClassVar[dict[type[Any], Callable[[SchedulerCore, Any], Iterator[None] | None]]] = {
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
