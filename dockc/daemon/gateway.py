"""`LLBBridge` on the control socket: the calls of a client that drives its build, each to the engine's bridge of that build."""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from dockc.daemon.builds import Build, Builds
from dockc.engine.bridge import Result, Stat
from dockc.llb import caps
from dockc.oci.platform import Platform
from dockc.protocol.errors import RemoteError, from_rpc
from dockc.protocol.modes import to_go
from dockc.rpc.calls import Call, Handler, only
from dockc.rpc.pb import common_pb2, gateway_pb2, session_pb2
from dockc.rpc.status import INVALID_ARGUMENT, UNIMPLEMENTED, RpcError
from dockc.solver.progress import SourceRange

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from dockc.engine.bridge import Bridge
    from dockc.llb.definition import Definition

    Q = TypeVar("Q", bound=Message)

SERVICE = "/moby.buildkit.v1.frontend.LLBBridge/"
BUILD_ID = "buildkit-controlapi-buildid"

#: What the gateway can do, in the protocol's words.
FRONTEND_CAPS = (
    "solve.base", "solve.inlinereturn", "resolveimage", "resolveimage.resolvemode", "readfile", "return", "returnmap", "readdir",
    "statfile", "importcaches", "proto.refarray", "reference.output", "frontend.inputs", "gateway.solve.metadata", "frontend.caps",
    "gateway.solve.evaluate", "gateway.evaluate", "gateway.warnings", "source.metaresolver",
)  # fmt: skip
#: Parts of LLB that this builder does not do.
_WITHOUT = frozenset(
    (
        caps.EXEC_META_CDI, caps.EXEC_META_NETWORK_PROXY, caps.SOURCE_LOCAL_METADATA_TRANSFER, caps.REMOTE_CACHE_GHA,
        caps.REMOTE_CACHE_S3, caps.REMOTE_CACHE_AZBLOB, caps.ATTESTATIONS, caps.SESSION_EXPORTER, caps.SOURCE_POLICY,
        caps.SOURCE_POLICY_SESSION, caps.SOURCE_IMAGE_BLOB,
    )
)  # fmt: skip
LLB_CAPS = tuple(sorted(caps.ALL - _WITHOUT))
#: Calls that are refused by name.
_LATER = ("NewContainer", "ReleaseContainer", "ExecProcess", "ReadFileContainer", "ReadDirContainer", "StatFileContainer")


def handlers(builds: Builds, workers: Callable[[], list[common_pb2.WorkerRecord]]) -> dict[str, Handler]:
    """All calls, by path."""
    gateway = _Gateway(builds, workers)

    def of(kind: type[Q], answer: Callable[[Build, Bridge, Q], Awaitable[Message]]) -> Handler:
        async def handle(call: Call) -> None:
            request = await only(call, kind)
            name = call.get(BUILD_ID)
            if not name:
                raise RpcError("no buildid found in context", code=INVALID_ARGUMENT)
            build = await builds.find(name)
            bridge = await build.bridge
            await call.send((await answer(build, bridge, request)).SerializeToString())

        return handle

    async def refused(call: Call) -> None:
        raise RpcError("containers of a frontend are not supported yet", code=UNIMPLEMENTED)

    found = {
        "Ping": of(gateway_pb2.PingRequest, gateway.ping),
        "Solve": of(gateway_pb2.SolveRequest, gateway.solve),
        "Evaluate": of(gateway_pb2.EvaluateRequest, gateway.evaluate),
        "ReadFile": of(gateway_pb2.ReadFileRequest, gateway.read_file),
        "ReadDir": of(gateway_pb2.ReadDirRequest, gateway.read_dir),
        "StatFile": of(gateway_pb2.StatFileRequest, gateway.stat_file),
        "ResolveSourceMeta": of(gateway_pb2.ResolveSourceMetaRequest, gateway.resolve_source_meta),
        "ResolveImageConfig": of(gateway_pb2.ResolveImageConfigRequest, gateway.resolve_image_config),
        "Inputs": of(gateway_pb2.InputsRequest, gateway.inputs),
        "Warn": of(gateway_pb2.WarnRequest, gateway.warn),
        "Return": of(gateway_pb2.ReturnRequest, gateway.hand_back),
    } | dict.fromkeys(_LATER, refused)
    return {SERVICE + name: handler for name, handler in found.items()}


