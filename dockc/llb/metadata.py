"""What is said about the vertices of a build graph outside their digests: names, places, groups, limits."""

from __future__ import annotations

from dockc.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    Range = tuple[int, int, int, int]


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
