"""Builds that run, and the record of those that were: kept in the store's history, so that it outlives the daemon."""

from __future__ import annotations

import asyncio
import base64
import heapq
import json
import logging
import os
import time
import zlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.daemon.arrivals import Arrivals
from dockc.daemon.events import Progress
from dockc.daemon.historyfilter import matcher
from dockc.engine import history, wirehistory
from dockc.engine.earlier import Index
from dockc.engine.keep import Keep
from dockc.engine.recording import Described, Recording
from dockc.engine.told import shown
from dockc.errors import DockcError
from dockc.oci.keys import DESCRIPTOR
from dockc.protocol.status import to_time
from dockc.rpc.pb import control_pb2
from dockc.rpc.status import ALREADY_EXISTS, CANCELLED, INVALID_ARGUMENT, NOT_FOUND, RpcError

if TYPE_CHECKING:
    from dockc.engine.gateway import Gateway
    from dockc.runtime.exporter.export import Exported
    from dockc.solver.progress import SolveStatus, StatusSink

_WAIT = 3.0
"""Seconds that a call waits for its build to be known."""
_KEEP = 50
"""Finished builds of which the record as clients see it is still in memory, and the progress of those without a file."""
_log = logging.getLogger("dockc.daemon")


class Build:
    """One build of a client.

    Attributes:
        ref: the client's name for it.
        request: what it asked for.
        progress: all that happened.
        recording: keeps its history, or None.
        gateway: set once the engine has begun.
    """

    def __init__(self, request: control_pb2.SolveRequest, root: Path | None, index: Index | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.ref = request.Ref
        self.request = request
        self.progress = Progress()
        self.recording: Recording | None = None
        if root is not None and not request.Internal:
            attrs = dict(request.FrontendAttrs)
            # What is kept is the daemon's own matter: it need not look at all records after each build.
            described = Described(ref=self.ref, options=options_of(request), attrs=attrs, collects=False, index=index)
            self.recording = Recording(self.progress, root, described)
        self.gateway: asyncio.Future[Gateway] = loop.create_future()
        self.created = time.time_ns()
        self.over = False

    @property
    def sink(self) -> StatusSink:
        """Whom the engine tells: the history where one is kept, which hands everything on to the progress."""
        return self.recording or self.progress

    def known_gateway(self) -> Gateway | None:
        """Its gateway, where somebody drives it."""
        return self.gateway.result() if self.gateway.done() and self.gateway.exception() is None else None


class Entry:
    """What is known of a build: its record as clients see it, or where that can be read.

    Attributes:
        generation: its number in the order in which builds became known.
        record: while it runs, and of the last ones; of others it is made anew from the file.
        name: of its file in the history; "" where there is none (yet).
        completed: when it ended, in seconds since the epoch; None while it runs.
        logs, trace, failure: digests of what is kept of it for clients, in short (`_short`).
    """

    __slots__ = ("_folder", "completed", "failure", "generation", "logs", "name", "pinned", "record", "trace")

    def __init__(self, generation: int, record: control_pb2.BuildHistoryRecord | None, folder: Path | None) -> None:
        self.generation, self.record, self._folder = generation, record, folder
        self.name = ""
        self.completed: int | None = None
        self.pinned = False
        self.logs = self.trace = self.failure = 0

    def read(self, file: history.BuildRecord) -> None:
        """Take what the history says of a build of another daemon, which may still run."""
        found = wirehistory.wire_record(file)
        found.Generation = self.generation
        over = found.HasField("CompletedAt")
        self.record, self.completed = (None, found.CompletedAt.seconds) if over else (found, None)
        self.name, self.pinned = file.path.name, file.pinned
        digests = (found.logs.digest, found.trace.digest, found.externalError.digest)
        self.logs, self.trace, self.failure = map(_short, digests)

    def told(self, file: history.BuildRecord | None = None) -> control_pb2.BuildHistoryRecord | None:
        """The record as clients see it; None if the file is gone. Blocks where it has to be read.

        Args:
            file: it, where it has been read already.
        """
        if self.record is not None:
            return self.record
        file = file or self.kept()
        if file is None:
            return None
        made = wirehistory.wire_record(file)
        made.Generation = self.generation
        return made

    @property
    def path(self) -> Path | None:
        """Its file in the history: a path for each of thousands of builds would take more than all else."""
        return self._folder / self.name if self.name and self._folder is not None else None

    def kept(self) -> history.BuildRecord | None:
        """Its record in the history; None if there is none (any more). Blocks."""
        try:
            return history.read(path) if (path := self.path) is not None else None
        except OSError:
            return None


class Builds:
    """All builds that run, and what is remembered of others. To be used on the loop's thread."""

    def __init__(self, root: Path | None = None, keep: Keep | None = None) -> None:
        """Remember builds in the history of the store `root`, as many as are to be kept; without one in memory alone."""
        self._root, self._keep = root, keep or Keep(age=48 * 3600.0)
        self._folder = root / history.FOLDER if root is not None else None
        self._running: dict[str, Build] = {}
        self._arrivals: Arrivals[Build] = Arrivals()
        self._ended: OrderedDict[str, Progress] = OrderedDict()
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._recent: deque[str] = deque()
        self._done: list[tuple[int, str]] = []  # a heap: when builds ended, and which
        self._unpinned: set[str] = set()  # of those that have ended
        self._listeners: list[tuple[str, asyncio.Queue[control_pb2.BuildHistoryEvent]]] = []
        self._generation = 0
        self._index = Index()
        self._bytes = 0  # of the history, since its last collection
        #: Builds that have ended, by how.
        self.ended = {"ok": 0, "failed": 0, "canceled": 0}

    def load(self) -> None:
        """Read what the history tells of builds that were, those of other processes on the store included. Blocks."""
        if self._root is None:
            return
        try:
            found = history.records(self._root)
        except DockcError as error:
            _log.warning("the history is not read: %s", error)
            return
        self._take(found)
        self._collect(self._keep.size)

    def _collect(self, size: int, but: str = "") -> None:
        """Let the oldest records go that are beyond so many bytes; numbers and ages are for `_forget`. Blocks."""
        if self._folder is None:
            return
        try:
            kept = Keep(entries=1 << 31, size=size)
            self._bytes = history.collect(self._folder, but=but, keep=kept).size
        except OSError as error:
            _log.warning("the history is not collected: %s", error)

    def _take(self, found: list[history.BuildRecord]) -> None:
        for one in reversed(found):
            known = self._entries.get(one.ref)
            if one.ref in self._running or (known is not None and known.completed is not None):
                continue
            if known is None:
                self._generation += 1
                known = self._entries[one.ref] = Entry(self._generation, None, self._folder)
            known.read(one)
            self._note(one.ref, known)

    def _note(self, ref: str, entry: Entry) -> None:
        """A build has ended, or its pin has changed."""
        if entry.completed is None or entry.pinned:
            self._unpinned.discard(ref)
        elif ref not in self._unpinned:
            self._unpinned.add(ref)
            heapq.heappush(self._done, (entry.completed, ref))
            if len(self._done) > 2 * len(self._unpinned) + _KEEP:  # names used again and again, pins that come and go
                self._done = [
                    (known.completed, one)
                    for one in self._unpinned
                    if (known := self._entries[one]).completed is not None
                ]
                heapq.heapify(self._done)

    def begin(self, request: control_pb2.SolveRequest) -> Build:
        """Take up a build.

        Raises:
            RpcError: one of that name runs.
        """
        if request.Ref in self._running:
            raise RpcError(f"job ID exists: {request.Ref}", code=ALREADY_EXISTS)
        build = self._running[request.Ref] = Build(request, self._root, self._index)
        self._arrivals.come(request.Ref, build)
        if not request.Internal:
            self._generation += 1
            record = control_pb2.BuildHistoryRecord(
                Ref=build.ref,
                Frontend=request.Frontend,
                # A record is shown to whoever asks; what the context's URL carries to log in is not.
                FrontendAttrs=shown(request.FrontendAttrs),
                Exporters=[control_pb2.Exporter(Type=one.Type, Attrs=shown(one.Attrs)) for one in request.Exporters],
                CreatedAt=to_time(build.created),
                Generation=self._generation,
            )
            self._entries.pop(build.ref, None)  # one of that name that was
            self._unpinned.discard(build.ref)
            self._entries[build.ref] = Entry(self._generation, record, self._folder)
            self._tell(control_pb2.STARTED, record)
        return build

    def made(self, build: Build, exported: Sequence[Exported]) -> None:
        """What a build has made: its record names the images, by the number of the output."""
        record = self._record_of(build)
        if record is None:
            return
        for number, one in enumerate(exported):
            told = one.metadata.get(DESCRIPTOR, "") if one.output.type == "image" else ""
            if not told:
                continue
            fields = json.loads(base64.b64decode(told))
            made = record.Result.Results[number]
            made.media_type, made.digest, made.size = fields["mediaType"], fields["digest"], fields["size"]
            made.annotations.update(fields.get("annotations") or {})
            if not record.Result.HasField("ResultDeprecated"):
                record.Result.ResultDeprecated.CopyFrom(made)

    async def end(
        self, build: Build, response: Mapping[str, str], error: RpcError | None, cause: BaseException | None
    ) -> None:
        """A build is over; its progress can still be watched."""
        build.over = True
        build.progress.end()
        if not build.gateway.done():  # whoever waits for it is told the cause
            build.gateway.set_exception(error or RpcError("the build is over", code=NOT_FOUND))
            build.gateway.exception()
        if not build.request.Internal:
            self.ended["ok" if error is None else "canceled" if error.code == CANCELLED else "failed"] += 1
        entry = self._entries.get(build.ref)
        record = self._record_of(build)
        if entry is None or record is None:
            self._running.pop(build.ref, None)
            self._remember(build)
            return
        record.CompletedAt.CopyFrom(to_time(time.time_ns()))
        record.ExporterResponse.update(response)
        record.numCachedSteps, record.numTotalSteps, record.numCompletedSteps = build.progress.counts
        record.numWarnings = build.progress.warned
        if error is not None:
            record.error.code, record.error.message = error.code, error.message
        try:
            if build.recording is not None:
                kept = await asyncio.to_thread(self._write, build.recording, record, error, cause)
                if kept is not None:
                    entry.name = kept.path.name
                    self._bytes += await asyncio.to_thread(history.size_of, kept)
            if error is not None and not record.externalError.digest:  # it has no file
                for url, value in error.details:
                    record.error.details.add(type_url=url, value=value)
        finally:
            self._running.pop(build.ref, None)
            if not entry.name:
                self._remember(build)
            entry.completed, entry.logs = record.CompletedAt.seconds, _short(record.logs.digest)
            entry.failure = _short(record.externalError.digest)
            self._recent.append(build.ref)
            self._note(build.ref, entry)
            self._forget()
            if build.ref in self._entries:
                self._tell(control_pb2.COMPLETE, record)
        if self._bytes > self._keep.size:  # then somewhat more, so that most builds need not look
            await asyncio.to_thread(self._collect, self._keep.size * 7 // 8, build.ref)
            self._look()

    def _remember(self, build: Build) -> None:
        """Keep the progress of a build that has no file for those who ask late."""
        self._ended[build.ref] = build.progress
        while len(self._ended) > _KEEP:
            self._ended.popitem(last=False)

    def _record_of(self, build: Build) -> control_pb2.BuildHistoryRecord | None:
        """The record of a build that runs; None of those that leave none."""
        entry = None if build.request.Internal else self._entries.get(build.ref)
        return entry.record if entry is not None else None

    def _write(
        self,
        recording: Recording,
        record: control_pb2.BuildHistoryRecord,
        error: RpcError | None,
        cause: BaseException | None,
    ) -> history.BuildRecord | None:
        """Let a build's record end, and note its logs in BuildKit's form. In a thread; never fails the build."""
        more: dict[str, Any] = {
            "results": {key: value for key, value in record.ExporterResponse.items() if len(value) < 4096},
            "cached": record.numCachedSteps,
            "executed": max(0, record.numCompletedSteps - record.numCachedSteps),
            "total": record.numTotalSteps,
            "completed": record.numCompletedSteps,
            "warnings": record.numWarnings,
            "status": "completed",
            "made": [
                [number, one.media_type, one.digest, one.size, dict(one.annotations)]
                for number, one in record.Result.Results.items()
            ],
        }
        text = "" if error is None else recording.hide(error.message[:4096])
        if error is not None:
            record.error.message = text
            more |= {"code": error.code, "status": "canceled" if error.code == CANCELLED else "failed", "error": text}
        recording.end(None, cause, more=more)
        if recording.trouble:
            _log.warning("the build %s is not in the history as a whole: %s", record.Ref, recording.trouble)
        if recording.path is None:
            return None
        try:
            kept = history.read(recording.path)
            if kept is not None and (blob := wirehistory.keep_status(kept)) is not None:
                record.logs.media_type, record.logs.digest = wirehistory.STATUS, blob.digest
                record.logs.size = blob.size
            if kept is not None and error is not None:
                details = wirehistory.kept_details(error.details, recording.hide)
                failed = wirehistory.keep_error(kept, error.code, text, details)
                record.externalError.media_type, record.externalError.digest = wirehistory.ERROR, failed.digest
                record.externalError.size = failed.size
        except (DockcError, OSError) as problem:
            _log.warning("the logs of the build %s cannot be taken away: %s", record.Ref, problem)
            return None
        return kept

    def _forget(self) -> None:
        """Let go of what is beyond the policy: those beyond the number, once they are too old, too."""
        now = time.time()
        while self._done and len(self._unpinned) > self._keep.entries and now - self._done[0][0] > self._keep.age:
            ended, ref = heapq.heappop(self._done)
            entry = self._entries.get(ref)
            if entry is not None and entry.completed == ended and ref in self._unpinned:
                self._drop(ref)
        while len(self._recent) > _KEEP:
            known = self._entries.get(self._recent.popleft())
            if known is not None and known.completed is not None and known.name:
                known.record = None
        if any(not ref for ref, _ in self._listeners):  # who watches all builds is told what others have removed
            self._look()

    def _look(self, only: str = "") -> None:
        """Let go of builds whose records others have removed, or of one. Of them all it is one look at the directory."""
        if self._folder is None:
            return
        if only:
            known = self._entries.get(only)
            gone = [only] if known is not None and known.path is not None and not known.path.exists() else []
        else:
            there = _names(self._folder)
            gone = [ref for ref, entry in self._entries.items() if entry.name and entry.name not in there]
        for ref in gone:
            self._drop(ref)

    def _drop(self, ref: str) -> None:
        """Forget a build that has ended, here and in the history."""
        entry = self._entries.pop(ref)
        self._unpinned.discard(ref)
        if (kept := entry.kept()) is not None:
            try:
                history.remove(kept)
            except DockcError as error:
                _log.warning("%s", error)
        self._tell(control_pb2.DELETED, entry.record or control_pb2.BuildHistoryRecord(Ref=ref))

    async def find(self, ref: str) -> Build:
        """A build that runs; it may still be on its way.

        Raises:
            RpcError: it does not come.
        """
        found = self._running.get(ref)
        if found is not None:
            return found
        found = await self._arrivals.wait(ref, _WAIT)
        if found is None:
            raise RpcError(f"no such job {ref}", code=NOT_FOUND)
        return found

    async def watch(self, ref: str) -> AsyncIterator[SolveStatus]:
        """The progress of a build that runs or has ended: of those in the history all that they told.

        Raises:
            RpcError: there is none of that name.
        """
        entry = self._entries.get(ref) if ref not in self._running else None
        kept = await asyncio.to_thread(entry.kept) if entry is not None else None
        if kept is not None:
            parts = wirehistory.replay(kept)
            while (part := await asyncio.to_thread(next, parts, None)) is not None:
                yield part
            return
        if ref in self._ended and ref not in self._running:
            progress = self._ended[ref]
        else:
            progress = (await self.find(ref)).progress
        async for status in progress.watch():
            yield status

    def blob(self, digest: str) -> Path | None:
        """Logs of a build in BuildKit's form, its trace or how it failed, by digest."""
        wanted = _short(digest)
        for entry in self._entries.values():
            if not wanted or wanted not in (entry.logs, entry.trace, entry.failure) or (path := entry.path) is None:
                continue
            found = entry.told()
            if found is not None:
                blobs = {
                    found.externalError.digest: ".error",
                    found.trace.digest: ".trace",
                    found.logs.digest: ".status",
                }
                if digest in blobs:
                    return path.with_suffix(blobs[digest])
        return None

    @property
    def running(self) -> int:
        """How many builds run that people asked for."""
        return sum(not build.request.Internal for build in self._running.values())

    # --- history ----------------------------------------------------------------------------------------

    def _tell(self, kind: control_pb2.BuildHistoryEventType, record: control_pb2.BuildHistoryRecord) -> None:
        event = control_pb2.BuildHistoryEvent(type=kind, record=record)
        for ref, queue in self._listeners:
            if ref in ("", record.Ref) and not queue.full():
                queue.put_nowait(event)

    async def listen(self, request: control_pb2.BuildHistoryRequest) -> AsyncIterator[control_pb2.BuildHistoryEvent]:
        """Records that match, and what becomes of builds from now on unless `EarlyExit`.

        Of a build that is not known there is nothing to tell; clients ask for one to see whether there is a history.

        Raises:
            RpcError: the filters or the limit make no sense.
        """
        queue: asyncio.Queue[control_pb2.BuildHistoryEvent] = asyncio.Queue(1000)
        listener = request.Ref, queue
        self._listeners.append(listener)
        try:
            files: dict[str, history.BuildRecord] = {}
            if self._root is not None:
                found = await asyncio.to_thread(history.records, self._root, request.Ref)
                self._take(found)
                files = {one.ref: one for one in found}
            self._look(request.Ref)
            self._forget()
            matches = matcher(request.Filter)
            refs = [ref for ref in ((request.Ref,) if request.Ref else self._entries) if ref in self._entries]
            if request.Limit < 0:
                raise RpcError(f"invalid limit {request.Limit}", code=INVALID_ARGUMENT)
            for record in self._running_first(refs, files, matches, request):
                done = record.HasField("CompletedAt")
                yield control_pb2.BuildHistoryEvent(
                    type=control_pb2.COMPLETE if done else control_pb2.STARTED, record=record
                )
            del files
            while not request.EarlyExit:
                yield await queue.get()
        finally:
            self._listeners.remove(listener)

    def _running_first(
        self,
        refs: list[str],
        files: Mapping[str, history.BuildRecord],
        matches: Callable[[control_pb2.BuildHistoryRecord], bool],
        request: control_pb2.BuildHistoryRequest,
    ) -> Iterator[control_pb2.BuildHistoryRecord]:
        """Those that run, then those that have ended and match: all, or the newest ones and these first."""
        known = [(ref, self._entries[ref]) for ref in refs]
        yield from [one.record for _, one in known if one.completed is None and one.record is not None]
        if request.ActiveOnly:
            return
        ended = [(ref, one) for ref, one in known if one.completed is not None]
        left = request.Limit or len(ended)
        for ref, one in reversed(ended) if request.Limit else ended:
            record = one.told(files.get(ref))
            if record is not None and matches(record):
                yield record
                left -= 1
            if not left:
                return

    async def keep_trace(self, ref: str, text: bytes, digest: str, size: int) -> bool:
        """Keep more of a build's trace beside its record, where that is.

        Args:
            ref: the build, which has ended.
            text: what is new.
            digest: of all of it.
            size: of all of it.

        Returns:
            Whether it is on the disk now; a build without a file has no place for it.
        """
        entry = self._entries.get(ref)
        if entry is None:
            return False
        kept = await asyncio.to_thread(entry.kept)
        if kept is not None:
            try:
                await asyncio.to_thread(history.keep_trace, kept, text, digest, size)
                self._bytes += len(text)
            except DockcError as problem:
                _log.warning("the trace of the build %s is not kept: %s", ref, problem)
        entry.trace = _short(digest)
        if entry.record is not None:
            trace = entry.record.trace
            trace.media_type, trace.digest, trace.size = wirehistory.TRACE, digest, size
        return kept is not None

    def update(self, request: control_pb2.UpdateBuildHistoryRequest) -> None:
        """Pin or delete a record.

        Raises:
            RpcError: there is none of that name.
        """
        entry = self._entries.get(request.Ref)
        if entry is None:
            raise RpcError(f"no build {request.Ref} in the history", code=NOT_FOUND)
        if request.Delete:
            if request.Ref in self._running:
                raise RpcError(f"the build {request.Ref} runs", code=ALREADY_EXISTS)
            if (kept := entry.kept()) is not None:
                history.remove(kept)
            self._drop(request.Ref)
            self._ended.pop(request.Ref, None)
        elif not request.Finalize:
            entry.pinned = request.Pinned
            if entry.record is not None:
                entry.record.pinned = request.Pinned
            if (kept := entry.kept()) is not None:
                history.change(kept, pinned=request.Pinned)
            self._note(request.Ref, entry)


def _short(digest: str) -> int:
    """Some bits of a digest, 0 of none: thousands of whole ones would take more than all else that is known of builds."""
    return zlib.crc32(digest.encode())


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return frozenset()


def options_of(request: control_pb2.SolveRequest) -> dict[str, Any]:
    """What a client asked for, as the history keeps it: nothing secret."""
    attrs = shown(request.FrontendAttrs)
    return {
        "context": attrs.get("context", ""),
        "file": attrs.get("filename", ""),
        "frontend": request.Frontend,
        "attrs": attrs,
        "outputs": [{"type": one.Type, **shown(one.Attrs)} for one in request.Exporters],
        "cache_from": [{"type": one.Type, **shown(one.Attrs)} for one in request.Cache.Imports],
        "cache_to": [{"type": one.Type, **shown(one.Attrs)} for one in request.Cache.Exports],
        "allow": sorted(request.Entitlements),
    }
