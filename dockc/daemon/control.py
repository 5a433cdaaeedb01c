"""`Control`: one function for each call."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from dockc.base.aside import aside, finished, outlast
from dockc.base.record import Record, replace
from dockc.base.version import BUILDKIT, VERSION
from dockc.daemon import gateway, storage
from dockc.daemon.authority import SessionCredentials, Tokens
from dockc.daemon.builds import Build, Builds
from dockc.daemon.lending import lent
from dockc.daemon.outputs import SessionOutputs
from dockc.daemon.policy import SessionPolicy
from dockc.daemon.sessions import Sessions
from dockc.daemon.tracing import Tracing
from dockc.engine.gateway import Gateway, to_policy, without_default_provenance
from dockc.engine.request import BuildRequest, entitlement_of
from dockc.errors import DockcError, StoreError
from dockc.golang.filters import FilterError, match, parse
from dockc.protocol import platforms as wire
from dockc.protocol.errors import to_rpc
from dockc.protocol.names import CONTENT, CONTROL, HEALTH, NOW
from dockc.protocol.status import to_wire
from dockc.rpc.calls import Call, Handler, only, unary
from dockc.rpc.pb import common_pb2, content_pb2, control_pb2, session_pb2
from dockc.rpc.status import CANCELLED, INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, RpcError
from dockc.runtime.kernel import syscalls
from dockc.runtime.remotecache.base import CacheEntry

if TYPE_CHECKING:
    from dockc.engine.bridge import Bridge, Result
    from dockc.engine.engine import Engine
    from dockc.engine.tracing import Trace
    from dockc.oci.platform import Platform
    from dockc.runtime.exporter.options import Output
    from dockc.runtime.refs.policy import Rule
    from dockc.runtime.store.worker import Worker

T = TypeVar("T")

_log = logging.getLogger("dockc.daemon")

#: What clients judge a builder by: the version of BuildKit whose protocol this is.
BUILDKIT_VERSION = f"v{BUILDKIT}.0+dockc.{VERSION}"
_COLLECT = 10
"""Builds after which memory that they had is given back although others run, of which all has to be looked at."""
_SETTLED = 1.0
"""Seconds after a build until nobody holds any more what it had; where none runs then, it is given back."""
_CLIENT = frozenset(("local", "tar", "oci", "docker"))
_EPOCH = "build-arg:SOURCE_DATE_EPOCH"


class Facts(Record, kw_only=True):
    """What a daemon says of itself.

    Attributes:
        worker: id of its worker.
        labels: the worker's.
        platforms: says what it can run now.
        entitlements: what builds may be allowed at all.
        builds: how many may run at once; 0 is no limit.
        rules: by which its store is collected.
    """

    worker: str
    labels: Mapping[str, str]
    platforms: Callable[[], tuple[Platform, ...]]
    entitlements: frozenset[str]
    builds: int = 0
    rules: tuple[Rule, ...] = ()


class Control:
    """The daemon's calls on one engine."""

    def __init__(self, engine: Engine, sessions: Sessions, facts: Facts, root: Path, builds: Builds) -> None:
        self.engine, self.sessions, self.facts, self.builds = engine, sessions, facts, builds
        self.tracing = Tracing(builds.keep_trace)
        self._tokens = Tokens()
        self._uncollected = 0
        self._collecting: asyncio.Task[None] | None = None
        self._root = root

    def handlers(self) -> dict[str, Handler]:
        """All calls, by path."""

        async def healthy(request: session_pb2.HealthCheckRequest, _: Call) -> session_pb2.HealthCheckResponse:
            return session_pb2.HealthCheckResponse(status=session_pb2.HealthCheckResponse.SERVING)

        found = {
            "ListWorkers": unary(control_pb2.ListWorkersRequest, self._list_workers),
            "Info": unary(control_pb2.InfoRequest, self._info),
            "Session": self.sessions.serve,
            "Solve": unary(control_pb2.SolveRequest, self._solve),
            "Status": self._status,
            "DiskUsage": unary(control_pb2.DiskUsageRequest, self._disk_usage),
            "Prune": self._prune,
            "ListenBuildHistory": self._history,
            "UpdateBuildHistory": unary(control_pb2.UpdateBuildHistoryRequest, self._update_history),
        }
        return {
            **{CONTROL + name: handler for name, handler in found.items()},
            **gateway.handlers(self.builds),
            **self.tracing.handlers(),
            HEALTH: unary(session_pb2.HealthCheckRequest, healthy),
            CONTENT + "Info": unary(content_pb2.InfoRequest, self._content_info),
            CONTENT + "Read": self._content_read,
            CONTENT + "List": self._content_list,
            CONTENT + "ListStatuses": unary(content_pb2.ListStatusesRequest, self._content_statuses),
            **{CONTENT + name: self._content_refused for name in ("Update", "Delete", "Status", "Write", "Abort")},
        }

    # --- the daemon -------------------------------------------------------------------------------------

    def workers(self) -> list[common_pb2.WorkerRecord]:
        """The one worker."""
        version = self._version()
        return [
            common_pb2.WorkerRecord(
                ID=self.facts.worker,
                Labels={**self.facts.labels, **self._load()},
                platforms=map(wire.to_wire, self.facts.platforms()),
                GCPolicy=storage.rules(self.facts.rules),
                BuildkitVersion=version,
            )
        ]

    def _load(self) -> dict[str, str]:
        """Labels by which clients with several nodes know a full one."""
        if not self.facts.builds:
            return {}
        return {"dockc.builds.running": str(self.builds.running), "dockc.builds.limit": str(self.facts.builds)}

    @staticmethod
    def _version() -> common_pb2.BuildkitVersion:
        return common_pb2.BuildkitVersion(package="dockc", version=BUILDKIT_VERSION, revision="")

    async def _list_workers(self, request: control_pb2.ListWorkersRequest, _: Call) -> control_pb2.ListWorkersResponse:
        found = self.workers()
        if request.filter:
            found = [one for one in found if any(worker_matches(text, one) for text in request.filter)]
        return control_pb2.ListWorkersResponse(record=found)

    async def _info(self, request: control_pb2.InfoRequest, _: Call) -> control_pb2.InfoResponse:
        return control_pb2.InfoResponse(buildkitVersion=self._version())

    # --- builds -----------------------------------------------------------------------------------------

    async def _solve(self, request: control_pb2.SolveRequest, call: Call) -> control_pb2.SolveResponse:
        _check(request, self.facts.entitlements)
        asked = _request(request)
        if self.facts.builds and self.builds.running >= self.facts.builds and not request.Internal:
            raise RpcError(f"{self.facts.builds} builds run, as many as may", code=RESOURCE_EXHAUSTED)
        # Nothing may be waited for between here and the block that ends the build: it may be cancelled at any wait.
        folder = Path(tempfile.mkdtemp("", "build-", self._root))
        try:
            build = self.builds.begin(request)
        except BaseException:
            os.rmdir(folder)  # noqa: PTH106  empty, and at once
            raise
        trace = self.tracing.begin(build, call)
        response: dict[str, str] = {}
        error: RpcError | None = None
        cause: BaseException | None = None
        close: Callable[[], None] | None = None
        over = threading.Event()
        try:
            caller = await self.sessions.find(request.Session) if request.Session else None
            if caller is None:
                raise RpcError("a build needs a session", code=INVALID_ARGUMENT)
            judge = await self.sessions.find(request.SourcePolicySession) if request.SourcePolicySession else None
            session, close = lent(
                caller,
                self.sessions.mirrors,
                SessionCredentials(caller, self._tokens),
                folder,
                self.sessions.find,
                over,
            )
            if judge is not None:
                session = replace(session, policy=SessionPolicy(judge))
            if request.EnableSessionExporter:
                epoch = asked.attrs.get(_EPOCH, "")
                read = lambda kind, attrs: output(kind, attrs, epoch)  # noqa: E731
                session = replace(session, outputs=SessionOutputs(caller, build.known_gateway, read))
            given = bool(asked.frontend) or request.HasField("Definition")
            if not given:  # who drives the build may look into what fails
                session = replace(session, keeps_failures=True)
            if given:
                work = self.engine.build(asked, session, trace)
            else:
                work = self.engine.run(partial(_driven, build, self.workers()), asked, session, trace)
            built = await _unless_given_up(work, over)
            response = dict(built.metadata)
            self.builds.made(build, built.exported)
        except asyncio.CancelledError as exc:
            error, cause = RpcError("context canceled", code=CANCELLED), exc
            raise
        except Exception as exc:
            error, cause = to_rpc(exc), exc
            raise error from exc
        finally:
            over.set()
            if close is not None:
                close()
            await finished(self._over(build, trace, folder, response, error, cause))
        return control_pb2.SolveResponse(ExporterResponse=response)

    async def _over(
        self,
        build: Build,
        trace: Trace,
        folder: Path,
        response: Mapping[str, str],
        error: RpcError | None,
        cause: BaseException | None,
    ) -> None:
        """What is to be done when a build is over."""
        try:
            await self.builds.end(build, response, error, cause)
            await self.tracing.end(build, trace, error)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, True)
        self._uncollected += 1
        if self._collecting is None:
            self._collecting = asyncio.create_task(self._collect())

    async def close(self) -> None:
        """What goes on beside builds ends, and what waits is sent. The engine is open until then."""
        if self._collecting is not None:
            self._collecting.cancel()
            await asyncio.gather(self._collecting, return_exceptions=True)
        await self.tracing.close()

    async def _collect(self) -> None:
        """Give memory of builds back, once what the last one had is held by nobody any more."""
        try:
            await asyncio.sleep(_SETTLED)
            if not self.builds.running or self._uncollected >= _COLLECT:
                self._uncollected = 0
                await aside(_give_back, self.engine.work.worker)
        finally:
            self._collecting = None

    async def _status(self, call: Call) -> None:
        request = await only(call, control_pb2.StatusRequest)
        begun = False
        async for status in self.builds.watch(request.Ref):
            if not begun:
                call.start([(NOW, _now())])
                begun = True
            await call.send(to_wire(status).SerializeToString())

    # --- the store --------------------------------------------------------------------------------------

    async def _disk_usage(self, request: control_pb2.DiskUsageRequest, _: Call) -> control_pb2.DiskUsageResponse:
        return await storage.disk_usage(self.engine.work, request)

    async def _prune(self, call: Call) -> None:
        await storage.prune(self.engine.work, call)

    # --- history ----------------------------------------------------------------------------------------

    async def _history(self, call: Call) -> None:
        request = await only(call, control_pb2.BuildHistoryRequest)
        call.start([(NOW, _now())])
        async for event in self.builds.listen(request):
            await call.send(event.SerializeToString())

    async def _update_history(
        self, request: control_pb2.UpdateBuildHistoryRequest, _: Call
    ) -> control_pb2.UpdateBuildHistoryResponse:
        self.builds.update(request)
        return control_pb2.UpdateBuildHistoryResponse()

    # --- blobs ------------------------------------------------------------------------------------------

    async def _content_info(self, request: content_pb2.InfoRequest, _: Call) -> content_pb2.InfoResponse:
        size = await self.engine.work.blocking(partial(self._size, request.digest))
        return content_pb2.InfoResponse(info=content_pb2.Info(digest=request.digest, size=size))

    def _blob(self, digest: str) -> BinaryIO:
        """A blob of the store, or the logs or the trace of a build.

        Raises:
            DockcError, OSError: there is none.
        """
        if (trace := self.tracing.find(digest)) is not None:
            return BytesIO(trace)
        kept = self.builds.blob(digest)
        return self.engine.work.worker.content.open(digest) if kept is None else kept.open("rb")

    def _size(self, digest: str) -> int:
        from dockc.rpc.status import NOT_FOUND

        try:
            with self._blob(digest) as file:
                return file.seek(0, 2)
        except (DockcError, OSError) as exc:
            raise RpcError(f"content {digest}: not found", code=NOT_FOUND) from exc

    async def _content_list(self, call: Call) -> None:
        request = await only(call, content_pb2.ListContentRequest)
        if any(request.filters):
            raise RpcError("filters of blobs are not supported", code=UNIMPLEMENTED)
        content = self.engine.work.worker.content
        for digest in await self.engine.work.blocking(lambda: sorted(content.digests())):
            try:
                size = await self.engine.work.blocking(partial(self._size, digest))
            except RpcError:
                continue  # gone meanwhile
            answer = content_pb2.ListContentResponse(info=[content_pb2.Info(digest=digest, size=size)])
            await call.send(answer.SerializeToString())

    async def _content_statuses(
        self, request: content_pb2.ListStatusesRequest, _: Call
    ) -> content_pb2.ListStatusesResponse:
        return content_pb2.ListStatusesResponse()  # what is being written has no name that others know

    async def _content_refused(self, call: Call) -> None:
        raise RpcError("the daemon's blobs can only be read", code=PERMISSION_DENIED)

    async def _content_read(self, call: Call) -> None:
        request = await only(call, content_pb2.ReadContentRequest)
        size = await self.engine.work.blocking(partial(self._size, request.digest))
        end = min(size, request.offset + request.size) if request.size else size
        at = max(request.offset, 0)

        def piece(start: int, length: int) -> bytes:
            with self._blob(request.digest) as file:
                file.seek(start)
                return file.read(length)

        while at < end:
            data = await self.engine.work.blocking(partial(piece, at, min(1 << 20, end - at)))
            if not data:
                break
            await call.send(content_pb2.ReadContentResponse(offset=at, data=data).SerializeToString())
            at += len(data)


