"""Brings one edge in accordance with the facts: the climbing, loading, running and merging of edges."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from dockc.solver.core.cachekey import content_key, is_ephemeral, root_key
from dockc.solver.core.coretables import CoreTables
from dockc.solver.core.edge import EXEC, NOTHING, EdgeState, VertexState, Work
from dockc.solver.core.events import (
    ComputeDigest,
    Execute,
    Failure,
    KeyRef,
    KeySpec,
    LinkKeys,
    LoadCacheMap,
    LoadResult,
    QueryKeys,
    SaveResult,
)
from dockc.solver.core.index import Atom
from dockc.solver.core.status import COMPLETE, INITIAL, TRANSITIONS, EdgeStatus


class _Atoms(Sequence[Collection[Atom]]):
    """What each input of an edge is known by."""

    def __init__(self, edge: EdgeState) -> None:
        self._edge = edge

    def __len__(self) -> int:
        return len(self._edge.inputs)

    def __getitem__(self, i: Any) -> Any:
        vertex = self._edge.vertex
        selector = vertex.maps[0].deps[i].selector
        names = [(selector, token) for token in self._edge.dep(i).tokens]
        if content := vertex.contents.get(i, ""):
            names.append(("=", content))
        return names


class Advancing(CoreTables):
    """The part of the core that decides what an edge does next."""

    def _advance(self, edge: EdgeState) -> None:
        if edge.owner is not None:
            return
        want = edge.want
        if want == INITIAL:
            self._rest(edge)
            return
        if edge.handle is None:
            news = self._take_news(edge)
            if self._failure_of(edge) is not None:
                self._fail(edge)
                return
            if edge.vertex.maps:
                self._probe(edge, news)
                if self._merge_if_equal(edge):
                    return
        self._climb(edge, edge.settled_status())
        if want <= edge.status:
            self._rest(edge)
            self._finish_requests(edge)
            return
        self._ask(edge, edge.mode_for(want))
        self._work(edge, want)

    def _rest(self, edge: EdgeState) -> None:
        """Let an edge want and do nothing."""
        self._ask(edge, NOTHING)
        self._need(edge, None, digests=False)

    def _take_news(self, edge: EdgeState) -> Sequence[int]:
        """Look at the inputs that have changed; at all if the edge was not told of changes."""
        news = range(len(edge.inputs)) if edge.stale or not edge.asking else sorted(edge.news)
        edge.stale = False
        edge.news.clear()
        for i in news:
            edge.known.look(edge, i)
        return news

    def _failure_of(self, edge: EdgeState) -> Failure | None:
        if edge.failure is None:
            edge.failure = edge.vertex.failure
        if edge.failure is None and edge.asking and edge.known.failed:
            edge.failure = edge.dep(min(edge.known.failed)).failure
        return edge.failure

    def _fail(self, edge: EdgeState) -> None:
        self._rest(edge)
        self._finish_requests(edge)
        self._wake_users(edge)

    def _probe(self, edge: EdgeState, news: Sequence[int]) -> None:
        """Look up what the keys of the inputs that have changed lead to, each key once."""
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
        contents, specs = vertex.contents, vertex.maps[0].deps
        for i in news:
            dep, probed, content = edge.dep(i), edge.probed[i], contents.get(i, "")
            if not content and dep.keys.keys() <= probed:
                continue
            new = [KeyRef(k, specs[i].selector) for k in dep.offered_keys() if k not in probed]
            if content and (key := content_key(content)) not in probed:
                new.append(KeyRef(key, content=True))
            if new:
                probed.update(ref.key for ref in new)
                ticket = self._query(edge, i)
                self._commands.append(QueryKeys(ticket, edge.id, digest, i, tuple(new)))

    def _link(self, edge: EdgeState, keys: list[str], inputs: Iterable[int]) -> None:
        """Let every name of these inputs lead to keys that all inputs lead to; an only name does so already."""
        if not keys:
            return
        names = []
        for i in inputs:
            known = tuple(ref for ref in self._names(edge, i) if not is_ephemeral(ref.key))
            if len(known) > 1 or (known and edge.dep(i).vertex.claims):
                names.append((i, known))
        if names:
            self._commands.append(LinkKeys(edge.id, edge.vertex.maps[0].digest, tuple(keys), tuple(names)))

    def _link_merged(self, source: EdgeState, target: EdgeState) -> None:
        """Let the result of `target` be found by the names of an equal edge's inputs, too.

        That edge never asks again, and what the target was saved under may have been settled before they met.
        """
        if not source.vertex.maps or len(source.inputs) != len(target.inputs):
            return
        if not source.inputs:
            own = dict.fromkeys(
                (*target.result_keys, *(root_key(name, source.index) for name in source.vertex.digests))
            )
            target.result_keys = tuple(own)
            target.keys.update(own)
            return
        keys = tuple(key for key in target.result_keys if not is_ephemeral(key))
        named = (
            (i, tuple(name for name in self._names(source, i) if not is_ephemeral(name.key)))
            for i in range(len(source.inputs))
        )
        names = tuple((i, refs) for i, refs in named if refs)
        if keys and names:
            self._commands.append(LinkKeys(target.id, source.vertex.maps[0].digest, keys, names))

    def _names(self, edge: EdgeState, i: int) -> list[KeyRef]:
        """Every key that names input `i` of `edge` beyond doubt, for saving."""
        dep, vertex = edge.dep(i), edge.vertex
        selector = vertex.maps[0].deps[i].selector
        names = [KeyRef(key, selector) for key in dep.lasting_keys()]
        digest = vertex.contents.get(i, "")
        if digest:
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
        for other in self._family(edge):
            self._link_merged(other, edge)
        self._climb(edge, COMPLETE)
        self._wake(edge)

    def _work(self, edge: EdgeState, want: EdgeStatus) -> None:
        """Let go on what must for `edge` to get further."""
        vertex, known = edge.vertex, edge.known
        need: Work | None = None
        digests = False
        if not vertex.maps or (not edge.inputs and not vertex.maps_complete and not edge.records):
            need = None if edge.queries else ("map", len(vertex.maps))
        elif vertex.outputs is not None and want == COMPLETE:
            need = ("save", edge.index)
        elif edge.loading is not None or (want == COMPLETE and edge.records):
            need = ("load", edge.index)
        elif edge.queries:
            digests = True
        else:
            digests = True
            for i in sorted(known.undigested):
                known.digesting[i] = None
                if ("digest", i) not in vertex.pending:
                    self._start(edge, ("digest", i))
            known.undigested.clear()
            if want == COMPLETE and not known.digesting and known.results == known.number and edge.must_execute():
                need = EXEC
        self._need(edge, need, digests=digests)
        if need is not None and need not in vertex.pending:
            self._start(edge, need)

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
            # Above a vertex that must run, what the cache knows by definition is from before that run.
            named = (vertex.contents.get(i) or any(edge.dep(i).offered_keys()) for i in range(len(edge.inputs)))
            share = vertex.share and not edge.ignores_cache and all(named)
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
            return tuple(KeySpec(name, edge.index) for name in vertex.digests)
        deps = [dict.fromkeys(self._names(edge, i)) for i in range(len(edge.inputs))]
        for other in self._family(edge):
            if other.vertex.maps and len(other.inputs) == len(deps):
                for i, names in enumerate(deps):
                    names.update(dict.fromkeys(self._names(other, i)))
        return (KeySpec(vertex.maps[0].digest, edge.index, tuple(tuple(names) for names in deps)),)

    @staticmethod
    def _family(edge: EdgeState) -> list[EdgeState]:
        """The edges that have been merged into `edge`, and into those."""
        family = list(edge.absorbed)
        for other in family:
            family += other.absorbed  # grows while it is gone through
        return family

    # ------------------------------------------------------------ merging

    def _merge_if_equal(self, edge: EdgeState) -> bool:
        """Merge `edge` with an active edge of equal key, if there is one. True: `edge` is no more."""
        # Tokens, contents and maps only ever become more: where their numbers have stayed, nothing is new.
        vertex, known = edge.vertex, edge.known
        if known.nameless or (edge.placed == len(vertex.maps) and not known.renamed):
            return False
        edge.placed = len(vertex.maps)
        news = sorted(known.renamed)
        known.renamed.clear()
        before = len(edge.tokens)
        holder = self.index.place(edge, vertex.digests, _Atoms(edge), news)
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

    def _related(self, a: EdgeState, b: EdgeState) -> bool:
        """Whether one of the two needs the other, as things stand: they cannot become one."""
        deep, flat = (a, b) if a.vertex.depth >= b.vertex.depth else (b, a)
        if a.vertex is b.vertex or self._reaches(deep, flat):
            return True
        return deep.vertex.depth == flat.vertex.depth and self._reaches(flat, deep)

    def _reaches(self, start: EdgeState, goal: EdgeState) -> bool:
        """Whether one needs the other: of what it needs, only what is no less deep than that is looked at."""
        seen: set[VertexState] = {start.vertex}
        stack = [start.vertex]
        while stack:
            vertex = stack.pop()
            for other in self._below(vertex):
                if other is goal.vertex:
                    return True
                if other not in seen and other.depth >= goal.vertex.depth:
                    seen.add(other)
                    stack.append(other)
        return False

    def _below(self, vertex: VertexState) -> list[VertexState]:
        """What a vertex needs: what it reads, and what its edges have become."""
        below = [self.vertices[edge.vertex] for edge in vertex.spec.inputs]
        return below + [edge.owner.vertex for edge in vertex.edges.values() if edge.owner is not None]

    def _deepen(self, vertex: VertexState) -> None:
        """Let a vertex, and all that need it, be as deep as they must."""
        stack = [vertex]
        while stack:
            vertex = stack.pop()
            reads = max((self.vertices[edge.vertex].depth + 1 for edge in vertex.spec.inputs), default=0)
            became = max((e.owner.vertex.depth for e in vertex.edges.values() if e.owner is not None), default=0)
            if max(reads, became) > vertex.depth:
                vertex.depth = max(reads, became)
                stack += vertex.users
                stack += [edge.vertex for other in vertex.edges.values() for edge in other.absorbed]

    def _merge(self, source: EdgeState, target: EdgeState) -> None:
        self._rest(source)
        source.owner = target
        target.absorbed[source] = None
        self._deepen(source.vertex)
        self.index.transfer(source, target)
        for consumer, ask in list(source.wanted.by.items()):
            source.wanted.set(consumer, INITIAL)
            target.wanted.set(consumer, max(ask, target.wanted.by.get(consumer, INITIAL)))
            if isinstance(consumer[0], EdgeState):
                consumer[0].news[consumer[1]] = None
                self._wake(consumer[0])
        for request, (edge, job, name) in self.requests.items():
            if edge is source:
                self.requests[request] = (target, job, name)
        for job in source.vertex.jobs:
            self._attach(target.vertex, job)
        if target.handle is not None:
            for other in (source, *self._family(source)):
                self._link_merged(other, target)
        self._wake(target)
        self._wake_users(target)