class _Gateway:
    def __init__(self, builds: Builds, workers: Callable[[], list[common_pb2.WorkerRecord]]) -> None:
        self._builds, self._workers = builds, workers

    async def ping(self, build: Build, bridge: Bridge, request: gateway_pb2.PingRequest) -> Message:
        """What can be asked for."""
        return gateway_pb2.PongResponse(
            FrontendAPICaps=[common_pb2.APICap(ID=one, Enabled=True) for one in FRONTEND_CAPS],
            LLBCaps=[common_pb2.APICap(ID=one, Enabled=True) for one in LLB_CAPS],
            Workers=self._workers(),
        )

    async def solve(self, build: Build, bridge: Bridge, request: gateway_pb2.SolveRequest) -> Message:
        """Solve a graph, or let a frontend of ours make one."""
        if request.SourcePolicies:
            raise RpcError("source policies of a frontend are not supported yet", code=UNIMPLEMENTED)
        if any(one.Type for one in request.CacheImports):
            raise RpcError("remote caches are not supported yet", code=UNIMPLEMENTED)
        definition: Definition | None = None
        if request.Definition:
            data = request.Definition
            definition = await bridge.work.blocking(lambda: parse(data))
        result = await bridge.solve(
            definition,
            frontend=request.Frontend,
            attrs=without_default_provenance(dict(request.FrontendOpt)),
            inputs=dict(request.FrontendInputs),
            evaluate=request.Evaluate,
        )
        if request.Final and not request.allowResultReturn:
            raise RpcError("this client is too old: it does not take results by reference", code=UNIMPLEMENTED)
        answer = gateway_pb2.SolveResponse(result=to_wire(build, result))
        if set(result.refs) == {""}:
            answer.ref = build.name(result.refs[""])
        return answer

    async def evaluate(self, build: Build, bridge: Bridge, request: gateway_pb2.EvaluateRequest) -> Message:
        """Solve a ref now."""
        await bridge.evaluate(build.find(request.Ref))
        return gateway_pb2.EvaluateResponse()

    async def read_file(self, build: Build, bridge: Bridge, request: gateway_pb2.ReadFileRequest) -> Message:
        """A part of a file."""
        offset, length = (request.Range.Offset, request.Range.Length) if request.HasField("Range") else (0, 0)
        if offset < 0 or length < 0:
            raise RpcError(f"invalid range {offset}, {length}", code=INVALID_ARGUMENT)
        data = await bridge.read_file(build.find(request.Ref), request.FilePath, offset=offset, length=length)
        return gateway_pb2.ReadFileResponse(Data=data)

    async def read_dir(self, build: Build, bridge: Bridge, request: gateway_pb2.ReadDirRequest) -> Message:
        """The entries of a directory."""
        found = await bridge.read_dir(build.find(request.Ref), request.DirPath, include=request.IncludePattern)
        return gateway_pb2.ReadDirResponse(entries=[to_stat(one) for one in found])

    async def stat_file(self, build: Build, bridge: Bridge, request: gateway_pb2.StatFileRequest) -> Message:
        """What is at a path."""
        found = await bridge.stat_file(build.find(request.Ref), request.Path)
        return gateway_pb2.StatFileResponse(stat=to_stat(found, name=os.path.basename(request.Path.rstrip("/")) or "/"))  # noqa: PTH119  no path of ours

    async def resolve_source_meta(self, build: Build, bridge: Bridge, request: gateway_pb2.ResolveSourceMetaRequest) -> Message:
        """What a source is now."""
        from dockc.llb import attrs as A  # noqa: N812
        from dockc.runtime.source.found import FoundGit, FoundHttp, FoundImage

        if request.SourcePolicies:
            raise RpcError("source policies of a frontend are not supported yet", code=UNIMPLEMENTED)
        source = request.Source
        attrs = dict(source.attrs)
        if request.ResolveMode:
            attrs.setdefault(A.IMAGE_RESOLVE_MODE, request.ResolveMode)
        name = f"[internal] {request.LogName.removeprefix('[internal] ')}" if request.LogName else ""
        platform = platform_of(request.Platform) if request.HasField("Platform") else None
        found = await bridge.resolve_source_meta(source.identifier, attrs, platform=platform, name=name)
        answer = gateway_pb2.ResolveSourceMetaResponse(Source=source)
        match found:
            case FoundImage():
                answer.Image.Digest, answer.Image.Config = found.digest, found.config
            case FoundGit():
                answer.Git.Checksum = answer.Git.CommitChecksum = found.commit
                if request.Git.ReturnObject:
                    answer.Git.CommitObject = found.commit_object
            case FoundHttp():
                answer.HTTP.Checksum = found.digest
                if found.last_modified:
                    from dockc.golang.times import Time

                    moment = Time.parse(found.last_modified)
                    answer.HTTP.LastModified.seconds, answer.HTTP.LastModified.nanos = moment.seconds, moment.nanos
        return answer

    async def resolve_image_config(self, build: Build, bridge: Bridge, request: gateway_pb2.ResolveImageConfigRequest) -> Message:
        """Digest and config of an image: what older frontends ask."""
        from dockc.llb import attrs as A  # noqa: N812
        from dockc.runtime.source.found import FoundImage

        scheme = A.SCHEME_OCI_LAYOUT if request.ResolverType == 1 else A.SCHEME_IMAGE
        attrs = {A.OCI_STORE: request.StoreID} if request.ResolverType == 1 else {A.IMAGE_RESOLVE_MODE: request.ResolveMode}
        name = f"[internal] {request.LogName.removeprefix('[internal] ')}" if request.LogName else ""
        platform = platform_of(request.Platform) if request.HasField("Platform") else None
        found = await bridge.resolve_source_meta(scheme + request.Ref, attrs, platform=platform, name=name)
        if not isinstance(found, FoundImage):
            raise RpcError(f"{request.Ref} is no image", code=INVALID_ARGUMENT)
        return gateway_pb2.ResolveImageConfigResponse(Digest=found.digest, Config=found.config, Ref=found.ref)

    async def inputs(self, build: Build, bridge: Bridge, request: gateway_pb2.InputsRequest) -> Message:
        """Graphs that the client gave beside its request."""
        return gateway_pb2.InputsResponse(Definitions=dict(build.request.FrontendInputs))

    async def warn(self, build: Build, bridge: Bridge, request: gateway_pb2.WarnRequest) -> Message:
        """Show a warning."""
        bridge.warn(
            request.digest,
            request.short.decode("utf-8", "replace"),
            level=request.level,
            detail=[one.decode("utf-8", "replace") for one in request.detail],
            url=request.url,
            filename=request.info.filename,
            source=request.info.data,
            ranges=tuple(SourceRange((one.start.line, one.start.character), (one.end.line, one.end.character)) for one in request.ranges),
        )
        return gateway_pb2.WarnResponse()

    async def hand_back(self, build: Build, bridge: Bridge, request: gateway_pb2.ReturnRequest) -> Message:
        """The result, or the error, of the whole build."""
        if build.returned.done():
            raise RpcError(f"the build {build.ref} has its result already", code=INVALID_ARGUMENT)
        if request.HasField("error") and request.error.code:
            told = RpcError(request.error.message, code=request.error.code, details=[(one.type_url, one.value) for one in request.error.details])
            build.returned.set_exception(_returned(told))
        else:
            build.returned.set_result(from_wire(build, request.result))
        return gateway_pb2.ReturnResponse()