async def _unless_given_up(work: Coroutine[Any, Any, T], over: threading.Event) -> T:
    """Do it. When this is cancelled, threads that wait for the client are told first: what is done waits for them."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        over.set()
        task.cancel()
        await outlast(task)
        raise


async def _driven(build: Build, workers: list[common_pb2.WorkerRecord], bridge: Bridge) -> Result:
    """The frontend that a client is: it asks by `LLBBridge` until it names the result."""
    gateway = Gateway(bridge, workers, name=build.ref)
    build.gateway.set_result(gateway)
    try:
        return await gateway.returned
    finally:
        await gateway.close()


def _give_back(worker: Worker) -> None:
    """Give back the memory of builds that are over: circles of objects, for which short commands never look, pages of
    the databases, and what the C library keeps for each thread.
    """
    gc.collect()
    try:
        worker.shrink()
    except StoreError as error:
        _log.warning("%s", error)
    syscalls.trim_memory()


def _now() -> str:
    from dockc.golang.times import Time

    return str(Time.from_ns(time.time_ns()))


# --- requests -------------------------------------------------------------------------------------------


def _check(request: control_pb2.SolveRequest, allowed: frozenset[str]) -> None:
    """Refuse what is not there.

    Raises:
        RpcError: which it is.
    """
    if not request.Ref:
        raise RpcError("a build needs a name", code=INVALID_ARGUMENT)
    if request.ProxyNetwork:
        raise RpcError("the proxy network is not supported yet", code=UNIMPLEMENTED)
    for name in request.Entitlements:
        if entitlement_of(name) not in allowed:
            raise RpcError(
                f"granting entitlement {name} is not allowed by build daemon configuration", code=INVALID_ARGUMENT
            )


def _request(request: control_pb2.SolveRequest) -> BuildRequest:
    """The build in the engine's words.

    Raises:
        UsageError: an output that there is not, caches that cannot be understood.
        RpcError: a cache of a kind that is not there.
    """
    exporters = list(request.Exporters)
    if not exporters and request.ExporterDeprecated:
        exporters = [control_pb2.Exporter(Type=request.ExporterDeprecated, Attrs=request.ExporterAttrsDeprecated)]
    attrs = without_default_provenance(dict(request.FrontendAttrs))
    epoch = attrs.get(_EPOCH, "")
    given = request.Cache
    read = [CacheEntry(one.Type, dict(one.Attrs)) for one in given.Imports] + [
        CacheEntry("registry", {"ref": ref}) for ref in given.ImportRefsDeprecated
    ]
    written = [CacheEntry(one.Type, dict(one.Attrs)) for one in given.Exports]
    if given.ExportRefDeprecated:
        written.append(CacheEntry("registry", {**given.ExportAttrsDeprecated, "ref": given.ExportRefDeprecated}))
    return BuildRequest(
        frontend=request.Frontend,
        attrs=attrs,
        definition=request.Definition,
        inputs=dict(request.FrontendInputs),
        outputs=tuple(output(one.Type, dict(one.Attrs), epoch) for one in exporters) or (_nothing(),),
        allow=frozenset(request.Entitlements),
        cache_from=tuple(read),
        cache_to=tuple(written),
        policies=(to_policy(request.SourcePolicy),) if request.SourcePolicy.rules else (),
    )


def _nothing() -> Output:
    from dockc.runtime.exporter.options import Output

    return Output("cacheonly")


def output(kind: str, attrs: dict[str, str], epoch: str = "") -> Output:
    """An exporter and its options.

    Raises:
        UsageError: there is none of that kind, or an option that it does not have.
    """
    from dockc.runtime.exporter.options import make_output

    if kind in {"", "cacheonly"}:
        return _nothing()
    # Words for other parts of a builder of BuildKit's: attestations are the frontend's matter, and there is no image
    # store of containerd's beside this one to unpack into.
    attrs = {key: value for key, value in attrs.items() if key != "unpack" and not key.startswith("attest:")}
    if epoch and epoch != "context":
        attrs.setdefault("source-date-epoch", epoch)
    made = make_output(kind, "client" if kind in _CLIENT else "", attrs)
    return replace(made, dest="")


def worker_matches(text: str, worker: common_pb2.WorkerRecord) -> bool:
    """Whether a filter of `ListWorkers` lets a worker through; it asks for `id` and `labels.NAME`.

    Raises:
        RpcError: it cannot be understood.
    """

    def lookup(path: tuple[str, ...]) -> str | None:
        if path == ("id",):
            return worker.ID
        if path[0] != "labels" or len(path) < 2:
            raise RpcError(f"filters: workers have no {'.'.join(path)}", code=INVALID_ARGUMENT)
        return worker.Labels.get(".".join(path[1:]))

    try:
        return match((parse(text),), lookup)
    except FilterError as exc:
        raise RpcError(f"filters: {exc}", code=INVALID_ARGUMENT) from None
