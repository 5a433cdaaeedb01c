"""The plan of a build: which steps would run now and why, with nothing executed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dockc.base.record import Record
from dockc.engine.request import CompileRequest, Inputs

if TYPE_CHECKING:
    from dockc.compiler.options import CompileOptions
    from dockc.compiler.questions import Answers, Request
    from dockc.llb.definition import Definition
    from dockc.runtime.store.worker import Worker
    from dockc.solver.keydiff import KeyDiff
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

    known = [one for one in definitions if isinstance(one, Definition) and one.ops]
    edges = [graphs.load(one) for one in known]
    if not edges:
        return []
    cache = LocalCache(worker.keys, worker.results)
    client = registry_client(insecure=insecure)
    try:
        planned = await make_plan(
            worker.resolve_op,
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
    return _explained(looked, known, planned, worker)


def _explained(
    looked: Looked,
    definitions: Sequence[Definition],
    planned: Sequence[PlannedVertex],
    worker: Worker,
) -> list[Step]:
    """Why the steps would run, by the same comparison as in a build."""
    from dockc.engine import history, told
    from dockc.engine.earlier import earlier
    from dockc.engine.listings import FileListings
    from dockc.engine.why import Comparison

    asked, attrs = looked.request, looked.request.attrs
    hide = told.hider(attrs)
    options = {"context": hide(asked.context), "file": hide(asked.file)}
    steps: dict[str, told.Step] = {}
    places = told.Places(definitions)
    for one in planned:
        if one.key is not None:
            key = told.kept_key(one.key, hide)
            line, text = places.find(one.vertex.digest)
            text = told.cut(hide(text or key.name.partition("] ")[2] or key.name))
            steps[one.vertex.digest] = told.Step(key, text, line, ran=one.state.value == "run")
    args = told.arguments([looked.inputs.front.source.text], attrs)
    now = told.Told("", steps, args)
    root = worker.refs.root
    comparison = Comparison(now, earlier(root, options), FileListings(root / history.FOLDER), worker.keys.removal)

    def why(one: PlannedVertex) -> KeyDiff | None:
        step, miss = steps.get(one.vertex.digest), one.miss
        if step is None or (miss is None and one.state.value != "run"):
            return None
        if miss is None:
            return comparison.explain(step)
        return comparison.explain(step, miss.record, [told.kept_record(other, hide) for other in miss.earlier])

    return [
        Step(one, str(steps[one.vertex.digest].line or "") if one.vertex.digest in steps else "", why(one))
        for one in planned
        if not (_is_local(one.vertex) and one.state.value == "run")
    ]


def _is_local(vertex: Vertex) -> bool:
    return vertex.op.WhichOneof("op") == "source" and vertex.op.source.identifier.startswith("local://")
