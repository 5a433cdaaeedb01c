"""Asks the world what the compiler wants to know: its requests to the runtime's resolver, findings back to answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

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
from dockc.engine.connect import registry_client
from dockc.errors import CompileError, DockcError, Fault, without_credentials

if TYPE_CHECKING:
    from dockc.compiler.questions import Asking
    from dockc.engine.request import Inputs
    from dockc.oci.platform import Platform
    from dockc.runtime.source.found import Found
    from dockc.runtime.source.resolve import Resolver

T = TypeVar("T")


class Run(Protocol):
    """Runs a function in a thread."""

    def __call__(self, fn: Callable[[], T], /) -> Awaitable[T]:
        """What the function gives."""
        ...


class _Ended:
    """The value that a conversation returned: a `StopIteration` cannot cross from a thread to a task."""

    def __init__(self, value: Any) -> None:
        self.value = value


async def converse_with(
    conversation: Asking[T], ask: Callable[[tuple[Request, ...]], Awaitable[Answers]], *, run: Run = asyncio.to_thread
) -> T:
    """Carry a conversation of the compiler to its end on an event loop.

    The compiler works in a thread from one question to the next; while `ask` looks for the answers, no thread is
    held. What `ask` raises is raised at the question. Cancelling ends the conversation at its next question at the
    latest.

    Args:
        conversation: not begun yet.
        ask: finds answers.
        run: runs a function in a thread.

    Raises:
        DockcError: what `ask` raises, or the conversation itself.
    """
    advance: Callable[[], tuple[Request, ...]] = partial(next, conversation)
    while True:
        wanted = await run(partial(_advanced, advance))
        if isinstance(wanted, _Ended):
            value: T = wanted.value
            return value
        try:
            answers = await ask(wanted)
        except Exception as error:
            advance = partial(conversation.throw, error)
        else:
            advance = partial(conversation.send, answers)


def _advanced(advance: Callable[[], tuple[Request, ...]]) -> tuple[Request, ...] | _Ended:
    """The next questions, or the end."""
    try:
        return advance()
    except StopIteration as end:
        return _Ended(end.value)


def ask_world(requests: Sequence[Request], inputs: Inputs, store: Path | None, *, offline: bool = False) -> Answers:
    """Answer all requests at once with a resolver of this process's own; `offline`, from this machine alone.

    Raises:
        DockcError: something cannot be found out.
    """
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.source.resolve import Resolver
    from dockc.runtime.store.place import default_root

    client = registry_client(offline=offline)
    try:
        content = ContentStore((store or default_root()) / "content")
        resolver = Resolver(content, client, locals=inputs.locals, stores=inputs.stores)
        return asyncio.run(answer(requests, resolver))
    finally:
        client.close()


def question(identifier: str, attrs: Mapping[str, str], platform: Platform | None) -> Request:
    """The compiler's question about a source, by its identifier and attributes in LLB.

    Raises:
        DockcError: nobody can say anything about such a source.
    """
    from dockc.llb import attrs as A  # noqa: N812
    from dockc.oci import platform as platforms
    from dockc.oci.reference import parse_normalized

    scheme, separator, rest = identifier.partition("://")
    found = platform or platforms.normalize(platforms.default())
    if identifier.startswith(A.SCHEME_IMAGE):
        ref = str(parse_normalized(rest).tag_name_only())
        return ImageRequest(ref, found, attrs.get(A.IMAGE_RESOLVE_MODE, "") or "default")
    if identifier.startswith(A.SCHEME_OCI_LAYOUT):
        return ImageRequest(rest, found, store=attrs.get(A.OCI_STORE, "") or str(parse_normalized(rest).name))
    if identifier.startswith((A.SCHEME_HTTP, A.SCHEME_HTTPS)):
        return HttpRequest(identifier, attrs.get(A.HTTP_FILENAME, ""), attrs.get(A.HTTP_CHECKSUM, ""))
    if identifier.startswith(A.SCHEME_GIT):
        return GitRequest(identifier, tuple(sorted(attrs.items())))
    raise DockcError(f"source {identifier!r}: scheme {scheme if separator else ''!r} has nothing to be asked about")


def normal(identifier: str, attrs: Mapping[str, str]) -> str:
    """The one identifier of a source by which rules know it, however it was spelt; what cannot be read is as it is.

    An image has its whole name. A repository is `git://HOST/PATH#REF:DIRECTORY` by whatever protocol it is reached, of the
    URL that is really fetched from, without who logs in and with a clean directory.
    """
    from dockc.llb import attrs as A  # noqa: N812
    from dockc.oci.reference import InvalidReference, parse_normalized

    if identifier.startswith(A.SCHEME_IMAGE):
        try:
            return A.SCHEME_IMAGE + str(parse_normalized(identifier.removeprefix(A.SCHEME_IMAGE)).tag_name_only())
        except InvalidReference:
            pass
    if identifier.startswith(A.SCHEME_GIT):
        return _normal_git(identifier.removeprefix(A.SCHEME_GIT), attrs.get(A.GIT_FULL_URL, "")) or identifier
    return identifier


def _normal_git(text: str, full: str) -> str:
    from dockc.llb import attrs as A  # noqa: N812
    from dockc.llb import giturl

    try:
        url = giturl.parse(_git_url(text))
        real = giturl.parse(_git_url(full)) if full else url
    except DockcError:
        return ""
    fragment = f"#{url.ref}" if url.ref or url.subdir else ""
    return A.SCHEME_GIT + real.identifier + fragment + (f":{url.subdir}" if url.subdir else "")


def _git_url(text: str) -> str:
    from dockc.llb import giturl

    return text if giturl.is_transport(text) else f"https://{text}"


def identified(request: Request) -> tuple[str, dict[str, str]] | None:
    """Identifier and attributes in LLB of what a question is about, the reverse of `question`; None for files."""
    from dockc.llb import attrs as A  # noqa: N812

    match request:
        case ImageRequest() if request.store:
            return A.SCHEME_OCI_LAYOUT + request.ref, {A.OCI_STORE: request.store}
        case ImageRequest():
            return A.SCHEME_IMAGE + request.ref, {}
        case HttpRequest():
            given = ((A.HTTP_FILENAME, request.filename), (A.HTTP_CHECKSUM, request.checksum))
            return request.url, {key: value for key, value in given if value}
        case GitRequest():
            return request.identifier, dict(request.attrs)
        case _:
            return None


async def answer(
    requests: Sequence[Request], resolver: Resolver, *, instead: Sequence[Request] | None = None
) -> Answers:
    """Answer all requests with `resolver`; what `instead` names is asked in their place.

    Raises:
        DockcError: something cannot be found out.
    """
    images: dict[tuple[str, str, str], ImageAnswer] = {}
    http: dict[str, HttpAnswer] = {}
    git: dict[str, GitAnswer] = {}
    for request, found in zip(requests, await resolver.answer(instead or requests), strict=True):
        if isinstance(found, DockcError):
            if isinstance(request, ImageRequest):
                # The compiler knows the line that asks for the image, and whether the stage matters at all.
                images[request.key] = ImageAnswer(request.ref, error=found.message, hint=found.hint)
                continue
            what = without_credentials(describe(request))
            message = found.message if what in found.message else f"{what}: {found.message}"
            raise CompileError(message, fault=Fault("source-not-available"), hint=found.hint) from found
        _take(request, found, images, http, git)
    return Answers(images=images, http=http, git=git)


def _take(
    request: Request,
    found: Found,
    images: dict[tuple[str, str, str], ImageAnswer],
    http: dict[str, HttpAnswer],
    git: dict[str, GitAnswer],
) -> None:
    from dockc.runtime.source.found import FoundGit, FoundHttp, FoundImage

    match request, found:
        case ImageRequest(), FoundImage():
            images[request.key] = ImageAnswer(found.ref, found.digest, found.config, stored=found.stored)
        case HttpRequest(), FoundHttp():
            http[request.key] = HttpAnswer(found.digest, found.last_modified, found.newest, found.archive)
        case GitRequest(), FoundGit():
            git[request.identifier] = GitAnswer(found.commit, found.commit_object)
        case _:
            # Rules have put a source of another kind in the place of the one that was asked about.
            what = without_credentials(describe(request))
            raise CompileError(
                f"{what}: a source policy puts something of another kind in its place", fault=Fault("bad-context")
            )
