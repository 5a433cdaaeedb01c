"""What the scheduler core knows, and the few ways to change it: tickets, wishes, and the list of edges to look at.

`check` holds the rules that tie the tables together.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

from dockc.solver.core.edge import NOTHING, UNMATCHED, WAIT, EdgeState, Mode, VertexState, Work
from dockc.solver.core.events import Cancel, Command, Event, Finish
from dockc.solver.core.index import EdgeIndex
from dockc.solver.core.status import INITIAL, EdgeStatus
from dockc.solver.vertex import EdgeId


class SchedulerError(AssertionError):
    """The core has broken one of its own rules: a bug, with the story of the last events."""


class Ticket:
    """Whose work a ticket is: `edge` for queries, loads and saves; `vertex` None once nobody is interested."""

    __slots__ = ("cancelling", "edge", "input", "vertex", "work")

    def __init__(self, vertex: VertexState | None, work: Work, edge: EdgeState | None, i: int) -> None:
        self.vertex = vertex
        self.work = work
        self.edge = edge
        self.input = i
        self.cancelling = False


class CoreTables:
    """The core's state.

    Attributes:
        vertices: active vertices by id.
        index: finds edges of equal keys.
        requests: by number: the edge wanted, the build, and the edge as the build named it.
        history: the last events, for error reports.
    """

    def __init__(self) -> None:
        self.vertices: dict[str, VertexState] = {}
        self.index = EdgeIndex()
        self.requests: dict[int, tuple[EdgeState, str, EdgeId]] = {}
        self.history: deque[Event] = deque(maxlen=40)
        self._bindings: dict[str, dict[str, str]] = {}
        self._tickets: dict[int, Ticket] = {}
        self._last_ticket = 0
        self._dirty: OrderedDict[EdgeState, None] = OrderedDict()
        self._lowered: OrderedDict[EdgeState, None] = OrderedDict()
        self._unneeded: dict[tuple[VertexState, Work], None] = {}
        self._commands: list[Command] = []
        self._held: dict[str, dict[VertexState, None]] = {}
        self._dropped: list[str] = []
        self._checks = 0

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

    def _attach(self, vertex: VertexState, job: str) -> None:
        """Let `job` hold `vertex`, what it reads, and what its edges have been merged into."""
        held = self._held.setdefault(job, {})
        stack = [vertex]
        while stack:
            vertex = stack.pop()
            if job in vertex.jobs:
                continue
            vertex.jobs.add(job)
            held[vertex] = None
            stack += [self.vertices[edge.vertex] for edge in vertex.spec.inputs]
            stack += [edge.live.vertex for edge in vertex.edges.values() if edge.owner is not None]

    def _ask(self, edge: EdgeState, mode: Mode) -> None:
        """Let an edge want of its inputs what it does by the rule `mode`: of those that have changed, where it has asked
        by the same rule before.
        """
        known = edge.known
        if mode == WAIT and edge.asking:
            return  # as it is
        if mode != edge.mode:
            inputs: Iterable[int] = range(known.number)
        elif mode >= UNMATCHED:
            inputs = sorted(known.changed)
        else:
            inputs = ()
        edge.mode, edge.asking = mode, mode != NOTHING
        known.changed.clear()
        for i in inputs:
            wish = edge.wish(mode, i)
            if wish == edge.asks[i]:
                continue
            edge.asks[i] = wish
            if known.asked(edge, i):
                self._unneeded[edge.vertex, ("digest", i)] = None
            dep = edge.dep(i)
            self._want(dep, (edge, i), wish)
            if wish > INITIAL and dep.failure is not None:
                self._wake(edge)

    def _need(self, edge: EdgeState, need: Work | None, *, digests: bool) -> None:
        """Let an edge wait for one piece of work of its vertex, and for contents as well if it is at that."""
        if edge.need is not None and edge.need != need:
            self._unneeded[edge.vertex, edge.need] = None
        edge.need = need
        if not digests:
            self._restart(edge, list(edge.known.digesting))

    def _restart(self, edge: EdgeState, inputs: Iterable[int]) -> None:
        """Let the contents of these inputs be computed anew, should the edge come to need them."""
        for i in inputs:
            if edge.known.digesting.pop(i, 0) is None:
                edge.known.undigested[i] = None
                self._unneeded[edge.vertex, ("digest", i)] = None

    def _want(self, edge: EdgeState, consumer: tuple[EdgeState | int, int], ask: EdgeStatus) -> None:
        """Let one want an edge so far. Only what changes how far it is wanted at all is of interest to it.

        A wish that is taken back is often renewed a moment later, by who has just got farther because of it: so this is
        looked at when all else has settled. Else it would run down the graph, and the renewed one after it.
        """
        before = edge.wanted.highest
        edge.wanted.set(consumer, ask)
        after = edge.wanted.highest
        if after > before:
            self._dirty[edge] = None
        elif after < before:
            self._lowered[edge] = None

    def _handle(self, edge: EdgeState) -> int:
        assert edge.handle is not None
        return edge.handle

    def _wake(self, edge: EdgeState) -> None:
        self._dirty[edge] = None

    def _wake_all(self, vertex: VertexState) -> None:
        for edge in vertex.edges.values():
            self._dirty[edge] = None

    def _wake_users(self, edge: EdgeState) -> None:
        for consumer, i in edge.wanted.by:
            if isinstance(consumer, EdgeState):
                consumer.news[i] = None
                self._dirty[consumer] = None

    def _finish_requests(self, edge: EdgeState) -> None:
        if edge.failure is None and edge.handle is None:
            return
        for consumer in list(edge.wanted.requests):
            edge.wanted.set((consumer, 0), INITIAL)
            _, job, name = self.requests.pop(consumer)
            if edge.failure is not None:
                self._commands.append(Finish(consumer, job, name, failure=edge.failure))
            else:
                self._commands.append(Finish(consumer, job, name, self._handle(edge), edge.result_keys))

    def _begin(self, vertex: VertexState, work: Work, edge: EdgeState | None = None) -> int:
        """Open a ticket for work of a vertex, which is cancelled when no edge needs it any more."""
        self._last_ticket += 1
        self._tickets[self._last_ticket] = Ticket(vertex, work, edge, work[1])
        vertex.pending[work] = self._last_ticket
        return self._last_ticket

    def _query(self, edge: EdgeState, i: int) -> int:
        """Open a ticket for a cache query of an edge; queries are quick and are never cancelled."""
        self._last_ticket += 1
        self._tickets[self._last_ticket] = Ticket(edge.vertex, ("query", i), edge, i)
        edge.queries.add(self._last_ticket)
        return self._last_ticket

    def _close(self, ticket_id: int, kind: str | None) -> Ticket:
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
        """Cancel work that an edge needs no more, and no other edge of its vertex."""
        for vertex, work in self._unneeded:
            ticket_id = vertex.pending.get(work)
            if ticket_id is None or work[0] == "save":
                continue
            if not any(edge.needs(work) for edge in vertex.edges.values()):
                self._cancel(ticket_id)
        self._unneeded.clear()

    def _error(self, message: str) -> SchedulerError:
        story = "\n  ".join(repr(event)[:400] for event in self.history)
        return SchedulerError(f"{message}\nlast events:\n  {story}")

    # ------------------------------------------------------------ the rules

    def check(self) -> None:
        """Verify every rule that ties the tables together; for tests and debugging, linear in the graph.

        Raises:
            SchedulerError: a rule is broken.
        """
        self._checks += 1
        for vertex in self.vertices.values():
            if not vertex.jobs:
                raise self._error(f"{vertex.id} is active without a build")
            if any(self.vertices[below.vertex].depth >= vertex.depth for below in vertex.spec.inputs):
                raise self._error(f"{vertex.id} is not deeper than what it reads")
            for work, ticket_id in vertex.pending.items():
                if ticket_id not in self._tickets:
                    raise self._error(f"{vertex.id} waits for {work}, whose ticket is closed")
            for edge in vertex.edges.values():
                self._check_edge(edge)
        for request, (edge, _, _) in self.requests.items():
            if (request, 0) not in edge.wanted.by or edge.owner is not None:
                raise self._error(f"request {request} is lost")

    def _check_edge(self, edge: EdgeState) -> None:
        if edge.owner is not None:
            if edge.owner.vertex.depth > edge.vertex.depth:
                raise self._error(f"{edge} is less deep than what it has become")
            if edge.wanted.by or any(edge.asks) or self._works(edge):
                raise self._error(f"{edge} has been merged and is still at work")
            return
        for i, ask in enumerate(edge.asks):
            if edge.dep(i).wanted.by.get((edge, i), INITIAL) != ask:
                raise self._error(f"{edge} asks {ask.label} of input {i}, which does not know")
        for consumer, i in edge.wanted.by:
            if isinstance(consumer, EdgeState) and consumer.asks[i] == INITIAL:
                raise self._error(f"{edge} is wanted by {consumer}, which does not ask")
        if edge.asking != any(edge.asks):
            raise self._error(f"{edge} does not know whether it asks")
        known = edge.vertex.maps and edge.asking and not edge.stale and edge.handle is None and edge.failure is None
        # Every eighth time: a check of all that is known of all inputs takes longer than the rest.
        if known and self._checks % 8 == 0 and (wrong := edge.known.wrong(edge)):
            raise self._error(f"{edge}: {wrong}")
        if edge.want == INITIAL and (any(edge.asks) or self._works(edge)):
            raise self._error(f"{edge} is not wanted and still at work")
        if edge.want <= edge.status or edge.failure is not None:
            return
        waits = edge.queries or any(work in edge.vertex.pending for work in self._works(edge))
        waits = waits or any(edge.dep(i).status < ask for i, ask in enumerate(edge.asks))
        if not waits:
            raise self._error(f"{edge} waits for nothing")

    @staticmethod
    def _works(edge: EdgeState) -> list[Work]:
        """All work that an edge waits for."""
        digests: list[Work] = [("digest", i) for i in edge.known.digesting]
        return digests if edge.need is None else [*digests, edge.need]
