"""BuildOp: a build inside of a build, of a graph that a file of one of the inputs holds.

The graph is solved by whoever runs the build (`GRAPHS`), with its rights and rules.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from dockc.base.files import FILE_LIMIT
from dockc.errors import DockcError, InvalidDefinition
from dockc.golang.text import dump_json
from dockc.llb.definition import Definition
from dockc.oci import digest as digests
from dockc.runtime.refs.result import make_present, ref_of
from dockc.solver.lent import Key
from dockc.solver.op import CacheDep, CacheMap

if TYPE_CHECKING:
    import threading

    from dockc.llb.pb import ops_pb2
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.runtime.store.worker import Worker
    from dockc.solver.op import OpContext
    from dockc.solver.result import Result
    from dockc.solver.vertex import Vertex

GRAPHS: Key[Callable[[str, Definition], Awaitable[Result]]] = Key("graphs")
"""Solves a graph for a vertex, by its digest; the result is the caller's."""
_CACHE_TYPE = "buildkit.build.v0"
_LLB = -1
"""The builder that takes graphs: there is no other."""
_INPUT = "buildkit.llb.definition"
"""Which input holds the file, and what the file is called unless the attribute says otherwise."""
_NAME = "llbbuild.filename"


class BuildOp:
    """A vertex that builds a graph (`solver.op.Op`). It waits for other vertices, so it takes no place of those that run."""

    waits_for_others = True

    def __init__(self, vertex: Vertex, worker: Worker) -> None:
        """Check the operation; raises InvalidDefinition for one that names no graph."""
        self._vertex = vertex
        self._op: ops_pb2.BuildOp = vertex.op.build
        if self._op.builder != _LLB:
            raise InvalidDefinition("only LLB builder is currently allowed")
        if _INPUT not in self._op.inputs:
            raise InvalidDefinition(f"no llb definition input {_INPUT} found")
        self._input = self._op.inputs[_INPUT].input
        if not 0 <= self._input < len(vertex.inputs):
            raise InvalidDefinition(f"invalid index {self._input}")

    async def cache_map(self, ctx: OpContext) -> CacheMap:
        """Its fields: the graph belongs to the input that holds it."""
        inputs = {name: {"input": one.input} for name, one in sorted(self._op.inputs.items())}
        fields = {"builder": self._op.builder, "inputs": inputs, "attrs": dict(sorted(self._op.attrs.items()))}
        preimage = {"Type": _CACHE_TYPE, "Exec": fields}
        deps = tuple(
            CacheDep(preprocess=make_present if number == self._input else None)
            for number in range(len(self._vertex.inputs))
        )
        return CacheMap(digests.from_bytes(dump_json(preimage)), deps, preimage)

    async def exec(self, ctx: OpContext, inputs: Sequence[Result]) -> Sequence[Result | None]:
        """Read the graph and have it built."""
        solve = GRAPHS.of(ctx)
        if solve is None:
            raise DockcError("a build inside of a build is not possible here")
        name = self._op.attrs.get(_NAME, _INPUT)
        read = partial(_graph, ref_of(inputs[self._input]), name, ctx.cancelled)
        return [await solve(self._vertex.digest, await ctx.run_blocking(read))]


def _graph(ref: ImmutableRef, name: str, cancelled: threading.Event) -> Definition:
    """The graph in a file of an input; blocks."""
    from dockc.runtime.fsutil.inroot import NotRegular, Root

    with ref.mount(cancelled=cancelled) as place, Root(place) as root:
        try:
            file = root.open_regular(f"/{name}")
        except NotRegular:
            raise DockcError(f"{name} is not a regular file") from None
        if file is None:
            raise DockcError(f"failed to open {name}: no such file or directory")
        with file:
            data = file.read(FILE_LIMIT + 1)
    if len(data) > FILE_LIMIT:
        raise DockcError(f"{name} is larger than {FILE_LIMIT} bytes")
    return Definition.parse(data)
