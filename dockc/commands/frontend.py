"""`dockc-frontend`: dockc's compiler as a frontend in an image, for a `# syntax=` line of any builder that speaks
BuildKit's protocol.

The builder runs it with its standard streams as the connection. It asks for the Dockerfile, compiles it, and names the
result.
"""

from __future__ import annotations

import os
import sys

from dockc.errors import DockcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from dockc.client.control import Bridge
    from dockc.compiler.compile import Compiled
    from dockc.compiler.questions import Answers, ContextRequest
    from dockc.llb.definition import Definition
    from dockc.rpc.pb import gateway_pb2

_OPTION = "BUILDKIT_FRONTEND_OPT_"


def main() -> None:
    """Entry point; ends the process with 0 once the builder has its answer, be it an error."""
    if sys.stdin is None or os.isatty(0):
        sys.stderr.write("error: a builder runs this program, from the image that a `# syntax=` line names\n")
        sys.exit(2)
    # The standard output is the connection: nothing else may write to it.
    read, write = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    import asyncio

    try:
        status = asyncio.run(serve(read, write, os.environ))
    except DockcError as error:
        sys.stderr.write(f"error: {error.message}\n")
        status = 1
    sys.exit(status)


def options(environ: Mapping[str, str]) -> dict[str, str]:
    """The options that the builder hands over."""
    found = {}
    for name, text in environ.items():
        if name.startswith(_OPTION):
            key, _, value = text.partition("=")
            found[key] = value
    return found


async def serve(read: int, write: int, environ: Mapping[str, str]) -> int:
    """Make the result and name it.

    Raises:
        DockcError: the builder cannot be spoken to.
    """
    from dockc.client.address import Link
    from dockc.client.control import Bridge, Remote, tell
    from dockc.rpc.pb import gateway_pb2
    from dockc.rpc.transports import on_descriptors

    channel = await on_descriptors(read, write)
    bridge = Bridge(Remote(Link(channel)), "")
    back = gateway_pb2.ReturnRequest()
    try:
        await bridge.ping()
        back.result.CopyFrom(await Frontend(bridge, options(environ), environ.get("BUILDKIT_SESSION_ID", "")).result())
    except DockcError as error:
        tell(back.error, error)
    await bridge.hand_back(back)
    channel.flush()
    channel.shut()
    return 0


class Frontend:
    """One build as a frontend drives it."""

    def __init__(self, bridge: Bridge, attrs: dict[str, str], session: str) -> None:
        self._bridge, self._attrs, self._session = bridge, attrs, session
        self._digest = ""

    async def result(self) -> gateway_pb2.Result:
        """Compile what the options name, or answer the question that they ask.

        Raises:
            DockcError: the file is wrong, or the builder says that something failed.
        """
        from dockc.client.compiling import Compiling, for_builder
        from dockc.engine.request import CompileRequest, inputs_of, is_url
        from dockc.llb.definition import Definition
        from dockc.rpc.pb import gateway_pb2

        attrs = {key: value for key, value in self._attrs.items() if key not in {"source", "cmdline"}}
        if is_url(attrs.get("context", "")):
            raise DockcError("remote contexts are not supported by this frontend yet", hint="Build from a directory.")
        given = {name: Definition.parse(data) for name, data in (await self._bridge.inputs()).items()}
        lent = "dockerfilekey" in attrs or "dockerfile" not in given
        data = await self._dockerfile(attrs.get("filename", ""), None if lent else given["dockerfile"])
        inputs = inputs_of(attrs, data, check_syntax=False, given=given)
        compiling = Compiling(
            CompileRequest(attrs=attrs),
            inputs,
            self._session,
            lambda status: None,
            files=self._files,
            warned=self._warned,
        )
        if "requestid" in attrs:
            from dockc.engine.subrequests import answer
            from dockc.engine.world import converse_with

            inputs = for_builder(inputs, self._bridge)
            ask = compiling.asking(self._bridge, inputs)
            found = await answer(attrs["requestid"], inputs, lambda talk: converse_with(talk, ask))
            return gateway_pb2.Result(metadata=found)
        return await compiling.drive(self._bridge)

    async def _dockerfile(self, name: str, given: Definition | None) -> bytes:
        from dockc.engine.request import check_given

        wanted = [name] if name else ["Dockerfile", "dockerfile"]
        if given is not None:
            check_given(given)
            found = await self._read_from(given, wanted)
        else:
            files = [*wanted, f"{wanted[0]}.dockerignore"]
            found = await self._read(
                self._attrs.get("dockerfilekey", "dockerfile"),
                files,
                name=f"[internal] load build definition from {wanted[0]}",
            )
        data = next((found[one] for one in wanted if found[one] is not None), None)
        if data is None:
            raise DockcError(f"failed to read dockerfile: open {wanted[0]}: no such file or directory")
        return data

    async def _files(self, request: ContextRequest) -> Answers:
        from dockc.compiler.questions import Answers

        found = await self._read(request.name, request.files, name=f"[internal] load {' and '.join(request.files)}")
        return Answers(files={(request.name, file): data for file, data in found.items()})

    async def _read(self, local: str, files: Sequence[str], *, name: str) -> dict[str, bytes | None]:
        """Files of a directory that the client lends, None for those that are not there."""
        from dockc.llb.author import state

        made = state.local(
            local, session=self._session, follow=tuple(files), shared_key_hint=f"{local}:{','.join(files)}", name=name
        )
        return await self._read_from(made.marshal(), files)

    async def _read_from(self, definition: Definition, files: Sequence[str]) -> dict[str, bytes | None]:
        from dockc.protocol.errors import RemoteError
        from dockc.rpc.pb import gateway_pb2

        self._digest = self._digest or next((digest for digest, _ in definition.ops), "")
        result = await self._bridge.solve(gateway_pb2.SolveRequest(Definition=definition.to_bytes(), Evaluate=True))
        found: dict[str, bytes | None] = {}
        for file in files:
            try:
                found[file] = await self._bridge.read_file(result.ref.id, file)
            except RemoteError as error:
                if "no such file or directory" not in error.message:
                    raise
                found[file] = None
        return found

    async def _warned(self, compiled: Sequence[Compiled]) -> None:
        from dockc.rpc.pb import gateway_pb2

        told: dict[str, Any] = {}
        for one in compiled[:1]:  # as the reference: of several platforms the first one speaks
            source = one.front.source
            for warning in one.warnings:
                request = gateway_pb2.WarnRequest(
                    digest=self._digest, level=1, short=warning.short.encode("utf-8", "replace"), url=warning.url
                )
                if warning.description:
                    request.detail.append(warning.description.encode())
                request.info.filename, request.info.data, request.info.language = source.name, source.data, "Dockerfile"
                for line in warning.lines:
                    span = request.ranges.add()
                    span.start.line = span.end.line = line
                told.setdefault(warning.short, request)
        for request in told.values():
            await self._bridge.warn(request)
