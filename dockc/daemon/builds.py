"""Builds that run, and the record of those that were."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from dockc.daemon.events import Progress
from dockc.errors import without_credentials
from dockc.protocol.status import to_time
from dockc.rpc.pb import control_pb2
from dockc.rpc.status import ALREADY_EXISTS, NOT_FOUND, RpcError

if TYPE_CHECKING:
    from dockc.engine.gateway import Gateway

_WAIT = 3.0
"""Seconds that a call waits for its build to be known."""
_KEEP = 50
"""Finished builds that are remembered."""


class Build:
    """One build of a client.

    Attributes:
        ref: the client's name for it.
        request: what it asked for.
        progress: all that happened.
        gateway: set once the engine has begun.
    """

    def __init__(self, request: control_pb2.SolveRequest) -> None:
        loop = asyncio.get_running_loop()
        self.ref = request.Ref
        self.request = request
        self.progress = Progress()
        self.gateway: asyncio.Future[Gateway] = loop.create_future()
        self.created = time.time_ns()
        self.over = False


class Builds:
    """All builds that run, and what is remembered of others. To be used on the loop's thread."""

    def __init__(self) -> None:
        self._running: dict[str, Build] = {}
        self._waiting: dict[str, list[asyncio.Future[Build]]] = {}
        self._ended: OrderedDict[str, Progress] = OrderedDict()
        self._records: OrderedDict[str, control_pb2.BuildHistoryRecord] = OrderedDict()
        self._listeners: list[asyncio.Queue[control_pb2.BuildHistoryEvent]] = []
        self._generation = 0

    def begin(self, request: control_pb2.SolveRequest) -> Build:
        """Take up a build.

        Raises:
            RpcError: one of that name runs.
        """
        if request.Ref in self._running:
            raise RpcError(f"job ID exists: {request.Ref}", code=ALREADY_EXISTS)
        build = self._running[request.Ref] = Build(request)
        for waiter in self._waiting.pop(request.Ref, ()):
            if not waiter.done():
                waiter.set_result(build)
        if not request.Internal:
            self._generation += 1
            record = control_pb2.BuildHistoryRecord(
                Ref=build.ref,
                Frontend=request.Frontend,
                # A record is shown to whoever asks; what the context's URL carries to log in is not.
                FrontendAttrs={key: without_credentials(value) for key, value in request.FrontendAttrs.items()},
                Exporters=request.Exporters,
                CreatedAt=to_time(build.created),
                Generation=self._generation,
            )
            self._records[build.ref] = record
            self._tell(control_pb2.STARTED, record)
        return build

    def end(self, build: Build, response: Mapping[str, str], error: RpcError | None) -> None:
        """A build is over; its progress can still be watched for a while."""
        build.over = True
        build.progress.end()
        if not build.gateway.done():  # whoever waits for it is told the cause
            build.gateway.set_exception(error or RpcError("the build is over", code=NOT_FOUND))
            build.gateway.exception()
        self._running.pop(build.ref, None)
        self._ended[build.ref] = build.progress
        while len(self._ended) > _KEEP:
            self._ended.popitem(last=False)
        record = self._records.get(build.ref)
        if record is None or build.request.Internal:
            return
        record.CompletedAt.CopyFrom(to_time(time.time_ns()))
        record.ExporterResponse.update(response)
        record.numCachedSteps, record.numTotalSteps, record.numCompletedSteps = build.progress.counts
        record.numWarnings = build.progress.warned
        if error is not None:
            record.error.code, record.error.message = error.code, error.message
            for url, value in error.details:
                record.error.details.add(type_url=url, value=value)
        unpinned = [ref for ref, one in self._records.items() if not one.pinned and one.HasField("CompletedAt")]
        for ref in unpinned[:-_KEEP]:
            self._tell(control_pb2.DELETED, self._records.pop(ref))
        self._tell(control_pb2.COMPLETE, record)

    async def find(self, ref: str) -> Build:
        """A build that runs; it may still be on its way.

        Raises:
            RpcError: it does not come.
        """
        found = self._running.get(ref)
        if found is not None:
            return found
        waiter: asyncio.Future[Build] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(ref, []).append(waiter)
        try:
            return await asyncio.wait_for(waiter, _WAIT)
        except TimeoutError:
            raise RpcError(f"no such job {ref}", code=NOT_FOUND) from None
        finally:
            waiters = self._waiting.get(ref, [])
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                self._waiting.pop(ref, None)

    async def progress(self, ref: str) -> Progress:
        """The progress of a build that runs or has ended.

        Raises:
            RpcError: there is none of that name.
        """
        if ref in self._ended and ref not in self._running:
            return self._ended[ref]
        return (await self.find(ref)).progress

    @property
    def running(self) -> int:
        """How many builds run that people asked for."""
        return sum(not build.request.Internal for build in self._running.values())

    # --- history ----------------------------------------------------------------------------------------

    def _tell(self, kind: control_pb2.BuildHistoryEventType, record: control_pb2.BuildHistoryRecord) -> None:
        event = control_pb2.BuildHistoryEvent(type=kind, record=record)
        for queue in self._listeners:
            if not queue.full():
                queue.put_nowait(event)

    async def listen(self, request: control_pb2.BuildHistoryRequest) -> AsyncIterator[control_pb2.BuildHistoryEvent]:
        """Records that match, and what becomes of builds from now on unless `EarlyExit`.

        Raises:
            RpcError: the named build is not known.
        """
        queue: asyncio.Queue[control_pb2.BuildHistoryEvent] = asyncio.Queue(1000)
        self._listeners.append(queue)
        try:
            known = list(self._records.values())
            if request.Ref:
                known = [one for one in known if one.Ref == request.Ref]
                if not known and request.EarlyExit:
                    raise RpcError(f"no build {request.Ref} in the history", code=NOT_FOUND)
            if request.Limit > 0:
                known = known[-request.Limit :]
            for record in known:
                done = record.HasField("CompletedAt")
                if done and request.ActiveOnly:
                    continue
                yield control_pb2.BuildHistoryEvent(
                    type=control_pb2.COMPLETE if done else control_pb2.STARTED, record=record
                )
            while not request.EarlyExit:
                event = await queue.get()
                if not request.Ref or event.record.Ref == request.Ref:
                    yield event
        finally:
            self._listeners.remove(queue)

    def update(self, request: control_pb2.UpdateBuildHistoryRequest) -> None:
        """Pin or delete a record.

        Raises:
            RpcError: there is none of that name.
        """
        record = self._records.get(request.Ref)
        if record is None:
            raise RpcError(f"no build {request.Ref} in the history", code=NOT_FOUND)
        if request.Delete:
            if request.Ref in self._running:
                raise RpcError(f"the build {request.Ref} runs", code=ALREADY_EXISTS)
            del self._records[request.Ref]
            self._tell(control_pb2.DELETED, record)
        elif not request.Finalize:
            record.pinned = request.Pinned
