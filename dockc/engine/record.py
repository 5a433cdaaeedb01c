"""Build records: how long each step took and what it takes on disk, kept as JSON for `dockc explain --graph`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.base.files import read_regular
from dockc.base.record import Record, as_dict, replace
from dockc.errors import DockcError, UsageError

if TYPE_CHECKING:
    from dockc.solver.progress import SolveStatus, StatusSink
    from dockc.solver.vertex import Vertex

VERSION = 1
_LIMIT = 64 << 20


class VertexRecord(Record):
    """One step of a build.

    Attributes:
        digest: of the LLB vertex.
        name: as it was shown, but for secrets.
        started, completed: nanoseconds since the epoch, or None.
        cached: its result was there.
        error: why it failed, or "".
        size: bytes that its result adds on disk, or None where it has none of its own.
    """

    digest: str
    name: str
    started: int | None = None
    completed: int | None = None
    cached: bool = False
    error: str = ""
    size: int | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took; None for a step that did not run to its end."""
        if self.started is None or self.completed is None:
            return None
        return max(0, self.completed - self.started) / 1_000_000_000


class Recorder:
    """A sink of progress that remembers the steps and hands everything on.

    Mutable state: the steps so far, in the order in which they were announced.
    """

    def __init__(self, inner: StatusSink, hide: Callable[[str], str]) -> None:
        """Remember nothing yet.

        Args:
            inner: what everything is handed on to.
            hide: takes secrets out of what is remembered.
        """
        self.inner, self._hide = inner, hide
        self._steps: dict[str, VertexRecord] = {}

    def __call__(self, status: SolveStatus, /) -> None:
        """Take one batch."""
        for event in status.vertexes:
            old = self._steps.get(event.digest) or VertexRecord(event.digest, self._hide(event.name))
            # A step may start twice: its key is looked up, later it runs. The last run counts.
            self._steps[event.digest] = replace(
                old,
                started=old.started if event.started is None else event.started,
                completed=event.completed,
                cached=old.cached or event.cached,
                error=self._hide(event.error) or old.error,
            )
        self.inner(status)

    def measure(self, sizes: Mapping[str, int]) -> None:
        """Add sizes: bytes by the digest of the step."""
        for digest, step in self._steps.items():
            if digest in sizes:
                self._steps[digest] = replace(step, size=sizes[digest])

    @property
    def steps(self) -> tuple[VertexRecord, ...]:
        """What is known of each step."""
        return tuple(self._steps.values())

    def write(self, path: Path) -> None:
        """Write the record.

        Raises:
            DockcError: the file cannot be written.
        """
        document = {"version": VERSION, "vertices": [as_dict(step) for step in self.steps]}
        try:
            path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        except OSError as error:
            raise DockcError(f"cannot write {path}: {error.strerror}") from error


def read_record(path: Path) -> tuple[VertexRecord, ...]:
    """Read what `Recorder.write` wrote.

    Raises:
        UsageError: the file cannot be read or is no build record.
    """
    try:
        document = json.loads(read_regular(path, _LIMIT))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no build record: {error}") from None
    if not isinstance(document, Mapping) or document.get("version") != VERSION:
        raise UsageError(f"{path} is no build record", hint="`dockc build --record FILE` writes one.")
    found = document.get("vertices")
    if not isinstance(found, list):
        raise UsageError(f"{path} is no build record: it has no vertices")
    return tuple(_vertex(path, one) for one in found)


def _vertex(path: Path, one: Any) -> VertexRecord:
    kinds: dict[str, tuple[type, ...]] = {
        "digest": (str,), "name": (str,), "started": (int, type(None)), "completed": (int, type(None)), "cached": (bool,),
        "error": (str,), "size": (int, type(None)),
    }  # fmt: skip
    if not isinstance(one, Mapping) or any(not isinstance(one.get(key), kind) for key, kind in kinds.items()):
        raise UsageError(f"{path} is no build record: a vertex is not as it should be")
    return VertexRecord(**{key: one[key] for key in kinds})


def sizes_of(stored: Iterable[tuple[str, int, int]], vertices: Iterable[Vertex]) -> dict[str, int]:
    """What the steps' results take on disk, by digest.

    Args:
        stored: what the store holds: description, time of making, bytes; of one description the newest counts.
        vertices: the steps.
    """
    newest = {name: size for name, _, size in sorted(stored, key=lambda one: one[1])}
    found = {}
    for vertex in vertices:
        size = newest.get(_description(vertex))
        if size is not None:
            found[vertex.digest] = size
    return found


def _description(vertex: Vertex) -> str:
    """What the store calls a step's result."""
    match vertex.op.WhichOneof("op"):
        case "exec":
            return f"mount / from exec {' '.join(vertex.op.exec.meta.args)}"
        case "source":
            return "pulled from " + vertex.op.source.identifier.partition("://")[2]
    return vertex.name
