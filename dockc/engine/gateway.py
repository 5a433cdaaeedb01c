"""The gateway: `LLBBridge`'s messages to the bridge of a build.

Loaded when a frontend image or a daemon's client asks for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from dockc.base.aside import finished
from dockc.base.record import replace
from dockc.engine.bridge import LeftRef, Result
from dockc.engine.reading import Stat, read_dir, read_file, stat_file
from dockc.errors import DockcError, SolveError
from dockc.golang.modes import to_go
from dockc.llb import caps
from dockc.oci.platform import Platform
from dockc.protocol import platforms as wire
from dockc.protocol.errors import SOLVE, from_rpc, to_rpc
from dockc.protocol.names import BRIDGE
from dockc.rpc.calls import Call, Handler, only
from dockc.rpc.pb import common_pb2, gateway_pb2, session_pb2
from dockc.rpc.status import ALREADY_EXISTS, CANCELLED, INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED, RpcError
from dockc.runtime.remotecache.base import CacheEntry
from dockc.solver.progress import SourceRange

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from dockc.engine.bridge import Bridge, Ref
    from dockc.engine.containers import Container, Room
    from dockc.engine.policy import Policy
    from dockc.llb.definition import Definition
    from dockc.runtime.refs.ref import ImmutableRef

    Q = TypeVar("Q", bound=Message)

#: What the gateway can do, in the protocol's words.
FRONTEND_CAPS = (
    "solve.base", "solve.inlinereturn", "resolveimage", "resolveimage.resolvemode", "readfile", "return", "returnmap", "readdir",
    "statfile", "importcaches", "proto.refarray", "reference.output", "frontend.inputs", "gateway.solve.metadata", "frontend.caps",
    "gateway.solve.evaluate", "gateway.evaluate", "gateway.warnings", "source.metaresolver", "gateway.exec",
    "gateway.exec.extrahosts", "gateway.exec.secretenv", "gateway.exec.signals", "gateway.exec.filesystem",
    "source.metaresolver.http.checksumrequest",
)  # fmt: skip
#: Parts of LLB that this builder does not do.
_WITHOUT = frozenset(
    (
        caps.EXEC_META_CDI, caps.EXEC_META_NETWORK_PROXY, caps.ATTESTATIONS,
    )
)  # fmt: skip
LLB_CAPS = tuple(sorted(caps.ALL - _WITHOUT))
_ALGORITHMS = {
    gateway_pb2.ChecksumRequest.CHECKSUM_ALGO_SHA256: "sha256",
    gateway_pb2.ChecksumRequest.CHECKSUM_ALGO_SHA384: "sha384",
    gateway_pb2.ChecksumRequest.CHECKSUM_ALGO_SHA512: "sha512",
}
_MOST_SUFFIX = 4096
"""Bytes that a policy may have counted after a download: the end of what an OpenPGP signature signs."""


class Gateway:
    """One build as whoever speaks `LLBBridge` sees it.

    Attributes:
        bridge: to the engine.
        inputs: graphs that came beside the request.
        returned: the result that is named in the end.
    """

    def __init__(self, bridge: Bridge, workers: Sequence[common_pb2.WorkerRecord], *, name: str = "ref") -> None:
        self.bridge, self.workers, self._name = bridge, workers, name
        self.returned: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._refs: dict[str, Ref] = {}
        self._names: dict[int, str] = {}  # by identity of those in `_refs`
        self._containers: dict[str, Container] = {}
        self._left: dict[str, Ref] = {}
        self._closed = False
        self._room: Room | None = None

    def name(self, ref: Ref | None) -> str:
        """The id of a file system; "" is the empty one."""
        if ref is None:
            return ""
        key = self._names.get(id(ref))
        if key is None:
            key = self._names[id(ref)] = f"{self._name}-{len(self._refs)}"
            self._refs[key] = ref
        return key

    def find(self, key: str) -> Ref | None:
        """A file system by its id.

        Raises:
            RpcError: there is none.
        """
        if not key:
            return None
        if key not in self._refs:
            raise RpcError(f"no such ref: {key[:100]}", code=NOT_FOUND)
        return self._refs[key]

    async def ping(self, request: gateway_pb2.PingRequest) -> Message:
        """What can be asked for."""
        return gateway_pb2.PongResponse(
            FrontendAPICaps=[common_pb2.APICap(ID=one, Enabled=True) for one in FRONTEND_CAPS],
            LLBCaps=[common_pb2.APICap(ID=one, Enabled=True) for one in LLB_CAPS],
            Workers=self.workers,
        )

    async def solve(self, request: gateway_pb2.SolveRequest) -> Message:
        """Solve a graph, or let a frontend of ours make one."""
        for one in request.CacheImports:
            if one.Type and self.bridge.join_cache is not None:
                await self.bridge.join_cache(CacheEntry(one.Type, dict(one.Attrs)))
        definition: Definition | None = None
        if request.Definition:
            data = request.Definition
            definition = await self.bridge.work.blocking(lambda: parse(data))
        try:
            result = await self._bridge(request.SourcePolicies).solve(
                definition,
                frontend=request.Frontend,
                attrs=without_default_provenance(dict(request.FrontendOpt)),
                inputs=dict(request.FrontendInputs),
                evaluate=request.Evaluate,
            )
        except SolveError as error:
            raise self._to_look_into(error) from error
        if request.Final and not request.allowResultReturn:
            raise RpcError("this client is too old: it does not take results by reference", code=UNIMPLEMENTED)
        answer = gateway_pb2.SolveResponse(result=self._to_wire(result))
        if set(result.refs) == {""}:
            answer.ref = self.name(result.refs[""])
        return answer

    async def evaluate(self, request: gateway_pb2.EvaluateRequest) -> Message:
        """Solve a ref now."""
        try:
            await self.bridge.evaluate(self.find(request.Ref))
        except SolveError as error:
            raise self._to_look_into(error) from error
        return gateway_pb2.EvaluateResponse()

    def _to_look_into(self, error: SolveError) -> BaseException:
        """The error, with the ids of what the step left, of which containers can be made."""
        failed = self.bridge.failed(error)
        if failed is None:
            return error
        from google.protobuf.json_format import MessageToDict

        def ids(refs: Iterable[ImmutableRef | None]) -> list[str]:
            return ["" if one is None else self.name(self._left.setdefault(one.id, LeftRef(one))) for one in refs]

        told: dict[str, object] = {"inputIDs": ids(failed.inputs), "mountIDs": ids(failed.mounts)}
        told["op"] = MessageToDict(failed.op)
        if failed.action >= 0:
            told["file"] = {"index": str(failed.action)}
        if failed.content >= 0:
            told["cache"] = {"index": str(failed.content)}
        wire = to_rpc(error)
        return RpcError(wire.message, code=wire.code, details=[*wire.details, (SOLVE, json.dumps(told).encode())])

    async def read_file(self, request: gateway_pb2.ReadFileRequest) -> Message:
        """A part of a file."""
        offset, length = _range(request)
        data = await self.bridge.read_file(self.find(request.Ref), request.FilePath, offset=offset, length=length)
        return gateway_pb2.ReadFileResponse(Data=data)

    async def read_dir(self, request: gateway_pb2.ReadDirRequest) -> Message:
        """The entries of a directory."""
        found = await self.bridge.read_dir(self.find(request.Ref), request.DirPath, include=request.IncludePattern)
        return gateway_pb2.ReadDirResponse(entries=[to_stat(one) for one in found])

    async def stat_file(self, request: gateway_pb2.StatFileRequest) -> Message:
        """What is at a path."""
        found = await self.bridge.stat_file(self.find(request.Ref), request.Path)
        return gateway_pb2.StatFileResponse(stat=to_stat(found, name=_name_of(request.Path)))

    async def resolve_source_meta(self, request: gateway_pb2.ResolveSourceMetaRequest) -> Message:
        """What a source is now."""
        return await resolve_meta(self._bridge(request.SourcePolicies), request)

    def _bridge(self, policies: Iterable[common_pb2.Policy]) -> Bridge:
        """The bridge, with a frontend's own rules for sources beside the client's."""
        more = tuple(to_policy(one) for one in policies if one.rules)
        if not more:
            return self.bridge
        return self.bridge.asked(replace(self.bridge.request, policies=(*self.bridge.request.policies, *more)))

    async def resolve_image_config(self, request: gateway_pb2.ResolveImageConfigRequest) -> Message:
        """Digest and config of an image: what older frontends ask."""
        from dockc.llb import attrs as A  # noqa: N812
        from dockc.runtime.source.found import FoundImage

        scheme = A.SCHEME_OCI_LAYOUT if request.ResolverType == 1 else A.SCHEME_IMAGE
        attrs = (
            {A.OCI_STORE: request.StoreID} if request.ResolverType == 1 else {A.IMAGE_RESOLVE_MODE: request.ResolveMode}
        )
        name = f"[internal] {request.LogName.removeprefix('[internal] ')}" if request.LogName else ""
        platform = wire.from_wire(request.Platform) if request.HasField("Platform") else None
        found = await self.bridge.resolve_source_meta(scheme + request.Ref, attrs, platform=platform, name=name)
        if not isinstance(found, FoundImage):
            raise RpcError(f"{request.Ref} is no image", code=INVALID_ARGUMENT)
        return gateway_pb2.ResolveImageConfigResponse(Digest=found.digest, Config=found.config, Ref=found.ref)

    async def inputs(self, request: gateway_pb2.InputsRequest) -> Message:
        """Graphs that the client gave beside its request."""
        return gateway_pb2.InputsResponse(Definitions=dict(self.bridge.request.inputs))

    async def warn(self, request: gateway_pb2.WarnRequest) -> Message:
        """Show a warning."""
        self.bridge.warn(
            request.digest,
            request.short.decode("utf-8", "replace"),
            level=request.level,
            detail=[one.decode("utf-8", "replace") for one in request.detail],
            url=request.url,
            filename=request.info.filename,
            source=request.info.data,
            ranges=tuple(
                SourceRange((one.start.line, one.start.character), (one.end.line, one.end.character))
                for one in request.ranges
            ),
        )
        return gateway_pb2.WarnResponse()

    async def hand_back(self, request: gateway_pb2.ReturnRequest) -> Message:
        """The result, or the error, of the whole build."""
        if self.returned.done():
            raise RpcError("the build has its result already", code=INVALID_ARGUMENT)
        if request.HasField("error") and request.error.code:
            told = RpcError(
                request.error.message,
                code=request.error.code,
                details=[(one.type_url, one.value) for one in request.error.details],
            )
            self.returned.set_exception(from_rpc(told))
        else:
            self.returned.set_result(self._from_wire(request.result))
        return gateway_pb2.ReturnResponse()

    # --- containers -------------------------------------------------------------------------------------

    def container(self, key: str) -> Container:
        """A container by its id.

        Raises:
            RpcError: there is none.
        """
        if key not in self._containers:
            raise RpcError(f"container details for {key} not found", code=NOT_FOUND)
        return self._containers[key]

    async def processes(self, call: Call) -> None:
        """Processes in containers, as long as the call goes."""
        from dockc.engine.containers import Room, serve

        self._room = self._room or Room()
        await serve(self.container, call, self._room)

    async def new_container(self, request: gateway_pb2.NewContainerRequest) -> Message:
        """Mount file systems that processes may run in."""
        from dockc.engine.containers import Container

        if self._closed:
            raise RpcError("the build has its result already", code=INVALID_ARGUMENT)
        if request.ContainerID in self._containers:
            raise RpcError(f"container {request.ContainerID} exists", code=ALREADY_EXISTS)
        made = self._containers[request.ContainerID] = Container(self.bridge, self.find, request)
        try:
            await made.open()
        except BaseException:
            if self._containers.get(request.ContainerID) is made:
                del self._containers[request.ContainerID]
            raise
        return gateway_pb2.NewContainerResponse()

    async def release_container(self, request: gateway_pb2.ReleaseContainerRequest) -> Message:
        """End a container's processes and give its file systems up; that some still ran is told, too."""
        found = self.container(request.ContainerID)
        del self._containers[request.ContainerID]
        ran = bool(found.processes)
        await found.close()
        if ran:
            raise RpcError("context canceled", code=CANCELLED)
        return gateway_pb2.ReleaseContainerResponse()

    async def read_file_in_container(self, request: gateway_pb2.ReadFileRequest) -> Message:
        """A part of a file of a container's mount; its id stands in place of the ref."""
        offset, length = _range(request)
        root = self.container(request.Ref).root(request.MountIndex)
        read = partial(read_file, root, path=request.FilePath, offset=offset, length=length)
        return gateway_pb2.ReadFileResponse(Data=await self.bridge.work.blocking(read))

    async def read_dir_in_container(self, request: gateway_pb2.ReadDirRequest) -> Message:
        """The entries of a directory of a container's mount."""
        root = self.container(request.Ref).root(request.MountIndex)
        read = partial(read_dir, root, path=request.DirPath, include=request.IncludePattern)
        return gateway_pb2.ReadDirResponse(entries=[to_stat(one) for one in await self.bridge.work.blocking(read)])

    async def stat_file_in_container(self, request: gateway_pb2.StatFileRequest) -> Message:
        """What is at a path of a container's mount."""
        root = self.container(request.Ref).root(request.MountIndex)
        found = await self.bridge.work.blocking(partial(stat_file, root, path=request.Path))
        return gateway_pb2.StatFileResponse(stat=to_stat(found, name=_name_of(request.Path)))

    async def close(self) -> None:
        """The build is over for whoever asked here: release what was not released, whatever is cancelled meanwhile."""
        self._closed = True
        await finished(self._release_all())

    async def _release_all(self) -> None:
        while self._containers:
            await self._containers.popitem()[1].close()

    # --- results ----------------------------------------------------------------------------------------

    def _to_wire(self, result: Result) -> gateway_pb2.Result:
        """A result with ids in place of its file systems."""
        out = gateway_pb2.Result(metadata=dict(result.metadata))
        if set(result.refs) == {""}:
            out.ref.CopyFrom(self._ref(result, ""))
        elif result.refs:
            for key in result.refs:
                out.refs.refs[key].CopyFrom(self._ref(result, key))
        return out

    def _ref(self, result: Result, key: str) -> gateway_pb2.Ref:
        ref = result.refs[key]
        if ref is None:
            return gateway_pb2.Ref()
        return gateway_pb2.Ref(id=self.name(ref), **{"def": ref.definition.to_bytes()})

    def _from_wire(self, result: gateway_pb2.Result) -> Result:
        """The file systems and the metadata that a client names.

        Raises:
            RpcError: an id that was never given, or attestations.
        """
        if result.attestations:
            raise RpcError("attestations are not supported yet", code=UNIMPLEMENTED)
        kind = result.WhichOneof("result")
        match kind:
            case "ref":
                refs = {"": self.find(result.ref.id)}
            case "refDeprecated":
                refs = {"": self.find(result.refDeprecated)}
            case "refs":
                refs = {key: self.find(one.id) for key, one in result.refs.refs.items()}
            case "refsDeprecated":
                refs = {key: self.find(one) for key, one in result.refsDeprecated.refs.items()}
            case _:
                refs = {"": None}
        return Result(refs, dict(result.metadata))


