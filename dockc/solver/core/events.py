"""What the scheduler core is told (events) and what it asks for (commands).

Everything is data: a vertex, an edge and a build are named by value, results by integer handles, work in
progress by tickets. So a run can be written down, read and replayed without any of the real things (`trace`).

A command that starts work carries a new `ticket`. Exactly one event answers it: the one named in the command's
docstring, or `Failed`, or (only after a `Cancel`) `Cancelled`.
"""

from __future__ import annotations

from dockc.base import record as lean
from dockc.solver.vertex import EdgeId

# ---------------------------------------------------------------- words used by both


class VertexSpec(lean.Record):
    """What the core needs to know of a vertex; `private`: an equal vertex of another build may stand for something
    else.
    """

    digest: str
    inputs: tuple[EdgeId, ...] = ()
    ignore_cache: bool = False
    private: bool = False


class DepSpec(lean.Record):
    """`op.CacheDep` without its functions: `content` and `preprocess` say whether there is one."""

    selector: str = ""
    content: bool = False
    preprocess: bool = False


class CacheMapSpec(lean.Record):
    """`op.CacheMap` as data; `more` says whether a further name can be asked for, `claimed` that nobody has proof of
    this one.
    """

    digest: str
    deps: tuple[DepSpec, ...] = ()
    more: bool = False
    claimed: bool = False


class KeyRef(lean.Record):
    """A key of an input and the selector it is used with; a content key has none."""

    key: str
    selector: str = ""
    content: bool = False


class KeySpec(lean.Record):
    """A key by construction: operation, output, and for each input the keys that name it equally well."""

    digest: str
    output: int
    deps: tuple[tuple[KeyRef, ...], ...] = ()


class Record(lean.Record):
    """A cached result that can be loaded: under which key, which result, from which cache source."""

    key: str
    result: str
    created_at: int = 0
    source: int = 0


class Output(lean.Record):
    """One output of an executed operation: its handle, and the keys it was saved under, if it was."""

    handle: int
    keys: tuple[str, ...] = ()


class Failure(lean.Record):
    """Why something could not be had; `ticket` is the work that failed, `vertex` where."""

    ticket: int
    vertex: str
    message: str


# ---------------------------------------------------------------- events


class GraphLoaded(lean.Record):
    """A build brings vertices, inputs before their users."""

    job: str
    vertices: tuple[VertexSpec, ...]


class Requested(lean.Record):
    """A build wants the result of an edge that it has loaded."""

    request: int
    job: str
    edge: EdgeId


class Withdrawn(lean.Record):
    """A request is of no interest any more. No `Finish` follows."""

    request: int


class JobClosed(lean.Record):
    """A build has gone: its requests are withdrawn, vertices that no other build has are dropped."""

    job: str


class CacheMapReady(lean.Record):
    """Answers `LoadCacheMap`."""

    ticket: int
    spec: CacheMapSpec


class KeysFound(lean.Record):
    """Answers `QueryKeys`: keys of the edge that one input's keys lead to."""

    ticket: int
    keys: tuple[str, ...] = ()


class RecordsFound(lean.Record):
    """Answers `QueryRecords`."""

    ticket: int
    records: tuple[Record, ...] = ()


class ContentDigestReady(lean.Record):
    """Answers `ComputeDigest`; "" when the input has no content key."""

    ticket: int
    digest: str


class ResultLoaded(lean.Record):
    """Answers `LoadResult`; the core owns the handle now."""

    ticket: int
    handle: int


class Executed(lean.Record):
    """Answers `Execute`; the core owns the handles now."""

    ticket: int
    outputs: tuple[Output | None, ...]


class Superseded(lean.Record):
    """Answers `Execute`: equal work was finished elsewhere meanwhile, the cache must be asked again."""

    ticket: int


class Saved(lean.Record):
    """Answers `SaveResult`."""

    ticket: int
    keys: tuple[str, ...]


class Failed(lean.Record):
    """The work failed; `message` is for people, the exception itself stays with the runner."""

    ticket: int
    message: str


class Cancelled(lean.Record):
    """The work has been cancelled and has left nothing behind."""

    ticket: int


Event = (
    GraphLoaded
    | Requested
    | Withdrawn
    | JobClosed
    | CacheMapReady
    | KeysFound
    | RecordsFound
    | ContentDigestReady
    | ResultLoaded
    | Executed
    | Superseded
    | Saved
    | Failed
    | Cancelled
)


# ---------------------------------------------------------------- commands


class LoadCacheMap(lean.Record):
    """Ask the operation how it is cached; `nth` counts the names of a vertex without inputs from 0."""

    ticket: int
    vertex: str
    nth: int = 0


class QueryKeys(lean.Record):
    """Ask the cache which keys of `edge` follow from the keys of its input `input` (-1: it has no inputs)."""

    ticket: int
    edge: EdgeId
    digest: str
    input: int = -1
    keys: tuple[KeyRef, ...] = ()


class LinkKeys(lean.Record):
    """Let all `names` of inputs, by their numbers, lead to `keys` of `edge`, which all inputs lead to. Not answered.

    Only what all inputs lead to is linked: through one input alone a key may fit that is quite another step's result.
    """

    edge: EdgeId
    digest: str
    keys: tuple[str, ...]
    names: tuple[tuple[int, tuple[KeyRef, ...]], ...]


class QueryRecords(lean.Record):
    """Ask the cache for loadable results of keys."""

    ticket: int
    edge: EdgeId
    keys: tuple[str, ...]


class ComputeDigest(lean.Record):
    """Preprocess the result of an input and compute its content digest, as far as the cache map says."""

    ticket: int
    vertex: str
    input: int
    result: int


class LoadResult(lean.Record):
    """Load a cached result."""

    ticket: int
    edge: EdgeId
    record: Record


class Execute(lean.Record):
    """Run the operation and save what `saves` names: `(output, keys)`. With `share`, first see whether another
    process has just done the same.
    """

    ticket: int
    vertex: str
    inputs: tuple[int, ...]
    saves: tuple[tuple[int, tuple[KeySpec, ...]], ...]
    share: bool = True


class SaveResult(lean.Record):
    """Save a further output of an operation that has already run."""

    ticket: int
    edge: EdgeId
    handle: int
    keys: tuple[KeySpec, ...]


class Cancel(lean.Record):
    """Nobody wants this work any more. Its ticket is still answered, by whichever comes first."""

    ticket: int


class Release(lean.Record):
    """The core gives a handle up."""

    handle: int


class Finish(lean.Record):
    """A request of `job` is answered: `handle` (borrowed) or `failure`."""

    request: int
    job: str
    edge: EdgeId
    handle: int = -1
    keys: tuple[str, ...] = ()
    failure: Failure | None = None


Command = (
    LoadCacheMap
    | QueryKeys
    | LinkKeys
    | QueryRecords
    | ComputeDigest
    | LoadResult
    | Execute
    | SaveResult
    | Cancel
    | Release
    | Finish
)
