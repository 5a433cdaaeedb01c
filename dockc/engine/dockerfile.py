"""The frontend `dockerfile.v0`: the compiler of this package, its questions answered by the bridge."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from dockc.base.aside import together
from dockc.engine.bridge import Bridge, Ref, Result
from dockc.engine.compile import compile_all
from dockc.engine.export import platforms_json
from dockc.engine.failure import FailedStep
from dockc.engine.request import CompileRequest, Inputs, check_given, foreign_syntax, inputs_of, is_url, wants_index
from dockc.engine.world import answer, converse_with, identified, question
from dockc.errors import CompileError, DockcError, SolveError
from dockc.oci import platform as platforms
from dockc.oci.keys import BASE_CONFIG, CONFIG, EPOCH, PLATFORMS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from dockc.compiler.checks import Warning
    from dockc.compiler.compile import Compiled
    from dockc.compiler.questions import Answers, Request
    from dockc.llb.definition import Definition
    from dockc.runtime.session.files import Directory

#: What a client may ask of this frontend beyond building, by `frontend.caps`.
_CAPABILITIES = frozenset(
    f"moby.buildkit.frontend.{one}" for one in ("inputs", "subrequests", "contexts", "gitquerystring")
)
#: Options that say what named contexts are.
_OF_CONTEXTS = ("context:", "input-metadata:", "local-sessionid:", "image-resolve-mode")


async def dockerfile(bridge: Bridge) -> Result:
    """Read the Dockerfile, compile it for every platform, and give what the build is to become.

    Raises:
        DockcError: the file cannot be read or is wrong, or something cannot be found out.
    """
    attrs = dict(bridge.request.attrs)
    given = await bridge.work.blocking(bridge.inputs) if bridge.request.inputs else {}
    if is_url(attrs.get("context", "")) and "dockerfilekey" not in attrs:
        reading, data = await _fetched(bridge, attrs)
    else:
        reading, data = await _read(bridge, attrs, given)
    bridge.steps.dockerfile(data)
    inputs = await bridge.work.compiling(
        lambda: inputs_of(attrs, data, stores=bridge.session.stores, check_syntax=False, given=given)
    )
    foreign = foreign_syntax(inputs.front, attrs)
    if not foreign:
        _check_caps(attrs.get("frontend.caps", ""))
    if foreign and "cmdline" not in attrs:
        if bridge.request.locked or bridge.request.answers is not None:
            raise DockcError(f"the frontend {foreign} is not the built-in one, which alone knows locks and answers")
        return await _by_another(bridge, attrs, inputs, foreign)
    if "requestid" in attrs:
        from dockc.engine.subrequests import answer as answered

        ask = _asking(bridge)
        metadata = await answered(
            attrs["requestid"], inputs, lambda talk: converse_with(talk, ask, run=bridge.work.compiling)
        )
        return Result({}, metadata)
    found: list[Warning] = []
    try:
        compiled, bridge.answers = await _compile(bridge, inputs, found)
    except CompileError:
        bridge.steps.found(reading, inputs.front.source, found)
        raise
    bridge.steps.warn(reading, compiled)
    return await _result(bridge, compiled)


class UnknownCapability(DockcError):
    """A client asks for what this frontend does not know; `capability` is its name."""

    def __init__(self, capability: str) -> None:
        super().__init__(f"unsupported frontend capability {capability}")
        self.capability = capability


def _check_caps(wanted: str) -> None:
    """Refuse what is not known, so that the client may try another way.

    Raises:
        UnknownCapability: which it is.
    """
    for one in filter(None, wanted.split(",")):
        if one.removesuffix("+forward") not in _CAPABILITIES:
            raise UnknownCapability(one.removesuffix("+forward"))


async def named(bridge: Bridge, image: str) -> Result:
    """What a named context of the request has in the place of an image, with a config as if it was one.

    Raises:
        DockcError: it cannot be had.
    """
    given = await bridge.work.blocking(bridge.inputs) if bridge.request.inputs else {}
    attrs = {key: value for key, value in bridge.request.attrs.items() if key.startswith(_OF_CONTEXTS)}
    file = f"FROM {image}\n".encode()
    inputs = await bridge.work.compiling(
        lambda: inputs_of(attrs, file, stores=bridge.session.stores, check_syntax=False, given=given)
    )
    (compiled,), _ = await _compile(bridge, inputs)
    return Result({"": await bridge.load(compiled.definition)}, {CONFIG: compiled.image_json})


async def _by_another(bridge: Bridge, attrs: dict[str, str], inputs: Inputs, wanted: str) -> Result:
    """What the frontend makes that the file asks for; where it cannot be had, the error shows who asks.

    Raises:
        DockcError: it cannot be had, or it says that the build failed.
    """
    try:
        attrs = {**attrs, "source": wanted.split(" ", 1)[0], "cmdline": wanted}
        return await bridge.solve(frontend="gateway.v0", attrs=attrs, inputs=bridge.request.inputs)
    except DockcError as exc:
        directive = next((one for one in inputs.front.parsed.file.directives if one.name == "syntax"), None)
        if directive is None or getattr(exc, "places", None) or isinstance(exc, CompileError):
            raise
        source = inputs.front.source
        raise FailedStep(
            SolveError(exc.message, hint=exc.hint),
            name="",
            places=((source.name, source.text, ((directive.line, directive.line),)),),
        ) from exc


async def _result(bridge: Bridge, compiled: tuple[Compiled, ...]) -> Result:
    refs: dict[str, Ref | None] = {}
    metadata: dict[str, bytes] = {}
    named = tuple((platforms.format_all(one.platform), one.platform) for one in compiled)
    attrs = bridge.request.attrs
    asked = wants_index(attrs)
    for one, (name, _) in zip(compiled, named, strict=True):
        key = name if asked or len(compiled) > 1 else ""
        refs[key] = await bridge.load(one.definition)
        suffix = f"/{key}" if key else ""
        metadata[CONFIG + suffix] = one.image_json
        if one.base_image is not None:
            metadata[BASE_CONFIG + suffix] = one.base_image.marshal()
        if one.epoch is not None:
            metadata[EPOCH + suffix] = str(one.epoch.seconds).encode()
    metadata[PLATFORMS] = platforms_json(named)
    return Result(refs, metadata)


# --- the file -------------------------------------------------------------------------------------------


async def _read(bridge: Bridge, attrs: dict[str, str], given: Mapping[str, Definition]) -> tuple[str, bytes]:
    """The Dockerfile out of the directory that the client lends for it, or of a graph; also the digest of the step that
    read it.
    """
    if "dockerfilekey" not in attrs and "dockerfile" in given:
        return await _out_of(bridge, given["dockerfile"], attrs.get("filename", ""))
    key = attrs.get("dockerfilekey", "dockerfile")
    if bridge.judges:  # the directory is a source like any other, which rules may forbid or put another one in place of
        return await _out_of(bridge, _judged_directory(attrs, key), attrs.get("filename", ""))
    lent = await _lent(bridge, key)
    name = attrs.get("filename", "Dockerfile")
    shown = PurePosixPath(name).name if lent is None else lent.shown or PurePosixPath(name).name
    with bridge.steps.step(f"[internal] load build definition from {shown}") as reading:
        if lent is None:
            raise DockcError(
                f"failed to read dockerfile: open {name}: no such file or directory",
                hint="The client lends no directory with it.",
            )
        directory = lent

        def read() -> bytes:
            try:
                return directory.read(name)
            except DockcError:
                other = directory.find("dockerfile") if "filename" not in attrs else None
                if other is None:
                    raise
                return other

        return reading, await bridge.work.blocking(read)


def _judged_directory(attrs: Mapping[str, str], key: str) -> Definition:
    """The Dockerfile's directory as a graph, cut down to what is read of it."""
    from dockc import llb
    from dockc.llb import attrs as A  # noqa: N812

    name = attrs.get("filename", "Dockerfile")
    return llb.local(
        key,
        session=attrs.get(f"local-sessionid:{key}", ""),
        follow=(name, f"{name}.dockerignore", "dockerfile"),
        shared_key_hint=key,
        differ=A.DIFFER_NONE,
    ).marshal()