async def resolve_meta(
    bridge: Bridge, request: gateway_pb2.ResolveSourceMetaRequest, *, judge: bool = True
) -> gateway_pb2.ResolveSourceMetaResponse:
    """What a source is now; without `judge`, also one that the rules may not allow.

    Raises:
        DockcError: it cannot be found out, or it is not allowed.
    """
    from dockc.llb import attrs as A  # noqa: N812
    from dockc.runtime.source.found import FoundGit, FoundHttp, FoundImage

    identifier, attrs = request.Source.identifier, dict(request.Source.attrs)
    platform = wire.from_wire(request.Platform) if request.HasField("Platform") else None
    if judge and bridge.judges:
        identifier, attrs = await bridge.judge(identifier, attrs, platform)
    answer = gateway_pb2.ResolveSourceMetaResponse(Source=common_pb2.SourceOp(identifier=identifier, attrs=attrs))
    if request.ResolveMode:
        attrs.setdefault(A.IMAGE_RESOLVE_MODE, request.ResolveMode)
    name = f"[internal] {request.LogName.removeprefix('[internal] ')}" if request.LogName else ""
    if request.HTTP.HasField("ChecksumRequest"):
        _algorithm(request.HTTP.ChecksumRequest)  # before anything is fetched for it
    if identifier.startswith(A.SCHEME_LOCAL):
        return answer  # only whether it may be used was to be known
    found = await bridge.look_up(identifier, attrs, platform=platform, name=name)
    match found:
        case FoundImage():
            answer.Image.Digest, answer.Image.Config = found.digest, found.config
        case FoundGit():
            answer.Git.Checksum, answer.Git.Ref, answer.Git.CommitChecksum = found.commit, found.ref, found.peeled
            if request.Git.ReturnObject:
                answer.Git.CommitObject, answer.Git.TagObject = found.commit_object, found.tag_object
        case FoundHttp():
            answer.HTTP.Checksum, answer.HTTP.Filename = found.digest, found.filename
            if found.last_modified:
                from dockc.golang.times import Time

                moment = Time.parse(found.last_modified)
                answer.HTTP.LastModified.seconds, answer.HTTP.LastModified.nanos = moment.seconds, moment.nanos
            if request.HTTP.HasField("ChecksumRequest"):
                wanted, told = request.HTTP.ChecksumRequest, answer.HTTP.ChecksumResponse
                told.Digest = await bridge.digest_of_download(
                    identifier, attrs, found.filename, algorithm=_algorithm(wanted), suffix=wanted.Suffix
                )
                told.Suffix = wanted.Suffix
    return answer


