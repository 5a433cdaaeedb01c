"""DiffOp: what leads from one file system to another."""

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
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.runtime.store.worker import Worker
    from dockc.solver.op import OpContext
    from dockc.solver.result import Result
    from dockc.solver.vertex import Vertex

_CACHE_TYPE = "buildkit.diff.v0"
EMPTY = -1


class DiffOp:
    """A vertex that takes a difference (`solver.op.Op`).

    Where `lower` is in the history of `upper`, the result is the layers between them and nothing is read;
    otherwise both trees are walked.
    """

    def __init__(self, vertex: Vertex, worker: Worker) -> None:
        """Check the operation; raises InvalidDefinition for an input that does not exist."""
        self._vertex = vertex
        self._worker = worker
        self._op: ops_pb2.DiffOp = vertex.op.diff
        for side, index in (("lower", self._op.lower.input), ("upper", self._op.upper.input)):
            if index != EMPTY and not 0 <= index < len(vertex.inputs):
                raise InvalidDefinition(
                    f"invalid {side} input index {index} for diff op with {len(vertex.inputs)} inputs"
                )

    async def cache_map(self, ctx: OpContext) -> CacheMap:
        """Which input is which side is all there is."""
        sides = {
            name: {"input": index} if index else {}
            for name, index in (("lower", self._op.lower.input), ("upper", self._op.upper.input))
        }
        preimage = {"Type": _CACHE_TYPE, "Diff": sides}
        deps = tuple(CacheDep() for _ in self._vertex.inputs)
        return CacheMap(digests.from_bytes(dump_json(preimage)), deps, preimage)

    async def exec(self, ctx: OpContext, inputs: Sequence[Result]) -> Sequence[Result | None]:
        """Take the difference."""

        def side(index: int) -> ImmutableRef | None:
            return None if index == EMPTY else ref_of(inputs[index])

        made = await ctx.run_blocking(
            self._worker.refs.diff,
            side(self._op.lower.input),
            side(self._op.upper.input),
            description=self._vertex.name,
            cancelled=ctx.cancelled,
        )
        return [RefResult(made)]
