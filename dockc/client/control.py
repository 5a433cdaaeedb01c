"""What is asked of a builder: `Control`, and for one build its `LLBBridge`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from dockc.base.record import Record, made
from dockc.errors import DockcError
from dockc.protocol import status as statuses
from dockc.protocol.errors import RemoteError, from_rpc
from dockc.protocol.names import BRIDGE, BUILD_ID, CONTROL, TRACES
from dockc.rpc.calls import parsed
from dockc.rpc.pb import common_pb2, control_pb2, gateway_pb2, trace_pb2
from dockc.rpc.status import CANCELLED, RpcError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from dockc.client.address import Link
    from dockc.client.exports import Receiver
    from dockc.client.session import Session
    from dockc.runtime.remotecache.base import CacheEntry
    from dockc.solver.progress import StatusSink

    M = TypeVar("M", bound=Message)

Spans = Callable[[BaseException | None], trace_pb2.ResourceSpans]
_SILENCE = 5.0
"""Seconds without progress after which the end of a build is not waited for."""


class Export(Record):
    """One output of a build.

    Attributes:
        type: as the builder knows it.
        attrs: options for the builder.
        receiver: takes what the builder sends back, or None.
        store: directory of an OCI layout that the builder writes blobs to, or "".
        names: for that layout's index.
    """

    type: str
    attrs: Mapping[str, str] = made(dict)
    receiver: Receiver | None = None
    store: str = ""
    names: tuple[str, ...] = ()


class BuildSpec(Record, kw_only=True):
    """What a builder is told about a build.

    Attributes:
        session: what is lent.
        exports: outputs.
        frontend, frontend_attrs: who makes the graph on the builder's side; "" where we do.
        entitlements: what is allowed beyond the sandbox.
        cache_exports, cache_imports: caches.
        policy: JSON of a source policy, or "".
        proxy_network: the network of steps leads through the builder's proxy.
        ref: name of the build; "" makes one.
        internal: leaves no trace in the history.
        metadata: of the call that builds.
        spans: our own part of the build's trace, for the builder, which keeps it with the build; it is told what ended
            the build.
    """

    session: Session
    exports: tuple[Export, ...] = ()
    frontend: str = ""
    frontend_attrs: Mapping[str, str] = made(dict)
    entitlements: tuple[str, ...] = ()
    cache_exports: tuple[CacheEntry, ...] = ()
    cache_imports: tuple[CacheEntry, ...] = ()
    policy: str = ""
    proxy_network: bool = False
    ref: str = ""
    internal: bool = False
    metadata: tuple[tuple[str, str], ...] = ()
    spans: Spans | None = None


class Bridge:
    """The calls of one build that ask for work; `ref` names the build where the way does not.

    Attributes:
        caps: what the builder's gateway can do; filled by `ping`.
        llb_caps: what its LLB can do.
        workers: its workers.
    """

    def __init__(self, remote: Remote, ref: str) -> None:
        self._remote, self._metadata = remote, [(BUILD_ID, ref)] if ref else []
        self.caps: frozenset[str] = frozenset()
        self.llb_caps: frozenset[str] = frozenset()
        self.workers: tuple[common_pb2.WorkerRecord, ...] = ()

    async def ping(self) -> None:
        """Wait until the builder knows the build, and learn what it can do."""
        found = await self._call("Ping", gateway_pb2.PingRequest(), gateway_pb2.PongResponse)
        self.caps = frozenset(one.ID for one in found.FrontendAPICaps if one.Enabled)
        self.llb_caps = frozenset(one.ID for one in found.LLBCaps if one.Enabled)
        self.workers = tuple(found.Workers)

    async def solve(self, request: gateway_pb2.SolveRequest) -> gateway_pb2.Result:
        """Solve a graph or run a frontend."""
        request.allowResultReturn = request.allowResultArrayRef = True
        found = await self._call("Solve", request, gateway_pb2.SolveResponse)
        return found.result

    async def resolve(self, request: gateway_pb2.ResolveSourceMetaRequest) -> gateway_pb2.ResolveSourceMetaResponse:
        """Ask what a source is."""
        return await self._call("ResolveSourceMeta", request, gateway_pb2.ResolveSourceMetaResponse)

    async def inputs(self) -> dict[str, bytes]:
        """Graphs that came with the request for the frontend, by name."""
        if "frontend.inputs" not in self.caps:
            return {}
        return dict((await self._call("Inputs", gateway_pb2.InputsRequest(), gateway_pb2.InputsResponse)).Definitions)

    async def read_file(self, ref: str, path: str) -> bytes:
        """A file of a result."""
        request = gateway_pb2.ReadFileRequest(Ref=ref, FilePath=path)
        return (await self._call("ReadFile", request, gateway_pb2.ReadFileResponse)).Data

    async def warn(self, request: gateway_pb2.WarnRequest) -> None:
        """Show a warning at a step."""
        await self._call("Warn", request, gateway_pb2.WarnResponse)

    async def hand_back(self, request: gateway_pb2.ReturnRequest) -> None:
        """Name the result, or the error."""
        await self._call("Return", request, gateway_pb2.ReturnResponse)

    async def _call(self, method: str, request: Message, answer: type[M]) -> M:
        return await self._remote.unary(BRIDGE + method, request, answer, self._metadata)


Drive = Callable[[Bridge], Awaitable[gateway_pb2.Result]]
"""What a client does that makes the result itself."""


class Remote:
    """A builder at the other end of a link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.channel = link.channel

    async def unary(self, path: str, request: Message, answer: type[M], metadata: Sequence[tuple[str, str]] = ()) -> M:
        """One message each way.

        Raises:
            RemoteError: the builder says no.
        """
        try:
            data = await self.channel.unary(path, request.SerializeToString(deterministic=True), metadata)
            return parsed(data, answer)
        except RpcError as exc:
            raise from_rpc(exc) from None

    async def stream(self, path: str, request: Message, answer: type[M]) -> AsyncIterator[M]:
        """One message there, many back.

        Raises:
            RemoteError: the builder says no.
        """
        call = self.channel.call(path)
        try:
            await call.send(request.SerializeToString())
            call.end()
            while (data := await call.receive()) is not None:
                yield parsed(data, answer)
        except RpcError as exc:
            raise from_rpc(exc) from None
        finally:
            call.cancel()

    # --- the daemon -------------------------------------------------------------------------------------

    async def workers(self, filters: Sequence[str] = ()) -> list[common_pb2.WorkerRecord]:
        """Its workers."""
        request = control_pb2.ListWorkersRequest(filter=filters)
        return list((await self.unary(CONTROL + "ListWorkers", request, control_pb2.ListWorkersResponse)).record)

    async def info(self) -> common_pb2.BuildkitVersion:
        """Its version."""
        return (await self.unary(CONTROL + "Info", control_pb2.InfoRequest(), control_pb2.InfoResponse)).buildkitVersion

    async def usage(self, filters: Sequence[str] = (), age: int = 0) -> list[control_pb2.UsageRecord]:
        """What takes room on its disk, and was not used for so many nanoseconds."""
        request = control_pb2.DiskUsageRequest(filter=filters, ageLimit=age)
        return list((await self.unary(CONTROL + "DiskUsage", request, control_pb2.DiskUsageResponse)).record)

    def prune(self, request: control_pb2.PruneRequest) -> AsyncIterator[control_pb2.UsageRecord]:
        """Remove what nobody needs; tells what goes."""
        return self.stream(CONTROL + "Prune", request, control_pb2.UsageRecord)

    def history(self, request: control_pb2.BuildHistoryRequest) -> AsyncIterator[control_pb2.BuildHistoryEvent]:
        """Builds that were and that are."""
        return self.stream(CONTROL + "ListenBuildHistory", request, control_pb2.BuildHistoryEvent)

    async def update_history(self, request: control_pb2.UpdateBuildHistoryRequest) -> None:
        """Pin, delete or finalise a build's record."""
        await self.unary(CONTROL + "UpdateBuildHistory", request, control_pb2.UpdateBuildHistoryResponse)

    def watch(self, ref: str) -> AsyncIterator[control_pb2.StatusResponse]:
        """Progress of a build that runs."""
        return self.stream(CONTROL + "Status", control_pb2.StatusRequest(Ref=ref), control_pb2.StatusResponse)

    # --- a build ----------------------------------------------------------------------------------------

    async def build(self, spec: BuildSpec, drive: Drive, sink: StatusSink) -> dict[str, str]:
        """Build; what the exporters answer.

        The result is what `drive` gives. When this is cancelled, so is the build.

        Raises:
            RemoteError: the builder says what failed.
            DockcError: whatever `drive` raises on purpose.
        """
        try:
            response = await _Build(self, spec, drive, sink).run()
        except DockcError as exc:
            await self._tell_spans(spec, exc)
            raise
        await self._tell_spans(spec, None)
        return response

    async def _tell_spans(self, spec: BuildSpec, error: DockcError | None) -> None:
        """Give the builder our part of the trace. One that takes none, or is gone, is no matter of the build's."""
        if spec.spans is None:
            return
        request = trace_pb2.ExportTraceServiceRequest(resource_spans=[spec.spans(error)])
        with contextlib.suppress(DockcError):
            await self.channel.unary(TRACES, request.SerializeToString(), limit=_SILENCE)


