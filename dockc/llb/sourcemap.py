"""Where vertices are written: the source map of a definition."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from dockc.llb.definition import Definition

    Range = tuple[int, int, int, int]


class Location:
    """A place in one of the source files.

    Attributes:
        index: position of the file in `Source.infos`.
        ranges: `(start line, start character, end line, end character)`, lines from 1, characters from 0.
    """

    __slots__ = ("index", "ranges")

    def __init__(self, index: int, ranges: tuple[Range, ...]) -> None:
        self.index: Final = index
        self.ranges: Final = ranges

    @property
    def lines(self) -> tuple[int, int]:
        """First and last line, (0, 0) if there are no ranges."""
        if not self.ranges:
            return (0, 0)
        return (min(r[0] for r in self.ranges), max(r[2] for r in self.ranges))


class SourceInfo:
    """A source file.

    Attributes:
        filename: its name.
        data: its bytes.
        language: name of its language.
        definition: the graph that reads it, or None.
    """

    __slots__ = ("data", "definition", "filename", "language")

    def __init__(self, filename: str, data: bytes, language: str = "", definition: Definition | None = None) -> None:
        self.filename: Final = filename
        self.data: Final = data
        self.language: Final = language
        self.definition: Final = definition

    def excerpt(self, location: Location) -> list[tuple[int, str]]:
        """The lines of `location` with their numbers."""
        lines = self.data.decode("utf-8", "replace").splitlines()
        first, last = location.lines
        return [(n, lines[n - 1]) for n in range(max(first, 1), min(last, len(lines)) + 1)]


class Source:
    """The source map.

    Attributes:
        infos: the files.
        locations: places of each vertex, by digest.
    """

    __slots__ = ("infos", "locations")

    def __init__(self, infos: tuple[SourceInfo, ...], locations: Mapping[str, tuple[Location, ...]]) -> None:
        self.infos: Final = infos
        self.locations: Final = locations