def _of_session(bridge: Bridge, name: str) -> Directory | None:
    """A directory of the client, or of the other session that the request names for it. Blocks."""
    session = bridge.session
    other = bridge.request.attrs.get(f"local-sessionid:{name}", "")
    directories = session.others(other) if other and session.others is not None else None
    return (session.directories if directories is None else directories).get(name)


async def _lent(bridge: Bridge, name: str) -> Directory | None:
    return await bridge.work.blocking(lambda: _of_session(bridge, name))


async def _out_of(bridge: Bridge, definition: Definition, filename: str) -> tuple[str, bytes]:
    check_given(definition)
    ref = await bridge.load(definition)
    shown = filename or "Dockerfile"
    with bridge.steps.step(f"[internal] load build definition from {shown}") as reading:
        for name in (filename,) if filename else ("Dockerfile", "dockerfile"):
            data = None if ref is None else await bridge.find_file(ref, name)
            if data is not None:
                return reading, data
        raise DockcError(
            f"failed to read dockerfile: open {shown}: no such file or directory",
            hint="Looked for it in the graph that came with the request.",
        )


async def _fetched(bridge: Bridge, attrs: dict[str, str]) -> tuple[str, bytes]:
    """The Dockerfile of a remote context, which is fetched by a build of its own: one copy out of the context.

    Raises:
        DockcError: the context cannot be fetched, or has no Dockerfile.
    """
    context, given = attrs["context"], attrs.get("filename", "")
    name = given or "Dockerfile"
    # A URL may be that of a Dockerfile itself; the compiler knows its content as `context`.
    # Whatever it is called there; a glob may match nothing.
    sources = [_as_glob(given) if given else "[Dd]ockerfile", "contex[t]"]
    copy = b"FROM scratch\nCOPY " + json.dumps([*sources, "/"]).encode() + b"\n"
    inputs = inputs_of({"context": context}, copy)
    async with bridge.apart() as quiet:
        (compiled,), _ = await _compile(quiet, inputs)
        ref = await quiet.load(compiled.definition)
        with bridge.steps.step(f"[internal] load build definition from {name} of {context}") as reading:
            if ref is None:
                raise DockcError(f"failed to read dockerfile: {context} is empty")
            for one in (PurePosixPath(name).name, "dockerfile", "context"):
                data = await quiet.find_file(ref, one)
                if data is not None:
                    return reading, data
            raise DockcError(
                f"failed to read dockerfile: open {name}: no such file or directory",
                hint=f"Looked for it in {context}.",
            )


