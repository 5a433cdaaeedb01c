"""Progress of a build beside the graph's own: steps that are no vertices, and the count of those that ran."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dockc.errors import DockcError, without_credentials
from dockc.solver.progress import (
    Parts,
    SolveStatus,
    SourceRange,
    StatusSink,
    VertexEvent,
    VertexLog,
    VertexWarning,
)

if TYPE_CHECKING:
    from dockc.compiler.checks import Warning
    from dockc.compiler.compile import Compiled
    from dockc.grammar.source import Source


class Counting:
    """A sink that also counts steps. Called on the loop's thread.

    State: by step whether it ran or was cached.

    Attributes:
        inner: what everything is handed on to.
    """

    def __init__(self, inner: StatusSink) -> None:
        self.inner = inner
        self._ran: set[str] = set()
        self._cached: set[str] = set()

    @property
    def executed(self) -> int:
        """Steps that ran something of their own: RUN, COPY and the like, not sources."""
        return len(self._ran)

    @property
    def cached(self) -> int:
        """Steps whose result was there."""
        return len(self._cached)

    def __call__(self, status: SolveStatus, /) -> None:
        """Take one batch."""
        for event in status.vertexes:
            if event.name.startswith(("[internal]", "[auth]", "exporting", "[context")) or event.completed is None:
                continue
            if event.cached:
                self._cached.add(event.digest)
            elif not event.error and not _is_source(event):
                self._ran.add(event.digest)
        self.inner(status)


def _is_source(event: VertexEvent) -> bool:
    return not event.inputs


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _ignore(data: bytes) -> None:
    """Nobody wants to know the Dockerfile."""


class Steps:
    """Steps that are no vertices of the graph: reading the Dockerfile, asking for metadata, exporting."""

    _numbers = itertools.count(1)

    def __init__(self, sink: StatusSink, *, dockerfile: Callable[[bytes], None] | None = None) -> None:
        """To be made on the thread on which the sink is called: the loop's, where one runs. Before, there is this thread
        alone.

        Args:
            sink: where progress goes.
            dockerfile: told the Dockerfile's text once it has been read, on the same thread.
        """
        self._sink = sink
        self.dockerfile = dockerfile or _ignore
        self._loop = _running()
        self._thread = threading.get_ident()

    @contextmanager
    def step(self, name: str) -> Iterator[str]:
        """Show a step for as long as the block runs; gives its digest."""
        name = without_credentials(name)
        digest = "sha256:" + hashlib.sha256(f"{next(self._numbers)} {name}".encode()).hexdigest()
        started = time.time_ns()
        self._send(VertexEvent(digest, name, started=started))
        error = ""
        try:
            yield digest
        except BaseException as exc:
            error = str(exc) if isinstance(exc, DockcError) else "context canceled"
            raise
        finally:
            self._send(VertexEvent(digest, name, started=started, completed=time.time_ns(), error=error))

    @contextmanager
    def measured(self, name: str) -> Iterator[Callable[[str, int, int, bool], None]]:
        """As `step`; gives what hears of the bytes of its parts."""
        with self.step(name) as digest:
            yield self.meter(digest)

    def send(self, status: SolveStatus) -> None:
        """Tell the sink; any thread."""
        if self._loop is None or threading.get_ident() == self._thread:
            self._sink(status)
        else:
            self._loop.call_soon_threadsafe(self._sink, status)

    def reporter(self, digest: str) -> Callable[[str, bool], None]:
        """Reports begin and end of parts of a step; from any thread."""
        parts = Parts(digest, self.send)
        return lambda what, done: parts.status(what, done=done)

    def meter(self, digest: str) -> Callable[[str, int, int, bool], None]:
        """Reports bytes of parts of a step; from any thread."""
        parts = Parts(digest, self.send)
        return lambda what, current, total, done: parts.status(what, current=current, total=total, done=done)

    def say(self, text: str) -> None:
        """Output of the compiler's observers."""
        with self.step("[internal] compile") as digest:
            self.log(digest, text)

    def log(self, digest: str, text: str) -> None:
        """Output of a step."""
        self.send(SolveStatus(logs=(VertexLog(digest, 2, text.encode("utf-8", "replace"), time.time_ns()),)))

    def warn(self, digest: str, compiled: Sequence[Compiled]) -> None:
        """Show what the compiler's checks found, each once, at the step that read the Dockerfile; as the reference, for
        the first of several platforms.
        """
        for one in compiled[:1]:
            self.found(digest, one.front.source, one.warnings)

    def found(self, digest: str, source: Source, warnings: Sequence[Warning]) -> None:
        """Show findings about a Dockerfile, each once."""
        found: dict[str, VertexWarning] = {}
        for warning in warnings:
            short = without_credentials(warning.short)
            ranges = tuple(SourceRange((line, 0), (line, 0)) for line in warning.lines)
            detail = (warning.description,) if warning.description else ()
            found.setdefault(
                short, VertexWarning(digest, 1, short, detail, warning.url, source.name, source.data, ranges)
            )
        if found:
            self.send(SolveStatus(warnings=tuple(found.values())))

    def _send(self, event: VertexEvent) -> None:
        self.send(SolveStatus(vertexes=(event,)))
