"""The worker under the real solver: operations on refs, cached over processes, forgotten when pruned."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.errors import DockcError, InvalidDefinition, SolveError, UsageError
from dockc.llb.definition import Definition
from dockc.llb.pb import ops_pb2
from dockc.runtime.refs.result import ref_of
from dockc.runtime.store.place import default_root
from dockc.runtime.store.worker import Worker, WorkerOptions
from dockc.solver.cache.storage.base import CacheResult, NotFound
from dockc.solver.graph import load
from dockc.solver.run.jobs import Solver
from dockc.solver.vertex import Vertex
from tests.runtime.store_helpers import need_mounts, tree

Node = tuple[bytes, tuple["Node", ...]]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Graph:
    """Collects operations, inputs first."""

    def __init__(self) -> None:
        self.ops: dict[str, bytes] = {}

    def add(self, op: ops_pb2.Op, *inputs: str) -> str:
        for item in inputs:
            op.inputs.add(digest=item, index=0)
        data = op.SerializeToString(deterministic=True)
        self.ops[digest(data)] = data
        return digest(data)

    def files(self, *names: str, on: str = "", remove: str = "") -> str:
        """A file operation that makes (or removes) files."""
        op = ops_pb2.Op()
        for number, name in enumerate([*names, *([remove] if remove else [])]):
            last = number == len(names) + bool(remove) - 1
            action = op.file.actions.add(input=number - 1 + bool(on), secondaryInput=-1, output=0 if last else -1)
            if number == 0 and not on:
                action.input = -1
            if name == remove:
                action.rm.path = f"/{name}"
            else:
                action.mkfile.path, action.mkfile.mode = f"/{name}", 0o644
                action.mkfile.data, action.mkfile.timestamp = name.encode(), -1
        return self.add(op, *([on] if on else []))

    def merge(self, *inputs: str) -> str:
        op = ops_pb2.Op()
        for number in range(len(inputs)):
            op.merge.inputs.add(input=number)
        op.merge.SetInParent()
        return self.add(op, *inputs)

    def diff(self, lower: str, upper: str) -> str:
        op = ops_pb2.Op()
        inputs = [item for item in (lower, upper) if item]
        op.diff.lower.input = inputs.index(lower) if lower else -1
        op.diff.upper.input = len(inputs) - 1 if upper else -1
        return self.add(op, *inputs)

    def definition(self, head: str) -> Definition:
        message = ops_pb2.Definition()
        terminal = ops_pb2.Op()
        terminal.inputs.add(digest=head, index=0)
        getattr(message, "def").extend([*self.ops.values(), terminal.SerializeToString()])
        return Definition.parse(message.SerializeToString())


def build(worker: Worker, definition: Definition) -> tuple[str, list[str], int]:
    """Solve; returns the ref's id, the names in it, and how many refs were made for it."""
    before = {record.id for record in worker.refs.usage()}

    async def solve() -> tuple[str, list[str]]:
        async with Solver(worker.resolve_op, worker.keys, worker.results) as solver:
            (built,) = await solver.solve(load(definition))
            ref = ref_of(built.result)
            with ref.mount() as root:
                found = sorted(name for name in tree(root) if name != ".")
            built.result.release()
            return ref.id, found

    ref_id, found = asyncio.run(solve())
    return ref_id, found, len({record.id for record in worker.refs.usage()} - before)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    need_mounts()
    with Worker(WorkerOptions(root=tmp_path / "store")) as made:
        yield made


def test_merging_and_differences_through_the_solver(worker: Worker) -> None:
    graph = Graph()
    base = graph.files("a", "b")
    top = graph.files("c", on=base, remove="a")
    change = graph.diff(base, top)
    head = graph.merge(graph.files("x"), base, change)
    definition = graph.definition(head)
    first, names, made = build(worker, definition)
    assert names == ["b", "c", "x"]
    assert made == 5
    again, names, made = build(worker, definition)
    assert again == first
    assert names == ["b", "c", "x"]
    assert made == 0


