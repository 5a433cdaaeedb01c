"""From definitions to vertices; definitions come from anyone."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from dockc.errors import InvalidDefinition
from dockc.llb.definition import Definition, OpMetadata, ProgressGroup
from dockc.llb.pb import ops_pb2 as pb
from dockc.oci.platform import Platform
from dockc.solver import vertex as vertices
from dockc.solver.graph import load

AMD64 = Platform("linux", "amd64")


def digest(data: bytes) -> str:
    return "sha256:" + sha256(data).hexdigest()


class Maker:
    """Puts a definition together, operation by operation."""

    def __init__(self) -> None:
        self.ops: list[tuple[str, bytes]] = []
        self.metadata: dict[str, OpMetadata] = {}

    def add(
        self, op: pb.Op, *inputs: tuple[str, int], platform: bool = True, metadata: OpMetadata | None = None
    ) -> str:
        if platform:
            op.platform.OS, op.platform.Architecture = "linux", "amd64"
        for below, index in inputs:
            op.inputs.add(digest=below, index=index)
        data = op.SerializeToString(deterministic=True)
        self.ops.append((digest(data), data))
        if metadata is not None:
            self.metadata[digest(data)] = metadata
        return digest(data)

    def done(self, head: str, index: int = 0) -> Definition:
        op = pb.Op()
        op.inputs.add(digest=head, index=index)
        data = op.SerializeToString()
        return Definition([*self.ops, (digest(data), data)], self.metadata)


def source(identifier: str = "docker-image://docker.io/library/debian:latest") -> pb.Op:
    return pb.Op(source=pb.SourceOp(identifier=identifier))


def run(*args: str) -> pb.Op:
    return pb.Op(exec=pb.ExecOp(meta=pb.Meta(args=args, cwd="/"), mounts=[pb.Mount(input=0, dest="/", output=0)]))


def test_load() -> None:
    make = Maker()
    base = make.add(source())
    group = OpMetadata(
        description={"llb.customname": "RUN make"},
        progress_group=ProgressGroup("g", "name", weak=True),
        ignore_cache=True,
        export_cache=False,
    )
    top = make.add(run("make", "all"), (base, 0), metadata=group)
    edge = load(make.done(top, 0), platform=AMD64)
    assert edge.id == vertices.EdgeId(top, 0)
    assert edge.vertex.name == "RUN make"
    assert edge.vertex.options.ignore_cache
    assert edge.vertex.options.export_cache is False
    assert edge.vertex.options.progress_group == vertices.ProgressGroup("g", "name", weak=True)
    (below,) = edge.vertex.inputs
    assert below.vertex.name == "docker-image://docker.io/library/debian:latest"
    assert below.vertex.digest == base
    assert not below.vertex.options.ignore_cache
    assert list(vertices.walk(edge)) == [below.vertex, edge.vertex]
    assert all(v.options.ignore_cache for v in vertices.walk(load(make.done(top), ignore_cache=True)))


def test_platforms_are_normalised_and_digests_stay() -> None:
    make = Maker()
    base = make.add(source(), platform=False)
    top = make.add(run("x"), (base, 0))
    edge = load(make.done(top), platform=AMD64)
    assert edge.vertex.inputs[0].vertex.digest == base
    assert edge.vertex.inputs[0].vertex.op.platform.Architecture == "amd64"
    assert edge.vertex.digest == top
    odd = source()
    odd.platform.OS, odd.platform.Architecture = "Linux", "aarch64"
    make = Maker()
    edge = load(make.done(make.add(odd, platform=False)), platform=AMD64)
    assert (edge.vertex.op.platform.OS, edge.vertex.op.platform.Architecture) == ("linux", "arm64")


def test_names() -> None:
    make = Maker()
    a, b = make.add(source("local://context")), make.add(source("git://x"))
    merged = make.add(pb.Op(merge=pb.MergeOp(inputs=[pb.MergeInput(input=0), pb.MergeInput(input=1)])), (a, 0), (b, 0))
    diffed = make.add(
        pb.Op(diff=pb.DiffOp(lower=pb.LowerDiffInput(input=-1), upper=pb.UpperDiffInput(input=0))), (merged, 0)
    )
    files = pb.FileOp()
    files.actions.add(input=0, mkdir=pb.FileActionMkDir(path="/d"))
    files.actions.add(input=1, mkfile=pb.FileActionMkFile(path="/f"))
    files.actions.add(input=2, rm=pb.FileActionRm(path="/r"))
    files.actions.add(input=3, symlink=pb.FileActionSymlink(oldpath="/o", newpath="/n"))
    files.actions.add(input=4, copy=pb.FileActionCopy(src="/s", dest="/t"))
    filed = make.add(pb.Op(file=files), (diffed, 0))
    names = [v.name for v in vertices.walk(load(make.done(filed), platform=AMD64))]
    assert names == [
        "local://context",
        "git://x",
        "merge (local://context, git://x)",
        "diff scratch -> (merge (local://context, git://x))",
        "mkdir /d, mkfile /f, rm /r, symlink /n -> /o, copy /s /t",
    ]


def test_names_do_not_explode() -> None:
    make = Maker()
    top = make.add(source())
    for _ in range(40):
        op = pb.Op(merge=pb.MergeOp(inputs=[pb.MergeInput(input=0), pb.MergeInput(input=1)]))
        top = make.add(op, (top, 0), (top, 0))
    edge = load(make.done(top), platform=AMD64)
    assert len(edge.vertex.name) < 2010
    assert sum(1 for _ in vertices.walk(edge)) == 41


def exec_without(change: Callable[[pb.Op], None]) -> pb.Op:
    op = run("x")
    change(op)
    return op


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (pb.Op(), "invalid op of no kind"),
        (exec_without(lambda op: op.exec.ClearField("meta")), "invalid exec op with no meta"),
        (exec_without(lambda op: op.exec.meta.ClearField("args")), "invalid exec op with no args"),
        (exec_without(lambda op: op.exec.ClearField("mounts")), "invalid exec op with no mounts"),
        (exec_without(lambda op: setattr(op.exec.mounts[0], "dest", "/x")), "invalid exec op with no rootfs"),
        (exec_without(lambda op: setattr(op.exec.mounts[0], "input", 1)), "invalid exec input index 1"),
        (exec_without(lambda op: setattr(op.exec.mounts[0], "input", -2)), "invalid exec input index -2"),
        (pb.Op(file=pb.FileOp()), "invalid file op with no actions"),
        (pb.Op(diff=pb.DiffOp(lower=pb.LowerDiffInput(input=0))), "invalid diff op with nil lower or upper input"),
        (pb.Op(merge=pb.MergeOp(inputs=[pb.MergeInput(input=7)])), "invalid merge input index 7"),
    ],
)
def test_rules_of_operations(op: pb.Op, message: str) -> None:
    make = Maker()
    base = make.add(source())
    bad = make.add(op, (base, 0))
    with pytest.raises(InvalidDefinition, match=message):
        load(make.done(bad), platform=AMD64)


def test_rules_of_graphs() -> None:
    with pytest.raises(InvalidDefinition, match="invalid empty definition"):
        load(Definition())
    make = Maker()
    base = make.add(source())
    with pytest.raises(InvalidDefinition, match="invalid LLB with no inputs on last vertex"):
        load(Definition([*make.ops, (digest(b""), b"")]))
    with pytest.raises(InvalidDefinition, match="invalid LLB with 1 vertexes"):
        load(Definition(make.done(base).ops[1:]))
    with pytest.raises(InvalidDefinition, match="invalid missing input digest sha256:gone"):
        load(make.done("sha256:gone"))
    with pytest.raises(InvalidDefinition, match="invalid output index -1"):
        load(make.done(base, -1))
    with pytest.raises(InvalidDefinition, match="failed to parse llb proto op"):
        load(Definition([("sha256:x", b"\xff\xff"), *make.done(base).ops]))
    # An operation that stands before what it reads is as good as a missing one.
    top = make.add(run("x"), (base, 0))
    ops = make.done(top).ops
    with pytest.raises(InvalidDefinition, match="invalid missing input digest"):
        load(Definition([ops[1], ops[0], ops[2]]))


def test_deep_graphs() -> None:
    make = Maker()
    top = make.add(source())
    for n in range(5000):
        top = make.add(run(str(n)), (top, 0))
    assert sum(1 for _ in vertices.walk(load(make.done(top), platform=AMD64))) == 5001


def test_conformance_definitions_load(shared: Path) -> None:
    """Reads ../shared: every definition there loads, and every vertex is one of its operations."""
    count = 0
    for path in sorted((shared / "conformance" / "llb").glob("*/*/definition.pb")):
        definition = Definition.parse(path.read_bytes())
        if definition.ops:
            loaded = list(vertices.walk(load(definition)))
            assert {v.digest for v in loaded} <= set(definition.digests)
            assert all(v.name for v in loaded), path
            count += 1
    assert count > 100
