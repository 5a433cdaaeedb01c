"""From an LLB definition to vertices: the solver's only door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockc.solver.vertex import Edge

if TYPE_CHECKING:
    from dockc.llb.definition import Definition


def load(definition: Definition, *, ignore_cache: bool = False) -> Edge:
    """Turn `definition` into a graph and return its result edge.

    Digests are recomputed from the bytes, bottom up; platforms are normalised for run time.

    Args:
        definition: the validated LLB.
        ignore_cache: mark every vertex to run in any case.

    Raises:
        InvalidDefinition: empty, without a terminal op, or with an op that names a missing input.
    """
    raise NotImplementedError
