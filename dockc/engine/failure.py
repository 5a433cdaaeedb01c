"""A failed step, with the lines that it is written on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dockc.errors import SolveError

if TYPE_CHECKING:
    from dockc.llb.definition import Definition, Location, SourceInfo
    from dockc.solver.run.jobs import Job


class FailedStep(SolveError):
    """A step failed; knows where it is written.

    Attributes:
        name: the step's name.
        places: where it is written, more than one place for instructions that are one step: name and text of the
            Dockerfile, and
            the lines in it.
        sources: the same places as the definition has them.
    """

    def __init__(
        self,
        error: SolveError,
        *,
        name: str,
        places: tuple[tuple[str, str, tuple[tuple[int, int], ...]], ...] = (),
        sources: tuple[tuple[SourceInfo, Location], ...] = (),
    ) -> None:
        super().__init__(error.message, vertex=error.vertex, hint=error.hint)
        self.exit_code = error.exit_code
        self.name = name
        self.places = places
        self.sources = sources


def located(error: SolveError, job: Job, definitions: Sequence[Definition]) -> SolveError:
    """The error with the step's name and the lines that it is written on."""
    try:
        name = job.vertex(error.vertex).name
    except KeyError:
        return error
    for definition in definitions:
        places = definition.source.locations.get(error.vertex, ()) if definition.source is not None else ()
        if definition.source is None or not places:  # git sources, for one, have an empty list of places
            continue
        shown, sources = [], []
        for place in reversed(places):  # as BuildKit's clients show them
            info = definition.source.file(place)
            if info is None:
                continue
            sources.append((info, place))
            shown.append(
                (info.filename, info.data.decode("utf-8", "replace"), tuple((r[0], r[2]) for r in place.ranges))
            )
        return FailedStep(error, name=name, places=tuple(shown), sources=tuple(sources))
    return FailedStep(error, name=name)
