"""The worker: content, snapshots, refs, executor and sources, wired into the solver's operations.

options ──> Worker ──> content, refs          the store
                   ──> keys, results          the solver's two storages, in the same place
                   ──> executor               runs RUN steps, made when the first one comes
                   ──> resolve_op             vertex -> operation
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dockc.base.record import Record, replace
from dockc.base.table import Table
from dockc.errors import DiskFull, SolveError, StoreError
from dockc.runtime.archive.limits import Limits
from dockc.runtime.content.errors import is_full
from dockc.runtime.refs.core import ProviderFactory, RefNotFound
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.prune import Pruned, joined
from dockc.runtime.refs.recovery import finish_removals
from dockc.runtime.refs.result import RefResult, ref_of
from dockc.runtime.store import ballast
from dockc.runtime.store.place import default_root
from dockc.solver.cache.storage.base import CacheResult, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.executor.base import Executor
    from dockc.runtime.executor.cni import NetworkOptions
    from dockc.runtime.refs.policy import Rule
    from dockc.runtime.refs.prune import Told
    from dockc.runtime.refs.types import UsageRecord
    from dockc.runtime.refs.usage import Keep, Keeper
    from dockc.solver.cache.storage.base import CacheResultStorage
    from dockc.solver.cache.storage.sqlite import SqliteKeyStorage
    from dockc.solver.op import Op
    from dockc.solver.result import Result
    from dockc.solver.vertex import Vertex

#: Operations of LLB by kind; what is named is called with the vertex and the worker.
OPERATIONS = Table(
    "dockc.operations",
    {
        "exec": "dockc.runtime.ops.exec:ExecOp",
        "file": "dockc.runtime.ops.file:FileOp",
        "source": "dockc.runtime.ops.source:SourceOp",
        "merge": "dockc.runtime.ops.merge:MergeOp",
        "diff": "dockc.runtime.ops.diff:DiffOp",
        "build": "dockc.runtime.ops.build:BuildOp",
        "passthrough": "dockc.runtime.ops.passthrough:PassthroughOp",
    },
)


class WorkerOptions(Record, kw_only=True):
    """How a worker is set up.

    Attributes:
        root: the store; None is `default_root()`.
        snapshotter: `auto`, `overlay` or `native`.
        executor: `auto`, `embedded`, `crun` or `runc`.
        network: of steps that ask for none in particular; None is the host's.
        borrow: take what the store keeps in reserve where the disk is full: what is done frees space, or takes none.
        provider_factory: finds a provider for layers that an earlier process saw and never fetched.
        limits: what one layer of a foreign image may unpack to.
    """

    root: Path | None = None
    snapshotter: str = "auto"
    executor: str = "auto"
    network: NetworkOptions | None = None
    borrow: bool = False
    provider_factory: ProviderFactory | None = None
    limits: Limits | None = None


class RefResults:
    """The solver's `CacheResultStorage` over refs: a result id is a ref id.

    Refs are kept until they are pruned in any case, so that saving is only naming.
    """

    def __init__(self, refs: RefManager) -> None:
        self._refs = refs

    def save(self, result: Result, created_at: int) -> CacheResult:
        """Name a result; it stays the caller's."""
        return CacheResult(ref_of(result).id, created_at)

    def load(self, result: CacheResult) -> Result:
        """A new hold on a result; raises NotFound."""
        try:
            return RefResult(self._refs.get(result.id))
        except RefNotFound:
            raise NotFound(result.id) from None

    def exists(self, result_id: str) -> bool:
        """Whether `load` would find it, with all of its content."""
        return self._refs.exists(result_id)


