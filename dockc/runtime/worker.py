"""The worker: content, snapshots, refs, executor and sources, wired into the solver's operations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.executor.base import Executor
    from dockc.runtime.refs.manager import RefManager
    from dockc.solver.op import Op
    from dockc.solver.storage.base import CacheResultStorage
    from dockc.solver.vertex import Vertex


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker is set up.

    Attributes:
        root: the store; None is `$DOCKC_STORE`, else `/var/lib/dockc` for root and
            `$XDG_DATA_HOME/dockc` (`~/.local/share/dockc`) for others.
        snapshotter: `auto`, `overlay` or `native`.
        executor: `auto`, `embedded`, `crun` or `runc`.
    """

    root: Path | None = None
    snapshotter: str = "auto"
    executor: str = "auto"


class Worker:
    """One store and everything that runs on it.

    Operations (`runtime/ops/*.py`) are constructed as `SomeOp(vertex, worker)`: exec.ExecOp, file.FileOp,
    source.SourceOp, merge.MergeOp, diff.DiffOp.
    """

    content: ContentStore
    refs: RefManager
    results: CacheResultStorage

    def __init__(self, options: WorkerOptions) -> None:
        raise NotImplementedError

    @property
    def executor(self) -> Executor:
        """The executor of RUN steps, made on first use."""
        raise NotImplementedError

    def resolve_op(self, vertex: Vertex) -> Op:
        """The solver's `OpResolver`."""
        raise NotImplementedError

    def close(self) -> None:
        """Give up this process's holds and close the database."""
        raise NotImplementedError
