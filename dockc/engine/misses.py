"""Finds out, while a build runs, why its steps run, and what its history keeps of their keys.

The comparing is done in threads, one step after another; a build never waits for it but at its end, and never fails
because of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dockc.base.record import replace
from dockc.engine.listings import FileListings
from dockc.engine.told import TEXT, Places, Step, Told, cut, documents, kept_key, kept_record
from dockc.engine.why import Comparison
from dockc.solver.keydiff import KeyDiff, Missed, StepKey
from dockc.solver.progress import SolveStatus, StatusSink

if TYPE_CHECKING:
    from dockc.engine.recording import Recording
    from dockc.engine.work import Work
    from dockc.llb.definition import Definition
    from dockc.solver.cache.storage.base import KeyRecord
    from dockc.solver.run.jobs import Job
    from dockc.solver.run.runner import Miss
    from dockc.solver.vertex import Vertex

_log = logging.getLogger(__name__)
PATIENCE = 5.0
"""Seconds that the end of a build waits for the last comparisons."""


class Misses:
    """The misses of one build. All methods are called on the loop's thread.

    Mutable: what is known of the build so far (`_steps`, `_why`), and the tasks at work.
    """

    def __init__(
        self,
        recording: Recording,
        sink: StatusSink,
        work: Work,
        definitions: Callable[[], Sequence[Definition]],
        imports: tuple[str, ...],
    ) -> None:
        """Watch a build.

        Args:
            recording: keeps its history, and knows earlier builds.
            sink: is told.
            work: the engine's.
            definitions: all that were loaded so far.
            imports: names of caches that the build reads.
        """
        self._recording, self._sink, self._work, self._definitions = recording, sink, work, definitions
        self._imports = imports
        self._job: Job | None = None
        self._known = 0  # of the job's vertices, how many `_steps` has
        self._steps: dict[str, Step] = {}
        self._ran: set[str] = set()
        self._why: dict[str, KeyDiff] = {}
        self._comparison: Comparison | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self.listings = FileListings(recording.folder)

    def watch(self, job: Job) -> None:
        """The build has begun."""
        self._job = job

    def missed(self, miss: Miss) -> None:
        """A step has begun to run (`Solver.job(explains=...)`)."""
        self._ran.add(miss.vertex)
        task = asyncio.get_running_loop().create_task(self._explain(miss))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _explain(self, miss: Miss) -> None:
        try:
            async with self._turn:
                step = self._step(miss.vertex)
                if step is None or step.is_local:
                    return
                comparison = self._comparison
                if comparison is None:
                    comparison = self._comparison = await self._work.blocking(self._begin)
                self._why[miss.vertex] = diff = await self._work.blocking(
                    lambda: comparison.explain(
                        step, miss.record, [kept_record(one, self._recording.hide) for one in miss.earlier]
                    )
                )
            first = not any(
                one.vertex in self._ran and not self._steps[one.vertex].is_local
                for one in step.key.inputs
                if one.vertex in self._steps
            )
            self._sink(SolveStatus(misses=(Missed(diff, first, step.line),)))
        except Exception as error:  # an explanation is worth no build
            _log.debug("why %s runs: %r", miss.record.name, error)

    def _begin(self) -> Comparison:
        before = self._recording.earlier()
        now = Told(self._recording.ref, self._steps, self._recording.arguments(), self._imports)
        return Comparison(now, before, self.listings, self._work.worker.keys.removal)

    def _step(self, digest: str) -> Step | None:
        """A step with its key, and those below it with theirs."""
        job = self._job
        if job is None:
            return None
        if digest not in self._steps:
            self._look(job)
        stack = [digest]
        while stack:
            top = stack.pop()
            step = self._steps.get(top)
            if step is None or step.key.digest:
                continue
            key = job.step_key(top)
            if key is not None:
                self._steps[top] = replace(step, key=kept_key(key, self._recording.hide), ran=top in self._ran)
            stack += [one.vertex for one in (key.inputs if key is not None else ())]
        return self._steps.get(digest)

    def _look(self, job: Job) -> None:
        """Take up the vertices that have been loaded since the last look."""
        vertices = job.vertices()
        places = Places(self._definitions())
        for vertex in vertices[self._known :]:
            self._steps[vertex.digest] = self._bare(vertex, places)
        self._known = len(vertices)

    def _bare(self, vertex: Vertex, places: Places) -> Step:
        line, text = places.find(vertex.digest)
        name = self._recording.hide(vertex.name)
        kind = vertex.op.WhichOneof("op") or ""
        text = cut(self._recording.hide(text or name.partition("] ")[2] or name))
        told = vertex.options.ignore_cache
        return Step(StepKey(vertex.digest, name[:TEXT], kind, "", None, told=told), text, line)

    async def end(self) -> None:
        """The build's steps are done: let the last comparisons end, and give the history what it keeps."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=PATIENCE)
        job, self._job, self._comparison = self._job, None, None  # no circle is left
        if job is None:
            return
        self._look(job)
        self._definitions = tuple
        steps: dict[str, Step] = {}
        for digest, step in self._steps.items():
            key = job.step_key(digest)
            if key is not None:
                ran = digest in self._ran
                steps[digest] = replace(
                    step, key=kept_key(key, self._recording.hide), ran=ran, why=self._why.get(digest)
                )
        recall = self._work.worker.keys.recall

        def write() -> list[list[dict[str, Any]]]:
            told = Told(self._recording.ref, {one: _whole(step, recall) for one, step in steps.items()})
            self.listings.collect()
            return list(documents(told))

        try:
            parts = await self._work.blocking(write)
        except Exception as error:  # nor is a record
            _log.debug("keeping the keys of a build: %r", error)
            return
        self._recording.keys(parts)


def _whole(step: Step, recall: Callable[[str], KeyRecord | None]) -> Step:
    """A step that was found by definition alone, with the contents that its key is remembered with."""
    key = step.key
    if step.ran or not key.key or all(one.content for one in key.inputs):
        return step
    known = recall(key.key)
    if known is None or known.digest != key.digest:
        return step
    inputs = tuple(
        replace(one, content=one.content or str(known.inputs[i].get("content") or "")) if i < len(known.inputs) else one
        for i, one in enumerate(key.inputs)
    )
    return replace(step, key=replace(key, inputs=inputs))
