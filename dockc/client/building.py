"""`dockc build` on a builder elsewhere: we compile, it solves and exports.

What the compiler asks of registries is asked of the builder, with its cache and the credentials that the session lends. The graphs go to
it, one for each platform, and the image configs with the result.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.client.address import Address, Tls, connect
from dockc.client.control import Bridge, BuildSpec, CacheEntry, Export, Remote, through_frontend
from dockc.client.exports import DirectoryReceiver, FileReceiver, Receiver
from dockc.client.session import Session
from dockc.compiler.questions import (
    Answers,
    GitAnswer,
    GitRequest,
    HttpAnswer,
    HttpRequest,
    ImageAnswer,
    ImageRequest,
    Request,
    describe,
)
from dockc.engine.compile import at_hand, compile_all
from dockc.engine.progress import Steps
from dockc.engine.request import Asked, Inputs, load
from dockc.engine.world import converse_with
from dockc.errors import CompileError, Fault, UsageError
from dockc.golang.times import Time
from dockc.oci import platform as platforms
from dockc.oci.descriptor import platform_to_json
from dockc.protocol.errors import RemoteError
from dockc.rpc.pb import common_pb2, gateway_pb2

if TYPE_CHECKING:
    from dockc.compiler.compile import Compiled
    from dockc.oci.platform import Platform
    from dockc.runtime.exporter.options import Output
    from dockc.solver.progress import StatusSink

_CONFIG, _BASE, _PLATFORMS = "containerimage.config", "containerimage.base.config", "refs.platforms"


class Place:
    """Where a build goes: an address and certificates.

    Attributes:
        address: the builder's.
        tls: for it.
        limit: seconds to wait for the connection.
    """

    def __init__(self, address: Address, tls: Tls | None = None, limit: float = 20) -> None:
        self.address, self.tls, self.limit = address, tls, limit


async def build(
    place: Place,
    request: Asked,
    sink: StatusSink,
    *,
    frontend: str = "",
    cache_from: Sequence[CacheEntry] = (),
    cache_to: Sequence[CacheEntry] = (),
    stores: Mapping[str, Path] | None = None,
    attests: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Build on a builder; what its exporters answer.

    Args:
        place: the builder.
        request: as for a local build.
        sink: takes the progress.
        frontend: makes the graph on the builder's side (`dockerfile.v0`, `gateway.v0`); "" compiles here.
        cache_from: caches to read.
        cache_to: caches to write.
        stores: directories of local caches, by store name.
        attests: attestations that the builder makes (`attest:provenance` and the like).

    Raises:
        RemoteError: a step failed, or the builder says no.
        DockcError: anything else that can go wrong on purpose.
    """
    inputs = await asyncio.to_thread(load, request.compile)
    session = _session(request, inputs)
    outputs = [exported(output, request.names) for output in request.outputs or _default(request.names)]
    exports = tuple(one for one in outputs if one is not None)
    lent = {**(stores or {}), **{f"oci:{name}": path for name, path in inputs.stores.items()}}
    for one in exports:
        if one.store:
            if "export" in lent:
                raise UsageError("one output alone can be an OCI directory")
            lent["export"] = Path(one.store)
    session.lend_stores(lent)
    spec = BuildSpec(
        session=session,
        exports=exports,
        frontend=frontend,
        frontend_attrs={**(_frontend_attrs(request, inputs) if frontend else {}), **(attests or {})},
        entitlements=tuple(sorted(request.allow)),
        cache_imports=tuple(cache_from),
        cache_exports=tuple(cache_to),
    )
    link = await connect(place.address, place.tls, limit=place.limit)
    try:
        remote = Remote(link)
        if frontend:
            response = await remote.build(spec, lambda bridge: through_frontend(bridge, spec), sink)
        else:
            compiling = _Compiling(request, inputs, session.id, sink)
            response = await remote.build(spec, compiling.drive, sink)
    finally:
        await link.close()
    for one in exports:
        if one.store:
            await asyncio.to_thread(index, one, response)
    return response


def _default(names: Sequence[str]) -> tuple[Output, ...]:
    from dockc.runtime.exporter.options import Output

    return (Output("image"),) if names else ()


def _session(request: Asked, inputs: Inputs) -> Session:
    from dockc.runtime.registry.credentials import DockerConfig
    from dockc.runtime.session.secrets import ClientSecrets, ClientSsh, parse_secret

    session = Session(shared_key=_shared_key(request))
    session.lend_directories(inputs.locals)
    session.lend_credentials(DockerConfig.load())
    if request.secrets:
        session.lend_secrets(ClientSecrets([parse_secret(text) for text in request.secrets]))
    if request.ssh:
        session.lend_ssh(ClientSsh(request.ssh))
    session.lend_uploads(request.uploads)
    return session


def _shared_key(request: Asked) -> str:
    """The same for every build of a directory from this machine: what was sent before is not sent again."""
    import hashlib
    import os
    import socket

    text = f"{socket.gethostname()}:{os.getuid()}:{os.path.realpath(request.compile.context)}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


# --- outputs ------------------------------------------------------------------------------------------


def exported(output: Output, names: Sequence[str]) -> Export | None:
    """An output in the builder's words, and what takes it here; None where nothing is to be made.

    Raises:
        UsageError: it makes no sense with a builder elsewhere.
    """
    if output.type == "cacheonly":
        return None
    attrs = dict(output.attrs)
    if names and output.type in {"image", "oci", "docker"} and "name" not in attrs:
        attrs["name"] = ",".join(names)
    receiver: Receiver | None = None
    store = ""
    match output.type:
        case "local":
            receiver = DirectoryReceiver(output.dest, delete=attrs.get("mode", "").strip().lower() == "delete")
        case "tar":
            receiver = FileReceiver(output.dest or "-")
        case "oci" | "docker" if output.archive:
            receiver = FileReceiver(output.dest or ("" if output.type == "docker" else "-"))
        case "oci" | "docker":
            store = output.dest
    return Export(output.type, attrs, receiver, store, tuple(filter(None, attrs.get("name", "").split(","))))


def index(export: Export, response: Mapping[str, str]) -> None:
    """Name the image that the builder wrote in the index of the OCI directory."""
    import base64
    from datetime import UTC, datetime

    from dockc.oci.descriptor import Descriptor
    from dockc.oci.fields import decode
    from dockc.oci.reference import parse_normalized
    from dockc.runtime.exporter.archive import write_index

    text = response.get("containerimage.descriptor", "")
    if not text:
        return
    root = Descriptor.from_fields(decode(base64.b64decode(text), "containerimage.descriptor"))
    created = root.annotations.get("org.opencontainers.image.created") or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    write_index(Path(export.store), root, [parse_normalized(name).tag_name_only() for name in export.names], created)


# --- compiling ----------------------------------------------------------------------------------------


def _frontend_attrs(request: Asked, inputs: Inputs) -> dict[str, str]:
    """The options for a frontend on the builder's side."""
    attrs = dict(request.compile.attrs)
    for name, value in request.compile.contexts.items():
        if value.startswith("oci-layout://"):
            raise UsageError(f"the named context {name} is an OCI layout, which only our own compiler sends", hint="Leave --frontend out.")
        attrs[f"context:{name}"] = f"local:{name}" if name in inputs.directories else value
    if "context" not in inputs.directories and "context" not in attrs:
        attrs["context"] = request.compile.context
    if "filename" not in attrs and inputs.front.source.name:
        attrs["filename"] = inputs.front.source.name
    return attrs


class _Compiling:
    """Makes the result of a build: compile here, solve there."""

    def __init__(self, request: Asked, inputs: Inputs, session: str, sink: StatusSink) -> None:
        self._request, self._inputs, self._session = request, inputs, session
        self._steps = Steps(sink)

    async def drive(self, bridge: Bridge) -> gateway_pb2.Result:
        """Compile, solve every platform, and put the result together."""
        name = self._inputs.front.source.name
        with self._steps.step(f"[internal] load build definition from {name}") as reading:
            pass
        logs: list[str] = []

        inputs = _for_builder(self._inputs, bridge)

        async def ask(requests: tuple[Request, ...]) -> Answers:
            answers, others = at_hand(self._request.compile, inputs, requests)
            for part in await asyncio.gather(*(self._answer_one(bridge, one) for one in others)):
                answers = answers.merged(part)
            return answers

        compiled, _ = await converse_with(compile_all(self._request.compile, inputs, logs.append), ask)
        for text in logs:
            self._steps.say(text)
        self._steps.warn(reading, compiled)
        results = await asyncio.gather(*(self._solve(bridge, one) for one in compiled))
        return self._result(compiled, results)

    async def _answer_one(self, bridge: Bridge, request: Request) -> Answers:
        if isinstance(request, ImageRequest):
            return await self._image(bridge, request)
        if isinstance(request, HttpRequest):
            source = common_pb2.SourceOp(identifier=request.url)
            if request.checksum:
                source.attrs["http.checksum"] = request.checksum
            answer = await self._resolve(bridge, gateway_pb2.ResolveSourceMetaRequest(Source=source), request)
            modified = str(Time.from_ns(answer.HTTP.LastModified.seconds * 10**9)) if answer.HTTP.LastModified.seconds else ""
            return Answers(http={request.url: HttpAnswer(answer.HTTP.Checksum, modified)})
        if isinstance(request, GitRequest):
            source = common_pb2.SourceOp(identifier=request.identifier, attrs=dict(request.attrs))
            asked = gateway_pb2.ResolveSourceMetaRequest(Source=source, Git=gateway_pb2.ResolveSourceGitRequest(ReturnObject=True))
            answer = await self._resolve(bridge, asked, request)
            return Answers(git={request.identifier: GitAnswer(answer.Git.Checksum, answer.Git.CommitObject)})
        raise TypeError(f"not a request: {request!r}")

    async def _resolve(
        self, bridge: Bridge, asked: gateway_pb2.ResolveSourceMetaRequest, request: Request
    ) -> gateway_pb2.ResolveSourceMetaResponse:
        try:
            return await bridge.resolve(asked)
        except RemoteError as exc:
            raise CompileError(f"{describe(request)}: {exc.message}", fault=Fault("source-not-available")) from exc

    async def _image(self, bridge: Bridge, request: ImageRequest) -> Answers:
        source = common_pb2.SourceOp(identifier=f"docker-image://{request.ref}")
        if request.store:
            source.identifier = f"oci-layout://{request.ref}"
            source.attrs["oci.store"], source.attrs["oci.session"] = request.store, self._session
        asked = gateway_pb2.ResolveSourceMetaRequest(
            Source=source,
            Platform=wire_platform(request.platform),
            LogName=request.log_name or f"load metadata for {request.ref}",
            ResolveMode=request.resolve_mode,
            Image=gateway_pb2.ResolveSourceImageRequest(),
        )
        try:
            answer = await bridge.resolve(asked)
        except RemoteError as exc:
            # The compiler knows the line that asks for the image, and whether the stage matters at all.
            return Answers(images={request.key: ImageAnswer(request.ref, error=exc.message)})
        ref = answer.Source.identifier.partition("://")[2].partition("@")[0] or request.ref
        kept = request.ref if "@" in request.ref else ref
        return Answers(images={request.key: ImageAnswer(kept, answer.Image.Digest, answer.Image.Config)})

    async def _solve(self, bridge: Bridge, compiled: Compiled) -> gateway_pb2.Ref | None:
        if not compiled.definition.ops:
            return None
        request = gateway_pb2.SolveRequest(Definition=compiled.definition.to_bytes(), Evaluate=True)
        found = await bridge.solve(request)
        return found.ref if found.HasField("ref") and found.ref.id else None

    def _result(self, compiled: Sequence[Compiled], refs: Sequence[gateway_pb2.Ref | None]) -> gateway_pb2.Result:
        result = gateway_pb2.Result()
        multi = len(compiled) > 1 or _is_multi(self._request.compile.attrs)
        named = [platforms.format_all(one.platform) for one in compiled]
        for one, ref, name in zip(compiled, refs, named, strict=True):
            suffix = f"/{name}" if multi else ""
            result.metadata[_CONFIG + suffix] = one.image_json
            if one.base_image is not None:
                result.metadata[_BASE + suffix] = one.base_image.marshal()
            if multi:
                result.refs.refs[name].CopyFrom(ref or gateway_pb2.Ref())
            else:
                result.ref.CopyFrom(ref or gateway_pb2.Ref())
        entries = [{"ID": name, "Platform": platform_to_json(one.platform)} for one, name in zip(compiled, named, strict=True)]
        result.metadata[_PLATFORMS] = json.dumps({"Platforms": entries}, separators=(",", ":")).encode()
        return result


def _is_multi(attrs: Mapping[str, str]) -> bool:
    return attrs.get("multi-platform", attrs.get("build-arg:BUILDKIT_MULTI_PLATFORM", "")).lower() in {"1", "t", "true"}


def _for_builder(inputs: Inputs, bridge: Bridge) -> Inputs:
    """The inputs, for the platforms that the builder's workers have."""
    found = tuple(
        platforms.normalize(platforms.Platform(one.OS, one.Architecture, one.Variant)) for worker in bridge.workers for one in worker.platforms
    )
    if not found:
        return inputs
    from dockc.base.record import replace

    options = replace(inputs.options, build_platforms=found, host_platform=found[0])
    return Inputs(inputs.front, options, inputs.directories, inputs.stores)


def wire_platform(platform: Platform) -> common_pb2.Platform:
    """A platform as a message."""
    return common_pb2.Platform(
        OS=platform.os, Architecture=platform.architecture, Variant=platform.variant, OSVersion=platform.os_version, OSFeatures=platform.os_features
    )