def test_empty_sides(worker: Worker) -> None:
    graph = Graph()
    files = graph.files("a")
    assert build(worker, graph.definition(graph.diff("", files)))[1] == ["a"]
    graph = Graph()
    assert build(worker, graph.definition(graph.diff(graph.files("a"), "")))[1] == []


def test_another_process_finds_the_results(worker: Worker, tmp_path: Path) -> None:
    graph = Graph()
    head = graph.merge(graph.files("a"), graph.files("b"))
    definition = graph.definition(head)
    first = build(worker, definition)[0]
    worker.close()
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = [sys.argv[3]]\n"
        "from dockc.runtime.executor import rootless; rootless.enter_build_namespace()\n"
        "from dockc.llb.definition import Definition; from dockc.runtime.store.worker import Worker, WorkerOptions\n"
        "from tests.runtime.test_worker import build\n"
        "with Worker(WorkerOptions(root=Path(sys.argv[1]))) as worker:\n"
        "    print(*build(worker, Definition.parse(Path(sys.argv[2]).read_bytes())))\n"
    )
    (tmp_path / "llb").write_bytes(definition.to_bytes())
    repo = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", code, str(tmp_path / "store"), str(tmp_path / "llb"), str(repo)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=repo)
    assert done.stdout == f"{first} ['a', 'b'] 0\n"
    with Worker(WorkerOptions(root=tmp_path / "store")) as second:
        assert build(second, definition)[0] == first


def test_what_is_pruned_is_made_again(worker: Worker) -> None:
    graph = Graph()
    head = graph.merge(graph.files("a"), graph.files("b"))
    definition = graph.definition(head)
    first = build(worker, definition)[0]
    assert len(worker.keys.result_ids()) == 3
    assert worker.refs.prune().records
    assert worker.keys.result_ids() == ()
    second, names, made = build(worker, definition)
    assert second != first
    assert names == ["a", "b"]
    assert made == 3


def test_results_by_id(worker: Worker) -> None:
    with worker.refs.scratch() as ref:
        assert worker.results.exists(ref.id)
        found = worker.results.load(CacheResult(ref.id, 1))
        assert found.id == ref.id
        found.release()
    assert not worker.results.exists("none")
    with pytest.raises(NotFound):
        worker.results.load(CacheResult("none", 1))


def test_kinds_that_are_not_supported(worker: Worker) -> None:
    op = ops_pb2.Op()
    op.build.builder = 0
    with pytest.raises(InvalidDefinition, match="only LLB builder is currently allowed"):
        worker.resolve_op(Vertex("sha256:x", op))
    with pytest.raises(SolveError, match="operations of kind none are not supported"):
        worker.resolve_op(Vertex("sha256:x", ops_pb2.Op()))


def test_inputs_that_do_not_exist(worker: Worker) -> None:
    op = ops_pb2.Op()
    op.merge.inputs.add(input=3)
    with pytest.raises(InvalidDefinition, match="invalid input index 3 for merge op with 0 inputs"):
        worker.resolve_op(Vertex("sha256:x", op))
    op = ops_pb2.Op()
    op.diff.lower.input, op.diff.upper.input = -1, 7
    with pytest.raises(InvalidDefinition, match="invalid upper input index 7 for diff op"):
        worker.resolve_op(Vertex("sha256:x", op))


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKC_STORE", "/somewhere/else")
    assert default_root() == Path("/somewhere/else")
    monkeypatch.setenv("DOCKC_STORE", "relative")
    with pytest.raises(UsageError, match="DOCKC_STORE=relative is not an absolute path"):
        default_root()
    monkeypatch.delenv("DOCKC_STORE")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("dockc.base.files._is_initial_namespace", lambda: True)
    assert default_root() == Path("/var/lib/dockc")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_DATA_HOME", "relative is ignored")
    assert default_root() == Path("/home/me/.local/share/dockc")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_root() == Path("/data/dockc")


def test_an_unknown_executor_or_snapshotter(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown snapshotter 'zfs'"):
        Worker(WorkerOptions(root=tmp_path / "store", snapshotter="zfs"))
    with Worker(WorkerOptions(root=tmp_path / "store", executor="podman")) as made, pytest.raises(DockcError):
        _ = made.executor
