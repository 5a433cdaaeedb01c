"""The plan of a build: which steps would run now and why, with nothing executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dockc.base.record import Mutable, Record, made, replace
from dockc.engine.request import CompileRequest, Inputs

if TYPE_CHECKING:
    from dockc.compiler.options import CompileOptions
    from dockc.compiler.questions import Answers, Request
    from dockc.llb.definition import Definition
    from dockc.runtime.store.worker import Worker
    from dockc.solver.cache.storage.base import KeyRecord
    from dockc.solver.keydiff import KeyDiff
    from dockc.solver.op import CacheMap, ContentDigest, Op, OpContext
    from dockc.solver.result import Result
    from dockc.solver.run.plan import PlannedVertex
    from dockc.solver.vertex import Vertex


class Looked(Record):
    """A Dockerfile that was read for an explanation.

    Attributes:
        request, inputs: as for a build.
        options: for one platform.
        ask: answers the compiler.
        made_up: base images are made up.
        filename: as the user named it.
    """

    request: CompileRequest
    inputs: Inputs
    options: CompileOptions
    ask: Callable[[tuple[Request, ...]], Answers]
    made_up: bool
    filename: str


class Step(Record):
    """A step of a plan: its line as text, and why it would run; None where it would not, or nobody can tell."""

    planned: PlannedVertex
    line: str
    why: KeyDiff | None


class _Watched(Mutable):
    """An operation whose cache map and content digests are noted on the way.

    Mutable: `map`, and the digests by input.
    """

    inner: Op
    map: CacheMap | None = None
    contents: dict[int, str] = made(dict)

    async def cache_map(self, ctx: OpContext) -> CacheMap:
        """The operation's own."""
        found = await self.inner.cache_map(ctx)
        self.map = found
        deps = tuple(
            replace(dep, content_digest=self._noting(i, dep.content_digest)) if dep.content_digest is not None else dep
            for i, dep in enumerate(found.deps)
        )
        return replace(found, deps=deps)

    def _noting(self, index: int, digest: ContentDigest) -> ContentDigest:
        async def note(ctx: OpContext, result: Result) -> str:
            found = await digest(ctx, result)
            self.contents[index] = found
            return found

        return note

    async def exec(self, ctx: OpContext, inputs: Sequence[Result]) -> Sequence[Result | None]:
        """The operation's own; asked for only where the planner may execute."""
        return await self.inner.exec(ctx, inputs)


async def plan_steps(looked: Looked, definitions: Sequence[object], worker: Worker, *, insecure: bool) -> list[Step]:
    """What each step of some definitions would do now; local directories are read.

    Raises:
        DockcError: something that must be known cannot be found out.
    """
    from dockc.engine.connect import registry_client
    from dockc.engine.history import FOLDER
    from dockc.engine.listings import FileListings
    from dockc.llb.definition import Definition
    from dockc.runtime.refs.contenthash import LISTINGS
    from dockc.runtime.session.files import LOCALS, HostDirectory
    from dockc.runtime.source import base
    from dockc.solver import graph as graphs
    from dockc.solver.cache.cachemanager import LocalCache
    from dockc.solver.lent import Lent
    from dockc.solver.run.plan import plan as make_plan

    watched: dict[str, _Watched] = {}

    def resolve(vertex: Vertex) -> Op:
        made = watched[vertex.digest] = _Watched(worker.resolve_op(vertex))
        return made

    known = [one for one in definitions if isinstance(one, Definition) and one.ops]
    edges = [graphs.load(one) for one in known]
    if not edges:
        return []
    cache = LocalCache(worker.keys, worker.results)
    client = registry_client(insecure=insecure)
    try:
        planned = await make_plan(
            resolve,
            cache,
            *edges,
            may_execute=_is_local,
            may_load=lambda vertex: True,
            lends=Lent()
            .put(base.REGISTRY, client)
            .put(base.OCI_STORES, looked.inputs.stores)
            .put(LISTINGS, FileListings(worker.refs.root / FOLDER))
            .put(LOCALS, {name: HostDirectory(path) for name, path in looked.inputs.directories.items()}),
        )
    finally:
        client.close()
    return _explained(looked, known, planned, watched, worker)


