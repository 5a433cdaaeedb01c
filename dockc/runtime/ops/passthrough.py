"""PassthroughOp: some of its inputs as they are, once all of them are there."""

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

_CACHE_TYPE = "buildkit.passthrough.v0"


class PassthroughOp:
    """A vertex that waits (`solver.op.Op`): what is no output is only built."""

    def __init__(self, vertex: Vertex, worker: Worker) -> None:
        """Check the operation; raises InvalidDefinition for an input that does not exist."""
        self._op: ops_pb2.PassthroughOp = vertex.op.passthrough
        self._count = len(vertex.inputs)
        for number in self._op.outputs:
            if not 0 <= number < self._count:
                raise InvalidDefinition(f"invalid passthrough output input index {number}")

    async def cache_map(self, ctx: OpContext) -> CacheMap:
        """Its name and the order of its outputs."""
        preimage = {"Type": _CACHE_TYPE, "Passthrough": {"id": self._op.id, "outputs": list(self._op.outputs)}}
        deps = tuple(CacheDep() for _ in range(self._count))
        return CacheMap(digests.from_bytes(dump_json(preimage)), deps, preimage)

    async def exec(self, ctx: OpContext, inputs: Sequence[Result]) -> Sequence[Result | None]:
        """Hand the outputs on."""
        return [RefResult(ref_of(inputs[number]).clone()) for number in self._op.outputs]
