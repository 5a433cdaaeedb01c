"""From an LLB definition to vertices: the solver's only door.

The operations come from anyone, so every rule that the solver and the operations rely on is checked here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockc.errors import InvalidDefinition, without_credentials
from dockc.solver.vertex import Edge, ProgressGroup, Vertex, VertexOptions

if TYPE_CHECKING:
    from dockc.llb.definition import Definition, OpMetadata
    from dockc.llb.pb import ops_pb2
    from dockc.oci.platform import Platform

_CUSTOM_NAME = "llb.customname"


def load(definition: Definition, *, ignore_cache: bool = False, platform: Platform | None = None) -> Edge:
    """Turn `definition` into a graph and return its result edge.

    An operation without a platform gets `platform`; every platform is brought to its normal form. A vertex keeps
    the digest that its operation has in the definition, which is what source maps and metadata know it by.

    Args:
        definition: the LLB; its last operation is the terminal.
        ignore_cache: mark every vertex to run in any case.
        platform: for operations that name none; None for that of this machine.

    Raises:
        InvalidDefinition: empty, without a terminal, or with an operation that breaks a rule.
    """
    if not definition.ops:
        raise InvalidDefinition("invalid empty definition")
    graph = _Graph(definition, ignore_cache, platform)
    for digest, data in definition.ops[:-1]:
        graph.add(digest, data)
    last = _parse(definition.ops[-1][1])
    if len(definition.ops) < 2:
        raise InvalidDefinition(f"invalid LLB with {len(definition.ops)} vertexes")
    if not last.inputs:
        raise InvalidDefinition("invalid LLB with no inputs on last vertex")
    return graph.edge(last.inputs[0].digest, last.inputs[0].index)


def _parse(data: bytes) -> ops_pb2.Op:
    from google.protobuf.message import DecodeError

    from dockc.llb.pb import ops_pb2

    try:
        return ops_pb2.Op.FromString(data)
    except DecodeError:
        raise InvalidDefinition("failed to parse llb proto op: it is no operation") from None


class _Graph:
    """Vertices made so far, by the digest they have in the definition."""

    def __init__(self, definition: Definition, ignore_cache: bool, platform: Platform | None) -> None:
        from dockc.oci import platform as platforms

        self._metadata = definition.metadata
        self._ignore_cache = ignore_cache
        self._platform = platforms.normalize(platform or platforms.default())
        self._vertices: dict[str, Vertex] = {}

    def edge(self, digest: str, index: int) -> Edge:
        vertex = self._vertices.get(digest)
        if vertex is None:
            raise InvalidDefinition(f"invalid missing input digest {digest}")
        if index < 0:
            raise InvalidDefinition(f"invalid output index {index} of {digest}")
        return Edge(vertex, index)

    def add(self, digest: str, data: bytes) -> None:
        op = _parse(data)
        problem = _problem(op)
        if problem:
            raise InvalidDefinition(f"{problem} ({digest})")
        inputs = tuple(self.edge(i.digest, i.index) for i in op.inputs)
        self._set_platform(op)
        metadata = self._metadata.get(digest)
        options = _options(metadata, self._ignore_cache)
        name = without_credentials(options.description.get(_CUSTOM_NAME) or op_name(op, inputs))
        private = _is_local(op) or any(edge.vertex.private for edge in inputs)
        self._vertices[digest] = Vertex(digest, op, inputs, options, name, private)

    def _set_platform(self, op: ops_pb2.Op) -> None:
        from dockc.oci import platform as platforms

        wire = op.platform
        if op.HasField("platform"):
            normal = platforms.normalize(
                platforms.Platform(wire.OS, wire.Architecture, wire.Variant, wire.OSVersion, tuple(wire.OSFeatures))
            )
        else:
            normal = self._platform
        wire.OS, wire.Architecture, wire.Variant = normal.os, normal.architecture, normal.variant
        wire.OSVersion = normal.os_version
        wire.OSFeatures[:] = normal.os_features
        wire.SetInParent()


def _options(metadata: OpMetadata | None, ignore_cache: bool) -> VertexOptions:
    if metadata is None:
        return VertexOptions(ignore_cache=ignore_cache)
    group = metadata.progress_group
    return VertexOptions(
        ignore_cache=metadata.ignore_cache or ignore_cache,
        description=metadata.description,
        export_cache=metadata.export_cache,
        progress_group=ProgressGroup(group.id, group.name, group.weak) if group is not None else None,
        resources=metadata.resources,
    )


def _is_local(op: ops_pb2.Op) -> bool:
    return op.WhichOneof("op") == "source" and op.source.identifier.startswith("local://")


def _problem(op: ops_pb2.Op) -> str:
    """What rule of its kind the operation breaks, or ""."""
    match op.WhichOneof("op"):
        case "exec":
            return _exec_problem(op)
        case "file":
            return "" if op.file.actions else "invalid file op with no actions"
        case "diff":
            if not op.diff.HasField("lower") or not op.diff.HasField("upper"):
                return "invalid diff op with nil lower or upper input"
            return _index_problem(op, "diff", (op.diff.lower.input, op.diff.upper.input))
        case "merge":
            return _index_problem(op, "merge", [m.input for m in op.merge.inputs])
        case "passthrough":
            if not op.passthrough.id:
                return "invalid passthrough op with no id"
            return "" if op.passthrough.outputs else "invalid passthrough op with no outputs"
        case None:
            return "invalid op of no kind"
    return ""


def _exec_problem(op: ops_pb2.Op) -> str:
    exec_op = op.exec
    if not exec_op.HasField("meta"):
        return "invalid exec op with no meta"
    if not exec_op.meta.args:
        return "invalid exec op with no args"
    if not exec_op.mounts:
        return "invalid exec op with no mounts"
    if not any(mount.dest == "/" for mount in exec_op.mounts):
        return "invalid exec op with no rootfs"
    return _index_problem(op, "exec", [mount.input for mount in exec_op.mounts])


def _index_problem(op: ops_pb2.Op, kind: str, indices: list[int] | tuple[int, ...]) -> str:
    """-1 stands for an empty file system; anything else must be an input."""
    wrong = [i for i in indices if i < -1 or i >= len(op.inputs)]
    return f"invalid {kind} input index {wrong[0]}" if wrong else ""


def op_name(op: ops_pb2.Op, inputs: tuple[Edge, ...]) -> str:
    """What an operation without a given name is called in progress views.

    Long names (a merge of merges of merges) are cut.
    """

    def side(i: int) -> str:
        return f"({inputs[i].vertex.name})" if i >= 0 else "scratch"

    match op.WhichOneof("op"):
        case "source":
            name = op.source.identifier
        case "exec":
            name = " ".join(op.exec.meta.args)
        case "file":
            name = ", ".join(_action_name(action) for action in op.file.actions)
        case "build":
            name = "build"
        case "merge":
            name = f"merge ({', '.join(edge.vertex.name for edge in inputs)})"
        case "diff":
            name = f"diff {side(op.diff.lower.input)} -> {side(op.diff.upper.input)}"
        case "passthrough":
            name = f"passthrough {op.passthrough.id}"
        case _:
            name = "unknown"
    return name if len(name) <= 2000 else name[:2000] + "..."


def _action_name(action: ops_pb2.FileAction) -> str:
    match action.WhichOneof("action"):
        case "mkdir":
            return f"mkdir {action.mkdir.path}"
        case "mkfile":
            return f"mkfile {action.mkfile.path}"
        case "symlink":
            return f"symlink {action.symlink.newpath} -> {action.symlink.oldpath}"
        case "rm":
            return f"rm {action.rm.path}"
        case "copy":
            return f"copy {action.copy.src} {action.copy.dest}"
    return "unknown"
