"""Definitions that nobody's frontend writes, straight into the solver: each gives a result or an error of dockc's own."""

from __future__ import annotations

import asyncio
import platform
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from dockc.engine.connect import registry_client
from dockc.errors import DockcError
from dockc.llb.definition import Definition
from dockc.llb.pb import ops_pb2 as pb
from dockc.oci import digest as digests
from dockc.runtime.ops.exec import check_load
from dockc.runtime.session.files import LOCALS, HostDirectory
from dockc.runtime.session.secrets import ENTITLEMENTS
from dockc.runtime.source.base import REGISTRY
from dockc.runtime.store.worker import Worker, WorkerOptions
from dockc.solver import graph
from dockc.solver.lent import Lent
from dockc.solver.run.jobs import Solver
from dockc.solver.run.runner import RunnerOptions
from tests import tiny_programs
from tests.runtime.store_helpers import need_mounts

SEEDS, DEFINITIONS = (1, 2, 3, 4), 60
INTEGERS = (-1, 0, 1, 2, 7, 0o777, 0o4777, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))
TEXTS = (
    "", "/", "..", "../../etc/passwd", "/proc/self/mem", "/proc", "/dev", "/dev/zero", "a", "/a//b/./..", "*", "[", "**/x", "x" * 300, "x/" * 3000, "\n",
    "\0", "é", "u+s", "4294967296", "-1:-1", "root", "sha256:" + "0" * 64, "local://context", "git://127.0.0.1:1/x", "oci-layout://x", "true", "{}",
)  # fmt: skip


def _value(random_: random.Random, field: FieldDescriptor) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            text = random_.choice(TEXTS)
            return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        case FieldDescriptor.CPPTYPE_BOOL:
            return random_.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            return random_.choice((0, 1, 2, 3, 4, 5, 99))
    return random_.choice(INTEGERS)


def _mutate(random_: random.Random, message: Any) -> None:
    """Change one field of a message, or one of a message in it; a value that does not fit is left out."""
    field = random_.choice(list(message.DESCRIPTOR.fields))
    value = getattr(message, field.name)
    try:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value[random_.choice(TEXTS)] = random_.choice(TEXTS)
        elif field.message_type is not None and hasattr(value, "add"):
            if value and random_.random() < 0.8:
                _mutate(random_, random_.choice(list(value)))
            elif value and random_.random() < 0.5:
                del value[random_.randrange(len(value))]
            else:
                _mutate(random_, value.add())
        elif field.message_type is not None:
            message.ClearField(field.name) if random_.random() < 0.1 else _mutate(random_, value)
        elif hasattr(value, "append"):
            value.append(_value(random_, field))
        else:
            setattr(message, field.name, _value(random_, field))
    except (ValueError, TypeError):
        return


def _operations() -> dict[str, pb.Op]:
    made = pb.FileAction(
        input=-1, secondaryInput=-1, output=0, mkfile=pb.FileActionMkFile(path="/true", mode=0o755, data=tiny_programs.true(), timestamp=-1)
    )
    copy = pb.FileActionCopy(
        src="/", dest="/d", mode=-1, dirCopyContents=True, createDestPath=True, allowWildcard=True, allowEmptyWildcard=True, timestamp=-1,
        owner=pb.ChownOpt(user=pb.UserOpt(byID=3)), attemptUnpackDockerCompatibility=True, include_patterns=["*"], exclude_patterns=["!x"],
    )  # fmt: skip
    mounts = [
        pb.Mount(input=0, dest="/", output=0),
        pb.Mount(input=1, dest="/m", output=-1, readonly=True),
        pb.Mount(input=-1, dest="/c", output=-1, mountType=pb.CACHE, cacheOpt=pb.CacheOpt(ID="c")),
        pb.Mount(input=-1, dest="/t", output=-1, mountType=pb.TMPFS, TmpfsOpt=pb.TmpfsOpt(size=4096)),
        pb.Mount(input=-1, dest="/s", output=-1, mountType=pb.SECRET, secretOpt=pb.SecretOpt(ID="s", mode=0o400, optional=True)),
    ]
    meta = pb.Meta(
        args=["/true"], env=["A=b"], cwd="/", user="0:0", extraHosts=[pb.HostIP(Host="h", IP="1.2.3.4")], ulimit=[pb.Ulimit(Name="nofile", Soft=9, Hard=9)]
    )
    two = [pb.Input(), pb.Input()]
    removed = pb.FileAction(input=0, secondaryInput=-1, output=-1, rm=pb.FileActionRm(path="/d/a", allowNotFound=True, allowWildcard=True))
    linked = pb.FileAction(input=1, secondaryInput=-1, output=0, symlink=pb.FileActionSymlink(oldpath="/f", newpath="/g", timestamp=-1))
    return {
        "local": pb.Op(source=pb.SourceOp(identifier="local://context", attrs={"local.includepattern": '["a"]'})),
        "made": pb.Op(file=pb.FileOp(actions=[made])),
        "copy": pb.Op(inputs=two, file=pb.FileOp(actions=[pb.FileAction(input=0, secondaryInput=1, output=0, copy=copy)])),
        "changed": pb.Op(inputs=two[:1], file=pb.FileOp(actions=[removed, linked])),
        "exec": pb.Op(inputs=two, exec=pb.ExecOp(meta=meta, mounts=mounts)),
        "merge": pb.Op(inputs=two, merge=pb.MergeOp(inputs=[pb.MergeInput(input=0), pb.MergeInput(input=1)])),
        "diff": pb.Op(inputs=two, diff=pb.DiffOp(lower=pb.LowerDiffInput(input=0), upper=pb.UpperDiffInput(input=1))),
    }