def _returned(error: RpcError) -> RemoteError:
    return from_rpc(error)


def parse(data: bytes) -> Definition:
    """A graph from its bytes.

    Raises:
        InvalidDefinition: it breaks a rule.
    """
    from dockc.llb.definition import Definition

    return Definition.parse(data)


def without_default_provenance(attrs: dict[str, str]) -> dict[str, str]:
    """The options without the provenance that clients ask for on their own, and only for builders that make it."""
    return {key: value for key, value in attrs.items() if not (key == "attest:provenance" and "inline-only=true" in value.split(","))}


def to_wire(build: Build, result: Result) -> gateway_pb2.Result:
    """A result with ids in place of its file systems."""
    out = gateway_pb2.Result(metadata=dict(result.metadata))
    if set(result.refs) == {""}:
        out.ref.CopyFrom(_ref(build, result, ""))
    elif result.refs:
        for key in result.refs:
            out.refs.refs[key].CopyFrom(_ref(build, result, key))
    return out


def _ref(build: Build, result: Result, key: str) -> gateway_pb2.Ref:
    ref = result.refs[key]
    if ref is None:
        return gateway_pb2.Ref()
    return gateway_pb2.Ref(id=build.name(ref), **{"def": ref.definition.to_bytes()})


def from_wire(build: Build, result: gateway_pb2.Result) -> Result:
    """The file systems and the metadata that a client names.

    Raises:
        RpcError: an id that was never given, or attestations.
    """
    if result.attestations:
        raise RpcError("attestations are not supported yet", code=UNIMPLEMENTED)
    kind = result.WhichOneof("result")
    match kind:
        case "ref":
            refs = {"": build.find(result.ref.id)}
        case "refDeprecated":
            refs = {"": build.find(result.refDeprecated)}
        case "refs":
            refs = {key: build.find(one.id) for key, one in result.refs.refs.items()}
        case "refsDeprecated":
            refs = {key: build.find(one) for key, one in result.refsDeprecated.refs.items()}
        case _:
            refs = {"": None}
    return Result(refs, dict(result.metadata))


def to_stat(found: Stat, name: str | None = None) -> session_pb2.Stat:
    """An entry as the protocol has it."""
    out = session_pb2.Stat(
        path=os.fsencode(found.path if name is None else name).decode("utf-8", "replace"),
        mode=to_go(found.mode),
        uid=found.uid,
        gid=found.gid,
        size=found.size if not stat.S_ISDIR(found.mode) else 0,
        modTime=found.modified,
        linkname=os.fsencode(found.link).decode("utf-8", "replace"),
    )
    if stat.S_ISCHR(found.mode) or stat.S_ISBLK(found.mode):
        out.devmajor, out.devminor = os.major(found.device), os.minor(found.device)
    return out


def platform_of(told: common_pb2.Platform) -> Platform:
    """A platform out of its message."""
    from dockc.oci import platform as platforms

    return platforms.normalize(Platform(told.OS, told.Architecture, told.Variant, told.OSVersion, tuple(told.OSFeatures)))