class Worker:
    """One store and everything that runs on it.

    Operations (`runtime/ops/*.py`) are constructed as `SomeOp(vertex, worker)`.

    Attributes:
        refs: file systems.
        keys: the solver's key graph, in the store; what is pruned is forgotten there too.
        results: the solver's results.

    Raises:
        StoreError: the store cannot be opened.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._executor: Executor | None = None
        self._keys: SqliteKeyStorage | None = None
        self._root = root = options.root or default_root()
        ballast.settle(root)
        self._borrowed = ballast.borrow(root) if options.borrow else None
        try:
            self.refs = RefManager(
                root,
                snapshotter_name=options.snapshotter,
                provider_factory=options.provider_factory,
                on_removed=self._forget,
                limits=options.limits,
            )
        except BaseException:
            ballast.give_back(root, self._borrowed)
            raise
        self.results: CacheResultStorage = RefResults(self.refs)

    @property
    def content(self) -> ContentStore:
        """Blobs."""
        return self.refs.content

    @property
    def keys(self) -> SqliteKeyStorage:
        """The key graph, opened on first use."""
        if self._keys is None:
            from dockc.solver.cache.storage.sqlite import SqliteKeyStorage

            self._keys = SqliteKeyStorage(self._root / "cache.db")
        return self._keys

    @property
    def executor(self) -> Executor:
        """The executor of RUN steps, made on first use."""
        if self._executor is None:
            from dockc.runtime.executor.choose import choose

            state = self.refs.staging / "executor"
            state.mkdir(exist_ok=True)
            made = choose(self._options.executor, state)
            if self._options.network is not None:
                from dockc.runtime.executor.cni import networked

                made = networked(made, self._options.network, state)
            self._executor = made
        return self._executor

    def resolve_op(self, vertex: Vertex) -> Op:
        """The solver's `OpResolver`.

        Raises:
            SolveError: a kind of operation that this worker does not run.
        """
        kind = vertex.op.WhichOneof("op")
        make = OPERATIONS.find(kind or "")
        if make is None:
            raise SolveError(
                f"operations of kind {kind or 'none'} are not supported by this worker", vertex=vertex.digest
            )
        made: Op = make(vertex, self)
        return made

    def prune(self, rules: Sequence[Rule], keep: Keep | Keeper | None = None, told: Told | None = None) -> Pruned:
        """Remove what nobody needs, as the rules say; both databases give the space of what was forgotten back.

        On a disk where not even that can be written down, files go first and records later (`store.room`).
        """
        removed: list[UsageRecord] = []

        def hear(record: UsageRecord) -> None:
            removed.append(record)
            if told is not None:
                told(record)

        try:
            pruned = self.refs.prune(rules, keep, hear)
        except (OSError, StoreError) as error:
            if not is_full(error):
                raise
            pruned = joined(
                Pruned(tuple(removed), sum(one.size for one in removed)), self._make_room(rules, keep, told)
            )
        freed = self.refs.core.db.compact()
        if self._has_keys():
            with suppress(DiskFull):
                freed += self.keys.compact()
        return replace(pruned, size=pruned.size + freed)

    def _make_room(self, rules: Sequence[Rule], keep: Keep | Keeper | None, told: Told | None) -> Pruned:
        from dockc.runtime.refs.usage import kept_now
        from dockc.runtime.store.room import make_room

        gone = make_room(self._root, rules, kept_now(keep), everything=True)
        for record in gone.records:
            if told is not None:
                told(record)
        finish_removals(self.refs.core)
        return gone

    def _has_keys(self) -> bool:
        return self._keys is not None or (self._root / "cache.db").exists()

    def _forget(self, ref_id: str, rule: str) -> None:
        if self._has_keys():
            self.keys.release(ref_id, rule)

    def shrink(self) -> None:
        """Give back memory that is quickly read again: pages of the databases, small trees. For a process that rests.

        Raises:
            StoreError: one is damaged.
        """
        from dockc.runtime.refs import contenthash

        contenthash.rest()
        self.refs.shrink()
        if self._keys is not None:
            self._keys.shrink()

    def close(self) -> None:
        """Give up this process's holds and close the databases."""
        try:
            if self._keys is not None:
                self._keys.close()
                self._keys = None
        finally:
            self.refs.close()
            ballast.give_back(self._root, self._borrowed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
