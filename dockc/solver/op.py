"""What an operation must offer to be solved: a cache map and an execution.

`runtime/ops/*` implement `Op`; tests implement it with a few lines. The solver calls `cache_map` at most once
per vertex (until cancelled) and `exec` at most once per vertex, and only if no cached result serves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from dockc.base.record import Record, made
from dockc.solver.result import Result

if TYPE_CHECKING:
    import threading

    from dockc.solver.lent import Key
    from dockc.solver.progress import VertexWarning
    from dockc.solver.vertex import Vertex

P = ParamSpec("P")
T = TypeVar("T")

STDOUT = 1
STDERR = 2

Preimage = Mapping[str, object]
"""What went into a cache map's digest: JSON values by name, e.g. {"kind": "exec", "args": [...]}. Kept beside
the key so that a miss can be explained by comparing two of them; no effect on any key."""


class Later(Protocol):
    """Work of a vertex that is done after its calls have returned, when another step needs it. Any thread."""

    @property
    def vertex(self) -> str:
        """Digest of the vertex."""
        ...

    @property
    def alive(self) -> bool:
        """Whether a build still watches the vertex."""
        ...

    def begin(self) -> None:
        """The vertex works again; as often as `end` is called."""
        ...

    def status(self, status_id: str, *, name: str = "", current: int = 0, total: int = 0, done: bool = False) -> None:
        """As `OpContext.status`."""
        ...

    def end(self, error: str = "") -> None:
        """The work that `begin` announced has ended, with an error of the vertex or without."""
        ...


class OpContext(Protocol):
    """What an operation may use while it runs; one per call, valid until the call returns."""

    @property
    def vertex(self) -> Vertex:
        """The vertex this call is for."""
        ...

    @property
    def cancelled(self) -> threading.Event:
        """Set when the call is cancelled: code in threads looks at it, awaiting code is cancelled."""
        ...

    def log(self, stream: int, data: bytes) -> None:
        """Send output of the step to whoever watches (1 stdout, 2 stderr). Any thread; never blocks."""
        ...

    def status(self, status_id: str, *, name: str = "", current: int = 0, total: int = 0, done: bool = False) -> None:
        """Report the progress of a part, such as one layer's download, in bytes. Any thread."""
        ...

    def warn(self, warning: VertexWarning) -> None:
        """Report a warning about this vertex. Any thread."""
        ...

    def later(self, *, waiting: bool) -> Later:
        """A handle for work after this call; while the vertex is `waiting` for it, nobody is told that it is done."""
        ...

    def lent(self, key: Key[T], /) -> tuple[T, ...]:
        """What the interested builds lend under `key` (secrets, clients, directories), in the order in which they
        came.
        """
        ...

    async def run_blocking(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn` in the solver's thread pool.

        On cancellation `cancelled` is set and the thread is awaited: nothing of a step outlives the step.
        """
        ...


ContentDigest = Callable[[OpContext, Result], Awaitable[str]]
"""Digest of the part of an input's content that the operation reads; "" when it has none."""

Preprocess = Callable[[OpContext, Result], Awaitable[None]]
"""Work to do on an input before the operation may use it, such as fetching lazy layers."""


class CacheDep(Record):
    """How one input takes part in the cache key.

    Attributes:
        selector: a digest that is combined with the input's definition key (not with its content key): which
            part of the input is read. "" for the whole.
        content_digest: computes a content key from the input's result; None where only definition counts.
        preprocess: runs on the input's result before `content_digest` and before `Op.exec`.
    """

    selector: str = ""
    content_digest: ContentDigest | None = None
    preprocess: Preprocess | None = None


class CacheMap(Record):
    """How a vertex is cached: its own digest and the part each input plays.

    Attributes:
        digest: `sha256:<hex>` of the operation less its inputs; for a source, of what it resolves to
            (manifest digest, commit). A digest that starts with `random:` is never found again.
        deps: one entry per input of the vertex.
        preimage: what was hashed into `digest`, for explanations.
        more: vertices without inputs only: a further name of the same result (a config digest after a
            manifest digest), asked for only when the names so far have found no record.
        proven: for a name that the source itself only claims: whether it is known to be true by now. Until then the
            name is looked up, and nothing is saved under it and nothing is taken for equal because of it. Quick; any
            thread may call.
    """

    digest: str
    deps: tuple[CacheDep, ...] = ()
    preimage: Preimage = made(dict)
    more: Callable[[OpContext], Awaitable[CacheMap]] | None = None
    proven: Callable[[], bool] | None = None


class Op(Protocol):
    """One operation. An instance lives as long as its vertex is of interest to some build.

    One whose `exec` waits for other operations has an attribute `waits_for_others` that is true: it takes no place of
    those that run at once, or none might be left for them.
    """

    async def cache_map(self, ctx: OpContext) -> CacheMap:
        """Describe how the operation is cached. Must give the same answer for the same vertex and world."""
        ...

    async def exec(self, ctx: OpContext, inputs: Sequence[Result]) -> Sequence[Result | None]:
        """Run the operation.

        `inputs` are borrowed: the caller releases them. Ownership of the outputs goes to the caller: one
        entry per output index, None for an output that does not exist. On failure or cancellation nothing
        may be left behind.
        """
        ...


OpResolver = Callable[["Vertex"], Op]
"""Finds the operation of a vertex; raises a DockcError for one that is not known. Must not block."""
