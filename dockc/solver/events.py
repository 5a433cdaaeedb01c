"""What the scheduler core is told (events) and what it asks for (commands).

Everything is data: a vertex, an edge and a build are named by value, results by integer handles, work in
progress by tickets. So a run can be written down, read and replayed without any of the real things (`trace`).

A command that starts work carries a new `ticket`. Exactly one event answers it: the one named in the command's
docstring, or `Failed`, or (only after a `Cancel`) `Cancelled`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dockc.solver.vertex import EdgeId

# ---------------------------------------------------------------- words used by both


@dataclass(frozen=True, slots=True)
class VertexSpec:
    """What the core needs to know of a vertex."""

    digest: str
    inputs: tuple[EdgeId, ...] = ()
    ignore_cache: bool = False


@dataclass(frozen=True, slots=True)
class DepSpec:
    """`op.CacheDep` without its functions: `content` and `preprocess` say whether there is one."""

    selector: str = ""
    content: bool = False
    preprocess: bool = False


@dataclass(frozen=True, slots=True)
class CacheMapSpec:
    """`op.CacheMap` as data; `more` says whether a further name can be asked for."""

    digest: str
    deps: tuple[DepSpec, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A key of an input and the selector it is used with; a content key has none."""

    key: str
    selector: str = ""
    content: bool = False


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A key by construction: operation, output, and for each input the keys that name it equally well."""

    digest: str
    output: int
    deps: tuple[tuple[KeyRef, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """A cached result that can be loaded: under which key, which result, from which cache source."""

    key: str
    result: str
    created_at: int = 0
    source: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """One output of an executed operation: its handle, and the keys it was saved under, if it was."""

    handle: int
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something could not be had; `ticket` is the work that failed, `vertex` where."""

    ticket: int
    vertex: str
    message: str


# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class GraphLoaded:
    """A build brings vertices, inputs before their users."""

    job: str
    vertices: tuple[VertexSpec, ...]


@dataclass(frozen=True, slots=True)
class Requested:
    """A build wants the result of an edge that it has loaded."""

    request: int
    job: str
    edge: EdgeId


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A request is of no interest any more. No `Finish` follows."""

    request: int


@dataclass(frozen=True, slots=True)
class JobClosed:
    """A build has gone: its requests are withdrawn, vertices that no other build has are dropped."""

    job: str


@dataclass(frozen=True, slots=True)
class CacheMapReady:
    """Answers `LoadCacheMap`."""

    ticket: int
    spec: CacheMapSpec


@dataclass(frozen=True, slots=True)
class KeysFound:
    """Answers `QueryKeys`: keys of the edge that one input's keys lead to."""

    ticket: int
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordsFound:
    """Answers `QueryRecords`."""

    ticket: int
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class ContentDigestReady:
    """Answers `ComputeDigest`; "" when the input has no content key."""

    ticket: int
    digest: str


@dataclass(frozen=True, slots=True)
class ResultLoaded:
    """Answers `LoadResult`; the core owns the handle now."""

    ticket: int
    handle: int


@dataclass(frozen=True, slots=True)
class Executed:
    """Answers `Execute`; the core owns the handles now."""

    ticket: int
    outputs: tuple[Output | None, ...]


@dataclass(frozen=True, slots=True)
class Superseded:
    """Answers `Execute`: equal work was finished elsewhere meanwhile, the cache must be asked again."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Saved:
    """Answers `SaveResult`."""

    ticket: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """The work failed; `message` is for people, the exception itself stays with the runner."""

    ticket: int
    message: str


@dataclass(frozen=True, slots=True)
class Cancelled:
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


@dataclass(frozen=True, slots=True)
class LoadCacheMap:
    """Ask the operation how it is cached; `nth` counts the names of a vertex without inputs from 0."""

    ticket: int
    vertex: str
    nth: int = 0


@dataclass(frozen=True, slots=True)
class QueryKeys:
    """Ask the cache which keys of `edge` follow from the keys of its input `input` (-1: it has no inputs).

    `also` are further names of the same input; they are not looked up. What one of the keys leads to, all of
    the keys and names shall lead to from now on.
    """

    ticket: int
    edge: EdgeId
    digest: str
    input: int = -1
    keys: tuple[KeyRef, ...] = ()
    also: tuple[KeyRef, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryRecords:
    """Ask the cache for loadable results of keys."""

    ticket: int
    edge: EdgeId
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ComputeDigest:
    """Preprocess the result of an input and compute its content digest, as far as the cache map says."""

    ticket: int
    vertex: str
    input: int
    result: int


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Load a cached result."""

    ticket: int
    edge: EdgeId
    record: Record


@dataclass(frozen=True, slots=True)
class Execute:
    """Run the operation and save what `saves` names: `(output, keys)`. With `share`, first see whether another
    process has just done the same.
    """

    ticket: int
    vertex: str
    inputs: tuple[int, ...]
    saves: tuple[tuple[int, tuple[KeySpec, ...]], ...]
    share: bool = True


@dataclass(frozen=True, slots=True)
class SaveResult:
    """Save a further output of an operation that has already run."""

    ticket: int
    edge: EdgeId
    handle: int
    keys: tuple[KeySpec, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody wants this work any more. Its ticket is still answered, by whichever comes first."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Release:
    """The core gives a handle up."""

    handle: int


@dataclass(frozen=True, slots=True)
class Finish:
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
    | QueryRecords
    | ComputeDigest
    | LoadResult
    | Execute
    | SaveResult
    | Cancel
    | Release
    | Finish
)