def _parts(op: pb.Op) -> list[Any]:
    match op.WhichOneof("op"):
        case "exec":
            return [op.exec.meta, *op.exec.mounts, *(mount.cacheOpt for mount in op.exec.mounts if mount.HasField("cacheOpt"))]
        case "file":
            return [part for action in op.file.actions for part in (action, getattr(action, action.WhichOneof("action") or "mkdir"))]
    return [op]


def definition(random_: random.Random) -> Definition:
    """A chain of operations of which some are not as they should be."""
    known: list[str] = []
    ops: list[tuple[str, bytes]] = []
    operations = _operations()
    target = random_.choice(list(operations))
    for name, op in operations.items():
        if name not in ("local", "made") and name != target and random_.random() < 0.4:
            continue
        if name == target or random_.random() < 0.1:
            for _ in range(random_.choice((1, 1, 2, 3))):
                _mutate(random_, random_.choice(_parts(op)))
        for number, one in enumerate(op.inputs):
            if known:
                one.digest = known[1] if name == "exec" and number == 0 else random_.choice(known)
        data = op.SerializeToString(deterministic=True)
        if random_.random() < 0.03:
            flipped = bytearray(data)
            flipped[random_.randrange(len(flipped))] ^= 1 << random_.randrange(8)
            data = bytes(flipped)
        known.append(digests.from_bytes(data))
        ops.append((known[-1], data))
    last = pb.Op(inputs=[pb.Input(digest=known[-1], index=random_.choice((0, 0, 0, 0, 0, 1, 7, -1)))]).SerializeToString(deterministic=True)
    return Definition(ops=(*ops, (digests.from_bytes(last), last)), metadata={})


@pytest.fixture
def solve(tmp_path: Path) -> Iterator[Callable[[Definition], None]]:
    """Solves a definition in a store of its own."""
    need_mounts()
    context = tmp_path / "context"
    context.mkdir()
    (context / "a").write_text("x")
    client = registry_client(offline=True)
    worker = Worker(WorkerOptions(root=tmp_path / "store"))

    async def work(one: Definition) -> None:
        edge = graph.load(one)
        check_load([edge], frozenset())
        lends = Lent().put(REGISTRY, client).put(LOCALS, {"context": HostDirectory(context)}).put(ENTITLEMENTS, frozenset())
        async with Solver(worker.resolve_op, worker.keys, worker.results, RunnerOptions()) as solver, solver.job("hostile", lends=lends) as job:
            for result in await job.build(edge):
                if result is not None:
                    result.result.release()

    with worker:
        yield lambda one: asyncio.run(work(one))
    client.close()


@pytest.mark.root
@pytest.mark.parametrize("seed", SEEDS)
def test_a_hostile_definition_is_solved_or_refused(solve: Callable[[Definition], None], seed: int) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the program of its steps is of x86_64")
    random_ = random.Random(seed)
    solved = 0
    for _ in range(DEFINITIONS):
        one = definition(random_)
        try:
            solve(one)
            solved += 1
        except DockcError as error:
            assert error.message
        except Exception as error:
            raise AssertionError(f"not an error of dockc's own, for {[pb.Op.FromString(data) for _, data in one.ops]}") from error
    assert solved >= 3, "hardly anything is accepted: the operations are out of date"
