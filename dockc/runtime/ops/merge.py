"""MergeOp: the layers of several file systems on top of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dockc.errors import InvalidDefinition
from dockc.golang.text import dump_json
from dockc.oci import digest as digests
from dockc.runtime.refs.result import RefResult, ref_of
from dockc.solver.op import CacheDep, CacheMap

if TYPE_CHECKING:
    from dockc.llb.pb import ops_pb2
    from dockc.runtime.store.worker import Worker
    from dockc.solver.op import OpContext
    from dockc.solver.result import Result
    from dockc.solver.vertex import Vertex

_CACHE_TYPE = "buildkit.merge.v0"
EMPTY = -1


class MergeOp:
    """A vertex that merges (`solver.op.Op`). Nothing is copied and nothing fetched: layers are named anew."""

    def __init__(self, vertex: Vertex, worker: Worker) -> None:
        """Check the operation; raises InvalidDefinition for an input that does not exist."""
        self._vertex = vertex
        self._worker = worker
        self._op: ops_pb2.MergeOp = vertex.op.merge
        for entry in self._op.inputs:
            if entry.input != EMPTY and not 0 <= entry.input < len(vertex.inputs):
                raise InvalidDefinition(
                    f"invalid input index {entry.input} for merge op with {len(vertex.inputs)} inputs"
                )

    async def cache_map(self, ctx: OpContext) -> CacheMap:
        """The order of the inputs is all there is."""
        inputs = [{"input": entry.input} if entry.input else {} for entry in self._op.inputs]
        preimage = {"Type": _CACHE_TYPE, "Merge": {"inputs": inputs} if inputs else {}}
        deps = tuple(CacheDep() for _ in self._vertex.inputs)
        return CacheMap(digests.from_bytes(dump_json(preimage)), deps, preimage)

    async def exec(self, ctx: OpContext, inputs: Sequence[Result]) -> Sequence[Result | None]:
        """Merge."""
        refs = [ref_of(inputs[entry.input]) for entry in self._op.inputs if entry.input != EMPTY]
        merged = await ctx.run_blocking(self._worker.refs.merge, refs, description=self._vertex.name)
        return [RefResult(merged)]