def _explained(
    looked: Looked,
    definitions: Sequence[Definition],
    planned: Sequence[PlannedVertex],
    watched: Mapping[str, _Watched],
    worker: Worker,
) -> list[Step]:
    """Why the steps would run, by the same comparison as in a build."""
    from dockc.engine import history, told
    from dockc.engine.listings import FileListings
    from dockc.engine.why import Comparison
    from dockc.solver.run.runner import step_key

    asked, attrs = looked.request, looked.request.attrs
    hide = told.hider(attrs)
    options = {"context": hide(asked.context), "file": hide(asked.file)}
    steps: dict[str, told.Step] = {}
    places = told.Places(definitions)
    for one in planned:
        vertex, op = one.vertex, watched.get(one.vertex.digest)
        if op is not None and op.map is not None:
            key = told.kept_key(step_key(vertex, op.map, op.contents), hide)
            line, text = places.find(vertex.digest)
            text = told.cut(hide(text or key.name.partition("] ")[2] or key.name))
            steps[vertex.digest] = told.Step(key, text, line, ran=one.state.value == "run")
    args = told.arguments([looked.inputs.front.source.text], attrs)
    now = told.Told("", steps, args)
    root = worker.refs.root
    comparison = Comparison(
        now, history.earlier(root, options), FileListings(root / history.FOLDER), worker.keys.removal
    )
    states = {one.vertex.digest: one for one in planned}

    def why(one: PlannedVertex) -> KeyDiff | None:
        vertex, op = one.vertex, watched.get(one.vertex.digest)
        step = steps.get(vertex.digest)
        if one.state.value != "run" or step is None or op is None or op.map is None:
            return None
        similar = worker.keys.recall_similar(vertex.name, op.map.digest)
        record = _record(vertex, op, op.map, similar, states)
        found = comparison.explain(step, record, [told.kept_record(other, hide) for other in similar])
        return _never_together(found, _kept_inputs(vertex, states))

    return [
        Step(one, str(steps[one.vertex.digest].line or "") if one.vertex.digest in steps else "", why(one))
        for one in planned
        if not (_is_local(one.vertex) and one.state.value == "run")
    ]


def _is_local(vertex: Vertex) -> bool:
    return vertex.op.WhichOneof("op") == "source" and vertex.op.source.identifier.startswith("local://")


def _kept_inputs(vertex: Vertex, states: Mapping[str, PlannedVertex]) -> tuple[int, ...]:
    """Inputs whose results are there."""
    found = ((i, states.get(edge.vertex.digest)) for i, edge in enumerate(vertex.inputs))
    return tuple(i for i, state in found if state is not None and state.state.value == "cached")


def _never_together(diff: KeyDiff, kept: tuple[int, ...]) -> KeyDiff:
    """Each of several inputs was met before, and nobody has removed the result: they were not met together."""
    from dockc.solver.keydiff import MissReason

    if diff.reason is not MissReason.RESULT or diff.at or len(kept) < 2:
        return diff
    return replace(diff, reason=MissReason.INPUT, inputs=kept)


def _record(
    vertex: Vertex, op: _Watched, found: CacheMap, earlier: Sequence[KeyRecord], states: Mapping[str, PlannedVertex]
) -> KeyRecord:
    """The key that the step would get. Of an input that would not run, the key is one that was known."""
    from dockc.solver.cache.storage.base import KeyRecord

    inputs = []
    for i, edge in enumerate(vertex.inputs):
        state = states.get(edge.vertex.digest)
        runs = state is not None and state.state.value != "cached" and not _is_local(edge.vertex)
        keys: list[object] = []
        if not runs:
            for old in earlier:
                known = old.inputs[i].get("keys", ()) if i < len(old.inputs) else ()
                keys += known if isinstance(known, Sequence) else ()
        inputs.append({"keys": keys, "content": op.contents.get(i, "")})
    return KeyRecord("", found.digest, 0, vertex.digest, vertex.name, found.preimage, tuple(inputs), 0)