def _algorithm(request: gateway_pb2.ChecksumRequest) -> str:
    if len(request.Suffix) > _MOST_SUFFIX:
        raise DockcError(f"http checksum request suffix exceeds max size {_MOST_SUFFIX}")
    found = _ALGORITHMS.get(request.Algo)
    if found is None:
        raise DockcError(f"unsupported checksum algorithm {request.Algo}")
    return found


def _range(request: gateway_pb2.ReadFileRequest) -> tuple[int, int]:
    offset, length = (request.Range.Offset, request.Range.Length) if request.HasField("Range") else (0, 0)
    if offset < 0 or length < 0:
        raise RpcError(f"invalid range {offset}, {length}", code=INVALID_ARGUMENT)
    return offset, length


def _name_of(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2] or "/"


def answers(gateway: Callable[[Call], Awaitable[Gateway]]) -> dict[str, Handler]:
    """All calls by path; each is for the gateway that it belongs to."""

    def of(kind: type[Q], answer: Callable[[Gateway, Q], Awaitable[Message]]) -> Handler:
        async def handle(call: Call) -> None:
            request = await only(call, kind)
            await call.send((await answer(await gateway(call), request)).SerializeToString())

        return handle

    async def processes(call: Call) -> None:
        await (await gateway(call)).processes(call)

    found = {
        "Ping": of(gateway_pb2.PingRequest, Gateway.ping),
        "Solve": of(gateway_pb2.SolveRequest, Gateway.solve),
        "Evaluate": of(gateway_pb2.EvaluateRequest, Gateway.evaluate),
        "ReadFile": of(gateway_pb2.ReadFileRequest, Gateway.read_file),
        "ReadDir": of(gateway_pb2.ReadDirRequest, Gateway.read_dir),
        "StatFile": of(gateway_pb2.StatFileRequest, Gateway.stat_file),
        "ResolveSourceMeta": of(gateway_pb2.ResolveSourceMetaRequest, Gateway.resolve_source_meta),
        "ResolveImageConfig": of(gateway_pb2.ResolveImageConfigRequest, Gateway.resolve_image_config),
        "Inputs": of(gateway_pb2.InputsRequest, Gateway.inputs),
        "Warn": of(gateway_pb2.WarnRequest, Gateway.warn),
        "Return": of(gateway_pb2.ReturnRequest, Gateway.hand_back),
        "NewContainer": of(gateway_pb2.NewContainerRequest, Gateway.new_container),
        "ReleaseContainer": of(gateway_pb2.ReleaseContainerRequest, Gateway.release_container),
        "ExecProcess": processes,
        "ReadFileContainer": of(gateway_pb2.ReadFileRequest, Gateway.read_file_in_container),
        "ReadDirContainer": of(gateway_pb2.ReadDirRequest, Gateway.read_dir_in_container),
        "StatFileContainer": of(gateway_pb2.StatFileRequest, Gateway.stat_file_in_container),
    }
    return {BRIDGE + name: handler for name, handler in found.items()}