class _Build:
    """One build on its way."""

    def __init__(self, remote: Remote, spec: BuildSpec, drive: Drive, sink: StatusSink) -> None:
        self._remote, self._spec, self._drive, self._sink = remote, spec, drive, sink
        self._ref = spec.ref or secrets.token_hex(12)
        self._heard = asyncio.Event()
        self._problem: DockcError | None = (
            None  # what failed on our side, which is nearer than the builder's words of it
        )

    async def run(self) -> dict[str, str]:
        spec = self._spec
        receivers = {number: one.receiver for number, one in enumerate(spec.exports) if one.receiver is not None}
        spec.session.take_exports(receivers)
        link = spec.session.open(self._remote.channel)
        watching = asyncio.create_task(self._watch())
        solving = asyncio.create_task(self._solve())
        driving = asyncio.create_task(self._driven())
        try:
            await asyncio.wait({solving, driving}, return_when=asyncio.FIRST_COMPLETED)
            if not solving.done() and driving.exception() is not None:
                # What failed here was told the builder, whose answer ends the build.
                await asyncio.wait({solving}, timeout=_SILENCE)
                if not solving.done():
                    driving.result()
            try:
                response = await solving
            except RemoteError as exc:
                mine = self._problem
                # The builder repeats what it was told; what failed here is known better here, and a cause better than
                # its effect.
                if mine is not None and (not isinstance(mine, RemoteError) or exc.remote.code == CANCELLED):
                    raise mine from None
                raise
        finally:
            for task in (solving, driving):
                task.cancel()
            await asyncio.gather(solving, driving, return_exceptions=True)
            await asyncio.shield(link.close())
            await self._until_silent(watching)
        return response

    async def _solve(self) -> dict[str, str]:
        request = control_pb2.SolveRequest(
            Ref=self._ref,
            Session=self._spec.session.id,
            Entitlements=self._spec.entitlements,
            FrontendAttrs=self._spec.frontend_attrs,
            Internal=self._spec.internal,
            ProxyNetwork=self._spec.proxy_network,
            Cache=control_pb2.CacheOptions(
                Exports=[
                    common_pb2.CacheOptionsEntry(Type=one.type, Attrs=one.attrs) for one in self._spec.cache_exports
                ],
                Imports=[
                    common_pb2.CacheOptionsEntry(Type=one.type, Attrs=one.attrs) for one in self._spec.cache_imports
                ],
            ),
        )
        for number, one in enumerate(self._spec.exports):
            request.Exporters.add(Type=one.type, Attrs=one.attrs)
            if not number:
                request.ExporterDeprecated = one.type
                request.ExporterAttrsDeprecated.update(one.attrs)
        if self._spec.policy:
            request.SourcePolicy.CopyFrom(policy_of(self._spec.policy))
        path, metadata = CONTROL + "Solve", self._spec.metadata
        answer = await self._remote.unary(path, request, control_pb2.SolveResponse, metadata)
        return dict(answer.ExporterResponse)

    async def _driven(self) -> None:
        bridge = Bridge(self._remote, self._ref)
        back = gateway_pb2.ReturnRequest()
        try:
            await bridge.ping()
            back.result.CopyFrom(await self._drive(bridge))
        except DockcError as exc:
            self._problem = exc
            tell(back.error, exc)
        try:
            await bridge.hand_back(back)
        except DockcError as exc:
            self._problem = self._problem or exc
        if self._problem is not None:
            raise self._problem

    async def _watch(self) -> None:
        try:
            async for response in self._remote.watch(self._ref):
                self._heard.set()
                self._sink(statuses.from_wire(response))
        except DockcError:  # the answer to Solve says what went wrong
            pass
        finally:
            self._heard.set()

    async def _until_silent(self, watching: asyncio.Task[None]) -> None:
        """Hear the progress out, as long as there is some."""
        while not watching.done():
            self._heard.clear()
            waiter = asyncio.ensure_future(self._heard.wait())
            done, _ = await asyncio.wait({waiter, watching}, timeout=_SILENCE, return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
            if not done:
                watching.cancel()
                break
        await asyncio.gather(watching, return_exceptions=True)


def tell(status: common_pb2.Status, error: DockcError) -> None:
    """Write an error into a message."""
    from dockc.protocol.errors import to_rpc

    told = to_rpc(error)
    status.code, status.message = told.code, told.message
    for url, value in told.details:
        status.details.add(type_url=url, value=value)


def policy_of(text: str) -> common_pb2.Policy:
    """A source policy from its JSON.

    Raises:
        DockcError: it is none.
    """
    from google.protobuf import json_format

    try:
        return json_format.Parse(text, common_pb2.Policy())
    except (json_format.ParseError, RecursionError) as exc:
        raise DockcError(f"cannot read the source policy: {exc}") from None


async def through_frontend(bridge: Bridge, spec: BuildSpec, definition: bytes = b"") -> gateway_pb2.Result:
    """Let the builder's frontend make the result, or solve a graph as it is."""
    request = gateway_pb2.SolveRequest(Frontend=spec.frontend, FrontendOpt=spec.frontend_attrs, Definition=definition)
    for one in spec.cache_imports:
        request.CacheImports.add(Type=one.type, Attrs=one.attrs)
    return await bridge.solve(request)


def metadata_of(response: Mapping[str, str]) -> dict[str, object]:
    """An exporters' answer as `--metadata-file` has it: what is JSON in base64 or text becomes an object."""
    made: dict[str, object] = {}
    for key in sorted(response):
        value = response[key]
        made[key] = value
        try:
            decoded = json.loads(base64.b64decode(value, validate=True))
        except (ValueError, RecursionError):
            continue
        if isinstance(decoded, dict) and decoded:
            made[key] = decoded
    return made
