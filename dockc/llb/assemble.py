"""Puts marshalled operations together into a `Definition`: order, metadata, source map, terminal."""

from __future__ import annotations

from dockc.llb import caps as C  # noqa: N812
from dockc.llb.definition import Definition, Location, OpMetadata, ProgressGroup, Source, SourceInfo
from dockc.llb.wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from dockc.llb.metadata import Range


class Assembler:
    """Collects operations in the order in which they are visited.

    Operations of equal digest are one; what is said about them is joined, later descriptions win. The mutable
    state is all here: `ops`, `said`, `files`, `places`; only the methods change it.
    """

    def __init__(self) -> None:
        self._ops: dict[str, bytes] = {}
        self._said: dict[str, OpMetadata] = {}
        self._file_index: dict[Hashable, int] = {}
        self._files: list[tuple[str, str, bytes, Callable[[], Definition | None]]] = []
        self._places: dict[str, list[Location]] = {}

    def add(self, name: str, data: bytes, metadata: OpMetadata) -> None:
        """Add an operation by its digest and bytes."""
        if name in self._ops:
            self._said[name] = joined(self._said[name], metadata)
        else:
            self._ops[name] = data
            self._said[name] = metadata
            self._places[name] = []

    def file(
        self,
        key: Hashable,
        filename: str,
        language: str,
        data: bytes,
        origin: Callable[[], Definition | None],
    ) -> int:
        """The number of a source file; `key` is its identity, files of equal content share a number.

        `origin` gives the graph that reads it, asked once at the end.
        """
        index = self._file_index.get(key)
        if index is None:
            same = (i for i, f in enumerate(self._files) if f[:3] == (filename, language, data))
            index = next(same, len(self._files))
            if index == len(self._files):
                self._files.append((filename, language, data, origin))
            self._file_index[key] = index
        return index

    def place(self, name: str, file: int, ranges: tuple[Range, ...]) -> None:
        """Say where an operation is written."""
        self._places[name].append(Location(file, ranges))

    def finish(self, name: str, index: int, *, group_ids: bool = True) -> Definition:
        """The definition whose result is output `index` of the operation `name`.

        With `group_ids`, progress groups are numbered `pg-0`, `pg-1`, ... in the order of the operations.
        """
        terminal = encode.op_inputs([(name, index)])
        said = self._numbered() if group_ids else dict(self._said)
        needed = [C.CONSTRAINTS, C.PLATFORM]
        for one in said.values():
            if one.ignore_cache:
                needed.append(C.META_IGNORE_CACHE)
            if one.description:
                needed.append(C.META_DESCRIPTION)
            if one.export_cache is not None:
                needed.append(C.META_EXPORT_CACHE)
        last = encode.digest(terminal)
        said[last] = OpMetadata(caps=dict.fromkeys(needed, True))
        infos = tuple(SourceInfo(n, d, lang, origin()) for n, lang, d, origin in self._files)
        places = {digest: tuple(found) for digest, found in self._places.items()}
        return Definition((*self._ops.items(), (last, terminal)), said, Source(infos, places))

    def _numbered(self) -> dict[str, OpMetadata]:
        numbers: dict[str, str] = {}
        out = {}
        for name in self._ops:
            said = self._said[name]
            group = said.progress_group
            if group is not None:
                number = numbers.setdefault(group.id, f"pg-{len(numbers)}")
                said = joined(said, OpMetadata(progress_group=ProgressGroup(number, group.name, weak=group.weak)))
            out[name] = said
        return out


def joined(first: OpMetadata, second: OpMetadata) -> OpMetadata:
    """What is said about one operation in two places; where both say something, the second wins."""
    return OpMetadata(
        ignore_cache=first.ignore_cache or second.ignore_cache,
        description={**first.description, **second.description},
        export_cache=first.export_cache if second.export_cache is None else second.export_cache,
        caps={**first.caps, **second.caps},
        progress_group=second.progress_group or first.progress_group,
        resources=second.resources or first.resources,
    )


def caps_of(names: Iterable[str]) -> dict[str, bool]:
    """Capability ids as metadata holds them."""
    return dict.fromkeys(names, True)