def _as_glob(name: str) -> str:
    """A pattern that matches this name alone, but is no error where there is none."""
    special = "".join("\\" + char if char in "*?[]\\" else char for char in name[:-1])
    last = name[-1:]
    return special + (f"[{last}]" if last not in "^]\\-!" else "\\" + last)


# --- compile --------------------------------------------------------------------------------------------


class _NotFound(DockcError):
    """An image cannot be looked up."""


def _asking(bridge: Bridge) -> Callable[[tuple[Request, ...]], Awaitable[Answers]]:
    """Answers the compiler's questions on the loop, all of one round at once."""
    from dockc.compiler.questions import Answers, ContextRequest, ImageAnswer, ImageRequest, Unanswered, describe
    from dockc.llb import attrs as A  # noqa: N812

    request, steps = bridge.request, bridge.steps
    resolver = bridge.resolver()

    async def judged(one: Request) -> Request | Answers:
        """What is to be asked in its place, or the answer where that is no image any more."""
        known = identified(one) if bridge.judges else None
        if known is None:
            return one
        platform = one.platform if isinstance(one, ImageRequest) else None
        becomes = await bridge.judge(*known, platform)
        if becomes == known:
            return one
        if isinstance(one, ImageRequest) and not becomes[0].startswith((A.SCHEME_IMAGE, A.SCHEME_OCI_LAYOUT)):
            return Answers(images={one.key: ImageAnswer(one.ref, becomes=becomes[0])})
        return question(*becomes, platform)

    async def answer_one(one: Request) -> Answers:
        name = f"[internal] load metadata for {one.ref if isinstance(one, ImageRequest) else describe(one)}"
        found = Answers()
        try:
            with steps.step(name) as digest:
                asked = await judged(one)
                if isinstance(asked, Answers):
                    return asked
                found = await answer([one], resolver, instead=[asked])
                for image in found.images.values():
                    if image.stored:
                        steps.log(digest, f"the store's own image is used: {image.stored}\n")
                    if image.error:
                        raise _NotFound(
                            image.error.removeprefix(f"failed to resolve source metadata for {image.ref}: ")
                        )
        except _NotFound:
            pass  # the step has told; the compiler knows which line asks, and whether it matters
        return found

    def find(files: list[ContextRequest]) -> Answers:
        found: dict[tuple[str, str], bytes | None] = {}
        for one in files:
            lent = _of_session(bridge, one.name)
            found |= {(one.name, name): None if lent is None else lent.find(name) for name in one.files}
        return Answers(files=found)

    async def ask(requests: tuple[Request, ...]) -> Answers:
        files = [one for one in requests if isinstance(one, ContextRequest)]
        others = [one for one in requests if not isinstance(one, ContextRequest)]
        if others and (request.locked or (request.answers is not None and not request.offline)):
            raise Unanswered(others)
        found = await bridge.work.blocking(lambda: find(files)) if files else Answers()
        for part in await together(*(answer_one(one) for one in others)):
            found = found.merged(part)
        return found

    return ask


async def _compile(
    bridge: Bridge, inputs: Inputs, warnings: list[Warning] | None = None
) -> tuple[tuple[Compiled, ...], Answers]:
    """Compile in threads that never wait."""
    from dockc.compiler.questions import Answers

    request = bridge.request
    logs: list[str] = []
    asked = CompileRequest(
        attrs=request.attrs,
        level=request.level,
        passes=request.passes,
        squash=request.squash,
        locked=Path(request.locked) if request.locked else None,
        offline=request.offline,
    )
    conversation = compile_all(asked, inputs, logs.append, answers=request.answers or Answers(), warnings=warnings)
    compiled = await converse_with(conversation, _asking(bridge), run=bridge.work.compiling)
    for text in logs:
        bridge.steps.say(text)
    return compiled
