from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dockc.runtime.content.store import ContentStore
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.registry.client import Client
from dockc.runtime.source.base import REGISTRY
from dockc.solver.lent import Key
from tests.runtime.registry.conftest import FAST

T = TypeVar("T")


class Later:
    """Work of a step after its call (`solver.op.Later`), with everything it says kept."""

    vertex = "sha256:step"
    alive = True

    def __init__(self, waiting: bool) -> None:
        self.waiting = waiting
        self.said: list[tuple[str, ...]] = []

    def begin(self) -> None:
        self.said.append(("begin",))

    def status(self, status_id: str, *, name: str = "", current: int = 0, total: int = 0, done: bool = False) -> None:
        if done:
            self.said.append((name, status_id))

    def end(self, error: str = "") -> None:
        self.said.append(("end", error))


class Context:
    """What an operation is lent (`solver.op.OpContext`), with everything it says kept."""

    def __init__(self, values: dict[Key[Any], Any]) -> None:
        self.values = values
        self.cancelled = threading.Event()
        self.logs: list[bytes] = []
        self.statuses: list[tuple[str, bool]] = []
        self.vertex: Any = None
        self.laters: list[Later] = []

    def log(self, stream: int, data: bytes) -> None:
        self.logs.append(data)

    def status(self, status_id: str, *, name: str = "", current: int = 0, total: int = 0, done: bool = False) -> None:
        self.statuses.append((status_id, done))

    def warn(self, warning: object) -> None:
        raise AssertionError(warning)

    def later(self, *, waiting: bool) -> Later:
        self.laters.append(Later(waiting))
        return self.laters[-1]

    def lent(self, key: Key[T], /) -> tuple[T, ...]:
        return (self.values[key],) if key in self.values else ()

    async def run_blocking(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)


class Secrets:
    """Secrets by id."""

    def __init__(self, **known: bytes) -> None:
        self.known = known

    def get(self, secret_id: str) -> bytes | None:
        return self.known.get(secret_id)


@pytest.fixture
def refs(tmp_path: Path) -> Iterator[RefManager]:
    with RefManager(tmp_path / "store", snapshotter_name="native") as manager:
        yield manager


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client(limits=FAST)
    yield made
    made.close()


@pytest.fixture
def source(tmp_path: Path) -> ContentStore:
    """Where images come from."""
    return ContentStore(tmp_path / "source")


@pytest.fixture
def ctx(client: Client) -> Context:
    return Context({REGISTRY: client})


def files_of(refs: RefManager, ref: Any) -> dict[str, bytes]:
    """The regular files of a ref by path."""
    with ref.mount() as root:
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }
