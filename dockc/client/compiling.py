"""Compiling for a builder elsewhere: what the compiler asks is asked of the builder, and the graphs go to it.

Whoever drives a build over `LLBBridge` uses it: `dockc build` with a builder, and dockc's compiler as a frontend in an
image.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from dockc.base.aside import together
from dockc.compiler.questions import (
    Answers,
    ContextRequest,
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
from dockc.engine.request import CompileRequest, Inputs, wants_index
from dockc.engine.world import converse_with
from dockc.errors import CompileError, Fault
from dockc.golang.times import Time
from dockc.oci import platform as platforms
from dockc.oci.descriptor import platform_to_json
from dockc.oci.keys import BASE_CONFIG, CONFIG, PLATFORMS
from dockc.protocol import platforms as wire
from dockc.protocol.errors import RemoteError
from dockc.rpc.pb import common_pb2, gateway_pb2

if TYPE_CHECKING:
    from dockc.client.control import Bridge
    from dockc.compiler.compile import Compiled
    from dockc.solver.progress import StatusSink


class Compiling:
    """Makes the result of a build: compile here, solve there.

    Args:
        request: what is compiled.
        inputs: with its files read.
        session: whose the local sources are.
        sink: takes progress that the builder does not know of.
        files: answers what is asked of files that are not here; None: all are.
        warned: takes what the checks found; None shows it in the progress.
    """

    def __init__(
        self,
        request: CompileRequest,
        inputs: Inputs,
        session: str,
        sink: StatusSink,
        *,
        files: Callable[[ContextRequest], Awaitable[Answers]] | None = None,
        warned: Callable[[Sequence[Compiled]], Awaitable[None]] | None = None,
    ) -> None:
        self._request, self._inputs, self._session = request, inputs, session
        self._steps = Steps(sink)
        self._files, self._warned = files, warned

    async def drive(self, bridge: Bridge) -> gateway_pb2.Result:
        """Compile, solve every platform, and put the result together."""
        name = self._inputs.front.source.name
        with self._steps.step(f"[internal] load build definition from {name}") as reading:
            pass
        logs: list[str] = []

        inputs = for_builder(self._inputs, bridge)
        compiled, _ = await converse_with(compile_all(self._request, inputs, logs.append), self.asking(bridge, inputs))
        for text in logs:
            self._steps.say(text)
        if self._warned is not None:
            await self._warned(compiled)
        else:
            self._steps.warn(reading, compiled)
        results = await together(*(self._solve(bridge, one) for one in compiled))
        return self._result(compiled, results)

    def asking(self, bridge: Bridge, inputs: Inputs) -> Callable[[tuple[Request, ...]], Awaitable[Answers]]:
        """Answers the compiler's questions: of files here, of everything else by the builder."""

        async def ask(requests: tuple[Request, ...]) -> Answers:
            if self._files is None:
                answers, others = at_hand(self._request, inputs, requests)
            else:
                answers, others = Answers(), requests
            for part in await together(*(self._answer_one(bridge, one) for one in others)):
                answers = answers.merged(part)
            return answers

        return ask

    async def _answer_one(self, bridge: Bridge, request: Request) -> Answers:
        if isinstance(request, ContextRequest) and self._files is not None:
            return await self._files(request)
        if isinstance(request, ImageRequest):
            return await self._image(bridge, request)
        if isinstance(request, HttpRequest):
            source = common_pb2.SourceOp(identifier=request.url)
            if request.checksum:
                source.attrs["http.checksum"] = request.checksum
            answer = await self._resolve(bridge, gateway_pb2.ResolveSourceMetaRequest(Source=source), request)
            modified = (
                str(Time.from_ns(answer.HTTP.LastModified.seconds * 10**9)) if answer.HTTP.LastModified.seconds else ""
            )
            return Answers(http={request.key: HttpAnswer(answer.HTTP.Checksum, modified)})
        if isinstance(request, GitRequest):
            source = common_pb2.SourceOp(identifier=request.identifier, attrs=dict(request.attrs))
            asked = gateway_pb2.ResolveSourceMetaRequest(
                Source=source, Git=gateway_pb2.ResolveSourceGitRequest(ReturnObject=True)
            )
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
            Platform=wire.to_wire(request.platform),
            LogName=request.log_name or f"load metadata for {request.ref}",
            ResolveMode=request.resolve_mode,
            Image=gateway_pb2.ResolveSourceImageRequest(),
        )
        try:
            answer = await bridge.resolve(asked)
        except RemoteError as exc:
            # The compiler knows the line that asks for the image, and whether the stage matters at all.
            return Answers(images={request.key: ImageAnswer(request.ref, error=exc.message)})
        if not answer.HasField("Image"):  # a rule of the build has put something else in its place
            return Answers(images={request.key: ImageAnswer(request.ref, becomes=answer.Source.identifier)})
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
        multi = len(compiled) > 1 or wants_index(self._request.attrs)
        named = [platforms.format_all(one.platform) for one in compiled]
        for one, ref, name in zip(compiled, refs, named, strict=True):
            suffix = f"/{name}" if multi else ""
            result.metadata[CONFIG + suffix] = one.image_json
            if one.base_image is not None:
                result.metadata[BASE_CONFIG + suffix] = one.base_image.marshal()
            if multi:
                result.refs.refs[name].CopyFrom(ref or gateway_pb2.Ref())
            else:
                result.ref.CopyFrom(ref or gateway_pb2.Ref())
        entries = [
            {"ID": name, "Platform": platform_to_json(one.platform)} for one, name in zip(compiled, named, strict=True)
        ]
        result.metadata[PLATFORMS] = json.dumps({"Platforms": entries}, separators=(",", ":")).encode()
        return result


def for_builder(inputs: Inputs, bridge: Bridge) -> Inputs:
    """The inputs, for the platforms that the builder's workers have."""
    found = tuple(wire.from_wire(one) for worker in bridge.workers for one in worker.platforms)
    if not found:
        return inputs
    from dockc.base.record import replace

    options = replace(inputs.options, build_platforms=found, host_platform=found[0])
    return Inputs(inputs.front, options, inputs.directories, inputs.stores)
