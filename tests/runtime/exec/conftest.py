"""A worker with a base image of this machine's programs, and a context that a step runs in."""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dockc.errors import DockcError
from dockc.llb.pb import ops_pb2
from dockc.runtime.baseimage import build as basefs
from dockc.runtime.executor import rootless
from dockc.runtime.ops.exec import ExecOp
from dockc.runtime.refs.ref import ImmutableRef
from dockc.runtime.refs.result import RefResult, ref_of
from dockc.runtime.session.secrets import ENTITLEMENTS, SECRETS, SSH
from dockc.runtime.store.worker import Worker, WorkerOptions
from dockc.solver.lent import Key
from dockc.solver.op import Later
from dockc.solver.vertex import Edge, Vertex

T = TypeVar("T")

PROGRAMS = (
    "sh",
    "cat",
    "ls",
    "id",
    "sleep",
    "touch",
    "env",
    "stat",
    "mkdir",
    "head",
    "seq",
    "rm",
    "perl",
    "cp",
    "true",
)


class Context:
    """An `OpContext` of one step: what it logged is kept."""

    def __init__(self, vertex: Vertex, values: Mapping[Key[Any], Any]) -> None:
        self.vertex = vertex
        self.cancelled = threading.Event()
        self.logged: list[tuple[int, bytes]] = []
        self._values = values

    def log(self, stream: int, data: bytes) -> None:
        self.logged.append((stream, data))

    def status(self, *_: object, **__: object) -> None:
        pass

    def warn(self, warning: object) -> None:
        pass

    def lent(self, key: Key[T], /) -> tuple[T, ...]:
        return (self._values[key],) if key in self._values else ()

    def later(self, *, waiting: bool) -> Later:
        raise NotImplementedError("a step that runs leaves nothing for later")

    async def run_blocking(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    def text(self, stream: int | None = None) -> str:
        return b"".join(d for s, d in self.logged if stream in (None, s)).decode()


def _keyed(values: Mapping[str, object]) -> dict[Key[Any], Any]:
    return {{key.name: key for key in (SECRETS, SSH, ENTITLEMENTS)}[name]: value for name, value in values.items()}


class Steps:
    """Runs exec operations one by one."""

    def __init__(self, worker: Worker, base: ImmutableRef) -> None:
        self.worker = worker
        self.base = base
        self.context: Context | None = None

    def op(self, script: str = "true", *, args: Sequence[str] = (), root: bool = True) -> ops_pb2.Op:
        op = ops_pb2.Op()
        process = op.exec
        process.meta.args.extend(args or ["/bin/sh", "-c", script])
        process.meta.cwd = "/"
        process.meta.removeMountStubsRecursive = True
        if root:
            process.mounts.add(dest="/", input=0, output=0)
        op.platform.OS, op.platform.Architecture = "linux", "amd64"
        return op

    def vertex(self, op: ops_pb2.Op, inputs: int) -> Vertex:
        source = Vertex("sha256:" + "0" * 64, ops_pb2.Op())
        return Vertex("sha256:" + "1" * 64, op, tuple(Edge(source, i) for i in range(inputs)))

    def run(
        self,
        op: ops_pb2.Op,
        inputs: Sequence[ImmutableRef] | None = None,
        *,
        cancel_after: float | None = None,
        **values: object,
    ) -> list[ImmutableRef]:
        refs = [self.base] if inputs is None else list(inputs)
        vertex = self.vertex(op, len(refs))
        self.context = Context(vertex, _keyed(values))
        if cancel_after is not None:
            threading.Timer(cancel_after, self.context.cancelled.set).start()
        made = _finish(ExecOp(vertex, self.worker).exec(self.context, [RefResult(ref) for ref in refs]))
        return [ref_of(result) for result in made]

    def cache_map(self, op: ops_pb2.Op, inputs: int = 1, **values: object) -> Any:
        vertex = self.vertex(op, inputs)
        return _finish(ExecOp(vertex, self.worker).cache_map(Context(vertex, _keyed(values))))

    def files(self, files: Mapping[str, str]) -> ImmutableRef:
        """A file system with these files."""
        with self.worker.refs.new_mutable() as ref:
            with ref.mount() as path:
                for name, text in files.items():
                    (path / name).parent.mkdir(parents=True, exist_ok=True)
                    (path / name).write_text(text)
            return ref.commit()

    @property
    def log(self) -> str:
        assert self.context is not None
        return self.context.text()


def _finish(coroutine: Any) -> Any:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited")


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    if os.geteuid() != 0:
        pytest.skip("mounting in the test process needs root")
    try:
        rootless.enter_build_namespace()
    except DockcError as error:
        pytest.skip(f"no private mount namespace: {error.message}")
    with Worker(WorkerOptions(root=tmp_path_factory.mktemp("store"))) as made:
        yield made


@pytest.fixture(scope="session")
def base(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> ImmutableRef:
    path = tmp_path_factory.mktemp("base") / "base.tar"
    with path.open("wb") as stream:
        basefs.write_layer(basefs.collect(PROGRAMS), stream)
    with worker.refs.new_mutable() as ref:
        with ref.mount() as root, tarfile.open(path) as tar:
            tar.extraction_filter = lambda member, _: member
            tar.extractall(root)
        return ref.commit()


@pytest.fixture
def steps(worker: Worker, base: ImmutableRef) -> Iterator[Steps]:
    yield Steps(worker, base)


@pytest.fixture
def read() -> Callable[[ImmutableRef, str], str]:
    def read_file(ref: ImmutableRef, name: str) -> str:
        with ref.mount() as path:
            return Path(path / name).read_text()

    return read_file
