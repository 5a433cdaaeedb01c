"""`Definition`: a build graph as it travels, one step before the solver."""

from __future__ import annotations

from dockc.base.record import Record
from dockc.errors import InvalidDefinition
from dockc.llb.wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Final

    Range = tuple[int, int, int, int]

MAX_OPS = 100_000
MAX_BYTES = 256 * 1024 * 1024


class Location(Record):
    """A place in one of the source files.

    Attributes:
        index: position of the file in `Source.infos`.
        ranges: `(start line, start character, end line, end character)`, lines from 1, characters from 0.
    """

    index: int
    ranges: tuple[Range, ...]

    @property
    def lines(self) -> tuple[int, int]:
        """First and last line, (0, 0) if there are no ranges."""
        if not self.ranges:
            return (0, 0)
        return (min(r[0] for r in self.ranges), max(r[2] for r in self.ranges))


class SourceInfo(Record):
    """A source file.

    Attributes:
        filename: its name.
        data: its bytes.
        language: name of its language.
        definition: the graph that reads it, or None.
    """

    filename: str
    data: bytes
    language: str = ""
    definition: Definition | None = None

    def excerpt(self, location: Location) -> list[tuple[int, str]]:
        """The lines of `location` with their numbers."""
        lines = self.data.decode("utf-8", "replace").splitlines()
        first, last = location.lines
        return [(n, lines[n - 1]) for n in range(max(first, 1), min(last, len(lines)) + 1)]


class Source(Record):
    """The source map.

    Attributes:
        infos: the files.
        locations: places of each vertex, by digest.
    """

    infos: tuple[SourceInfo, ...]
    locations: Mapping[str, tuple[Location, ...]]


class ProgressGroup(Record):
    """Vertices that a progress view shows as one.

    Attributes:
        id: the same text in all of them.
        name: what the view shows.
        weak: do not show the group when it holds a single vertex.
    """

    id: str = ""
    name: str = ""
    weak: bool = False


class LinuxResources(Record):
    """Limits of an exec (bytes, shares, microseconds, cpu lists), outside its cache key."""

    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""


class OpMetadata:
    """What is said about a vertex outside its digest.

    Attributes:
        ignore_cache: run it even if its result is cached.
        description: free pairs; `llb.customname` is what progress views show.
        export_cache: whether its result goes into an exported cache; None leaves it to the exporter.
        caps: capability ids it relies on (id -> True).
        progress_group: the group it is shown in, or None.
        resources: limits, or None.
    """

    __slots__ = ("caps", "description", "export_cache", "ignore_cache", "progress_group", "resources")

    def __init__(
        self,
        *,
        ignore_cache: bool = False,
        description: Mapping[str, str] | None = None,
        export_cache: bool | None = None,
        caps: Mapping[str, bool] | None = None,
        progress_group: ProgressGroup | None = None,
        resources: LinuxResources | None = None,
    ) -> None:
        self.ignore_cache: Final = ignore_cache
        self.description: Final[Mapping[str, str]] = description or {}
        self.export_cache: Final = export_cache
        self.caps: Final[Mapping[str, bool]] = caps or {}
        self.progress_group: Final = progress_group
        self.resources: Final = resources

    @property
    def name(self) -> str:
        """The name that progress views show, or ""."""
        return self.description.get("llb.customname", "")


class Definition:
    """A build graph: marshalled operations in order, what is said about them, and where they are written.

    The last operation is the terminal: it does nothing and has one input, the result. An empty definition
    stands for an empty file system.

    Attributes:
        ops: pairs of digest and bytes; every operation stands after those it reads.
        metadata: by digest.
        source: the source map, or None.
    """

    __slots__ = ("metadata", "ops", "source")

    def __init__(
        self,
        ops: Iterable[tuple[str, bytes]] = (),
        metadata: Mapping[str, OpMetadata] | None = None,
        source: Source | None = None,
    ) -> None:
        self.ops: Final = tuple(ops)
        self.metadata: Final[Mapping[str, OpMetadata]] = metadata or {}
        self.source: Final = source

    @property
    def digests(self) -> tuple[str, ...]:
        """Digests of the operations, in order."""
        return tuple(digest for digest, _ in self.ops)

    def to_bytes(self) -> bytes:
        """The wire form (`pb.Definition`), deterministic: maps sorted by key."""
        return encode.definition(self)

    marshal = to_bytes

    def to_pb(self) -> Any:
        """The same as a message of the protobuf package (`dockc.llb.pb.ops_pb2.Definition`)."""
        from dockc.llb.pb import ops_pb2

        return ops_pb2.Definition.FromString(self.to_bytes())

    @classmethod
    def parse(cls, data: bytes) -> Definition:
        """Read and check the wire form; the input may come from anyone.

        Raises:
            InvalidDefinition: not a definition, too large, or a graph that breaks the rules.
        """
        from dockc.llb.wire import decode

        if len(data) > MAX_BYTES:
            raise InvalidDefinition(f"definition of {len(data)} bytes is larger than {MAX_BYTES}")
        return decode.definition(data)

    @property
    def head(self) -> tuple[str, int] | None:
        """Digest and output index of the result, or None for an empty file system."""
        if not self.ops:
            return None
        from dockc.llb.wire import decode

        return decode.terminal(self.ops[-1][1])
