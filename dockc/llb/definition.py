"""`Definition`: a build graph as it travels, one step before the solver."""

from __future__ import annotations

from dockc.base.record import Record
from dockc.errors import InvalidDefinition
from dockc.llb.metadata import LinuxResources as LinuxResources
from dockc.llb.metadata import Location as Location
from dockc.llb.metadata import OpMetadata as OpMetadata
from dockc.llb.metadata import ProgressGroup as ProgressGroup
from dockc.llb.wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Final

    from dockc.llb.wire.decode import Graph

MAX_BYTES = 256 * 1024 * 1024


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

    def file(self, location: Location) -> SourceInfo | None:
        """The file that a place is in; None where the map, which may come from anyone, has none of that number."""
        return self.infos[location.index] if 0 <= location.index < len(self.infos) else None


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
        source = None if self.source is None else _source_bytes(self.source)
        return encode.definition(self.ops, self.metadata, source)

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
        return made(decode.definition(data))

    @property
    def head(self) -> tuple[str, int] | None:
        """Digest and output index of the result, or None for an empty file system."""
        if not self.ops:
            return None
        from dockc.llb.wire import decode

        return decode.terminal(self.ops[-1][1])


def made(graph: Graph) -> Definition:
    """A graph from the wire, with the graphs that read its source files, as definitions."""
    source = None
    if graph.source is not None:
        infos = [
            SourceInfo(one.filename, one.data, one.language, None if one.graph is None else made(one.graph))
            for one in graph.source.files
        ]
        source = Source(tuple(infos), graph.source.locations)
    return Definition(graph.ops, graph.metadata, source)


def _source_bytes(source: Source) -> bytes:
    infos = (
        encode.source_info(
            one.filename, one.data, one.language, None if one.definition is None else one.definition.to_bytes()
        )
        for one in source.infos
    )
    return encode.source(source.locations, infos)
