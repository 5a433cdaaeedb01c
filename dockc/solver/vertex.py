"""Vertices and edges: the only form in which the solver sees a build.

A vertex is one operation of an LLB graph with its inputs; an edge is one output of a vertex. Both are
immutable. What must not change a vertex's identity (name, cache options, progress group) sits in
`VertexOptions`; the identity itself is `Vertex.digest`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dockc.base.record import Record, made

if TYPE_CHECKING:
    from dockc.llb.pb import ops_pb2


class ProgressGroup(Record):
    """Vertices of one group are shown as one step (LLB `pb.ProgressGroup`)."""

    id: str
    name: str = ""
    weak: bool = False


class VertexOptions(Record):
    """What goes with a vertex and is no part of its identity (LLB `pb.OpMetadata`).

    Attributes:
        ignore_cache: run the operation even where a cached result exists.
        description: free texts; `llb.customname` is the name shown to people.
        export_cache: whether a cache export records this vertex; None leaves it to the export's mode.
        progress_group: the group the vertex is shown in.
        resources: limits of an exec (`llb.definition.LinuxResources`), or None; for the operation, the solver never
            looks inside.
    """

    ignore_cache: bool = False
    description: Mapping[str, str] = made(dict)
    export_cache: bool | None = None
    progress_group: ProgressGroup | None = None
    resources: Any = None


class Vertex(Record):
    """One operation and the edges it reads.

    Attributes:
        digest: `sha256:<hex>` over the operation's bytes, which name the digests of its inputs.
        op: the decoded `pb.Op`; the solver never looks inside, it is for the `OpResolver`.
        inputs: edges read, in the order of `pb.Op.inputs`.
        options: metadata that is not identity.
        name: what people see.
        private: it stands on a directory that one build lends: in another build an equal vertex may mean other content.

    Identity (`==`, `hash`) is the object; equal digests are compared explicitly where that is meant.
    """

    digest: str
    op: ops_pb2.Op
    inputs: tuple[Edge, ...] = ()
    options: VertexOptions = VertexOptions()
    name: str = ""
    private: bool = False

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"Vertex({self.digest[:19]} {self.name!r})"


class Edge(Record):
    """Output `index` of `vertex`."""

    vertex: Vertex
    index: int = 0

    @property
    def id(self) -> EdgeId:
        """The edge by value: what it is called in events and traces."""
        return EdgeId(self.vertex.digest, self.index)


class EdgeId(Record):
    """An edge by value; prints as `sha256:...@index`."""

    vertex: str
    index: int = 0

    def __str__(self) -> str:
        return f"{self.vertex}@{self.index}"

    def __lt__(self, other: EdgeId) -> bool:
        return (self.vertex, self.index) < (other.vertex, other.index)


def walk(*edges: Edge) -> Iterator[Vertex]:
    """Yield every vertex below `edges` once, inputs before the vertices that read them.

    Iterative: a chain of 100,000 vertices is as fine as one of three.
    """
    seen: set[int] = set()
    for edge in edges:
        stack: list[tuple[Vertex, int]] = [(edge.vertex, 0)]
        while stack:
            vertex, done = stack.pop()
            if done == 0:
                if id(vertex) in seen:
                    continue
                seen.add(id(vertex))
            if done < len(vertex.inputs):
                stack.append((vertex, done + 1))
                below = vertex.inputs[done].vertex
                if id(below) not in seen:
                    stack.append((below, 0))
            else:
                yield vertex