def own_workers() -> list[common_pb2.WorkerRecord]:
    """The worker that this process is, in the protocol's words."""
    from dockc.oci import platform as platforms

    own = platforms.normalize(platforms.default())
    found = [own, Platform("linux", "386")] if own.architecture == "amd64" else [own]
    return [common_pb2.WorkerRecord(ID="dockc", platforms=map(wire.to_wire, found))]


def parse(data: bytes) -> Definition:
    """A graph from its bytes.

    Raises:
        InvalidDefinition: it breaks a rule.
    """
    from dockc.llb.definition import Definition

    return Definition.parse(data)


def without_default_provenance(attrs: dict[str, str]) -> dict[str, str]:
    """The options without the provenance that clients ask for on their own, and only for builders that make it."""
    return {
        key: value
        for key, value in attrs.items()
        if not (key == "attest:provenance" and "inline-only=true" in value.split(","))
    }


def to_stat(found: Stat, name: str | None = None) -> session_pb2.Stat:
    """An entry as the protocol has it."""
    out = session_pb2.Stat(
        path=os.fsencode(found.path if name is None else name),
        mode=to_go(found.mode),
        uid=found.uid,
        gid=found.gid,
        size=found.size if not stat.S_ISDIR(found.mode) else 0,
        modTime=found.modified,
        linkname=os.fsencode(found.link),
    )
    if stat.S_ISCHR(found.mode) or stat.S_ISBLK(found.mode):
        out.devmajor, out.devminor = os.major(found.device), os.minor(found.device)
    return out


def _named(kind: Any, number: int) -> str:
    """The name of a value; a number that has none stays one."""
    try:
        return str(kind.Name(number))
    except ValueError:
        return str(number)


def to_policy(told: common_pb2.Policy) -> Policy:
    """Rules out of their message.

    Raises:
        RpcError: a rule that is about nothing.
    """
    from dockc.engine.policy import Policy, Rule

    if not all(one.HasField("selector") for one in told.rules):
        raise RpcError("invalid nil selector in policy", code=INVALID_ARGUMENT)

    return Policy(
        tuple(
            Rule(
                action=_named(common_pb2.PolicyAction, one.action),
                identifier=one.selector.identifier,
                match=_named(common_pb2.MatchType, one.selector.match_type),
                constraints=tuple(
                    (each.key, each.value, _named(common_pb2.AttrMatch, each.condition))
                    for each in one.selector.constraints
                ),
                becomes=one.updates.identifier,
                attrs=dict(one.updates.attrs) if one.HasField("updates") else None,
            )
            for one in told.rules
        )
    )
