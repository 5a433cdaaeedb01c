"""Brings one edge in accordance with the facts: the climbing, loading, running and merging of edges."""

from __future__ import annotations

from collections.abc import Iterable

from dockc.solver.core.cachekey import content_key, is_ephemeral, root_key
from dockc.solver.core.coretables import CoreTables
from dockc.solver.core.edge import COMPLETE, EXEC, INITIAL, TRANSITIONS, EdgeState, EdgeStatus, VertexState, Work
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


class Advancing(CoreTables):
    """The part of the core that decides what an edge does next."""

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
            for dep, ask in zip(edge.deps(), edge.asks, strict=True):
                if dep.failure is not None and ask > INITIAL:
                    edge.failure = dep.failure
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
        contents, specs = vertex.contents, vertex.maps[0].deps
        for i, (dep, probed) in enumerate(zip(edge.deps(), edge.probed, strict=True)):
            content = contents.get(i, "")
            if not content and dep.keys.keys() <= probed:  # what nearly all inputs are at nearly all times
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
        names: list[tuple[KeyRef, ...]] = [()] * len(edge.inputs)
        for i in inputs:
            known = [ref for ref in self._names(edge, i) if not is_ephemeral(ref.key)]
            if len(known) > 1 or edge.dep(i).vertex.claims:
                names[i] = tuple(known)
        if any(names):
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
        names = tuple(
            tuple(name for name in self._names(source, i) if not is_ephemeral(name.key))
            for i in range(len(source.inputs))
        )
        if keys and any(names):
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
        ready = all(dep.handle is not None for dep in edge.deps())
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
        vertex = edge.vertex
        known = [len(vertex.maps), len(vertex.contents)]
        for dep in edge.deps():
            known += (id(dep), len(dep.tokens))
        if edge.placed == known:
            return False
        edge.placed = known
        atoms = self._atoms(edge)
        if atoms is None:
            return False
        before = len(edge.tokens)
        holder = self.index.place(edge, vertex.digests, atoms)
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
        target.absorbed[source] = None
        self.index.transfer(source, target)
        for consumer, ask in list(source.wanted.by.items()):
            source.wanted.set(consumer, INITIAL)
            target.wanted.set(consumer, max(ask, target.wanted.by.get(consumer, INITIAL)))
            if isinstance(consumer[0], EdgeState):
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
