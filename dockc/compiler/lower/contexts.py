"""Build contexts: the main one, and named ones that stand for an image, a stage, or a source of COPY --from."""

from __future__ import annotations

from dockc.compiler.ir.ops import Copy, OpMeta, SourceMap
from dockc.compiler.lower.context import DOCKERFILE_LANGUAGE, LocalSource, internal_name
from dockc.compiler.lower.scope import assign, split_pair
from dockc.compiler.lower.stages import SCRATCH, NamedContext
from dockc.compiler.questions import ContextRequest, HttpRequest, ImageRequest
from dockc.errors import CompileError, DockcError, Fault
from dockc.golang.ospaths import base as base_name
from dockc.golang.ospaths import join
from dockc.golang.strings import fold
from dockc.golang.text import quote
from dockc.llb import attrs as A  # noqa: N812
from dockc.llb import sources
from dockc.oci import platform as platforms
from dockc.oci import reference as references
from dockc.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from dockc.compiler.image.config import ImageConfig
    from dockc.compiler.ir.module import Builder
    from dockc.compiler.ir.ops import Value
    from dockc.compiler.lower.context import Lowering
    from dockc.compiler.lower.stages import StageState
    from dockc.compiler.questions import Asking, ImageAnswer
    from dockc.compiler.urls import GitRef

DOCKERIGNORE = ".dockerignore"
CONTAINERIGNORE = ".containerignore"
CONTAINERFILE = "Containerfile"
DEFAULT_NAME = "Dockerfile"
HTTP_CONTEXT_FILE = "context"
_MOST_FOLLOWED = 10


class LoadedContext:
    """A named context as a file system.

    Attributes:
        value: the file system, None for an empty one.
        image: config of the image it is, or None.
        env, directory, exec_platform: what a process started in it sees.
    """

    __slots__ = ("directory", "env", "exec_platform", "image", "value")

    def __init__(
        self,
        value: Value | None,
        image: ImageConfig | None = None,
        exec_platform: Platform | None = None,
    ) -> None:
        self.value: Final = value
        self.image: Final = image
        self.env: dict[str, str] = {}
        self.directory = "/"
        self.exec_platform = exec_platform
        if image is None:
            return
        for entry in image.env:
            key, text = split_pair(entry)
            if key:
                assign(self.env, key, text)
        working_dir = image.working_dir
        self.directory = working_dir if working_dir.startswith("/") else join("/", working_dir)
        if image.architecture and image.os:
            self.exec_platform = platforms.normalize(image.platform)


def find(state: Lowering, name: str, platform: Platform | None) -> NamedContext | None:
    """The named context that stands for a stage or image of that name, or None.

    Raises:
        CompileError: the name is no reference.
    """
    if fold(name) in (SCRATCH, "context"):
        return None
    return lookup(state, name, platform or state.options.target_platform)


def lookup(state: Lowering, name: str, platform: Platform | None) -> NamedContext | None:
    """As `find`, for any name; a context for exactly this platform wins."""
    full = stands_for(state.options.contexts, name, platform or state.options.host)
    if not full:
        return None
    return NamedContext(state.options.contexts[full], full.partition("::")[0], full, platform)


def stands_for(contexts: Mapping[str, str], name: str, platform: Platform) -> str:
    """Which of the named contexts stands for an image or stage on a platform; "" where none does.

    Raises:
        CompileError: the name is no reference.
    """
    try:
        short = references.parse_normalized(name).familiar().removesuffix(":latest")
    except DockcError as error:
        raise CompileError(f"invalid context name {name}: {error.message}", fault=Fault("bad-context")) from None
    if not contexts:
        return ""
    named = (f"{short}::{platforms.format_all(platforms.normalize(platform))}", short)
    return next((full for full in named if full in contexts), "")


def wants(state: Lowering, context: NamedContext) -> None:
    """Ask for what loading the context needs to know, as far as that can be told yet."""
    try:
        context = _followed(state, context)
        scheme, _, rest = context.spec.partition(":")
        if scheme == "docker-image" and rest.removeprefix("//") != SCRATCH:
            state.want(_image_request(state, context, rest))
        elif scheme == "oci-layout":
            state.want(_layout_request(state, context, rest))
        elif scheme == "local":
            state.want(ContextRequest(rest, (DOCKERIGNORE,)))
    except CompileError:
        return


def load(state: Lowering, context: NamedContext, stage: StageState | None) -> LoadedContext:
    """The file system of a named context; `stage` is whose used paths a local directory is cut down to.

    Raises:
        CompileError: the option's value is wrong, or the image cannot be read.
        Unanswered: something about it is not known yet.
    """
    context = _followed(state, context)
    scheme, colon, rest = context.spec.partition(":")
    if not colon:
        message = f"invalid context specifier {context.spec} for {context.full_name}"
        raise CompileError(message, fault=Fault("bad-context"))
    if scheme.startswith("git@"):
        scheme = "git"
    match scheme:
        case "docker-image":
            return _load_image(state, context, rest)
        case "git":
            return LoadedContext(_git_value(state.builder, context.spec))
        case "http" | "https":
            return _load_http(state, context)
        case "oci-layout":
            return _load_layout(state, context, rest)
        case "local":
            return _load_local(state, context, rest, stage)
        case "input":
            return _load_input(state, context, rest)
    message = f"unsupported context source {scheme} for {context.full_name}"
    raise CompileError(message, fault=Fault("bad-context"))


def _followed(state: Lowering, context: NamedContext) -> NamedContext:
    """The context that rules of the build put in the place of an image, step by step as far as it is known."""
    first = context.spec
    for _ in range(_MOST_FOLLOWED + 1):
        scheme, _, rest = context.spec.partition(":")
        if scheme != "docker-image" or rest.removeprefix("//") == SCRATCH:
            return context
        request = _image_request(state, context, rest)
        becomes = state.image(request).becomes if state.answers.has(request) else ""
        if not becomes:
            return context
        if becomes.startswith((A.SCHEME_LOCAL, A.SCHEME_IMAGE, A.SCHEME_OCI_LAYOUT)):
            becomes = becomes.replace("://", ":", 1)
        context = NamedContext(becomes, context.name, context.full_name, context.platform)
    message = f"context recursion limit exceeded; this may indicate a cycle in the provided source policies: {first}"
    raise CompileError(message, fault=Fault("bad-context"))


def _shown(context: NamedContext, text: str) -> OpMeta:
    return OpMeta(f"[context {context.full_name}] {text}")


# --- images -------------------------------------------------------------------------------------------


def _image_request(state: Lowering, context: NamedContext, rest: str) -> ImageRequest:
    ref = rest.removeprefix("//")
    try:
        named = references.parse_normalized(ref).tag_name_only()
    except DockcError as error:
        raise CompileError(error.message, fault=Fault("bad-context")) from None
    return ImageRequest(
        str(named),
        context.platform or state.options.host,
        state.options.resolve_mode,
        log_name=f"[context {context.full_name}] load metadata for {ref}",
    )


def _load_image(state: Lowering, context: NamedContext, rest: str) -> LoadedContext:
    ref = rest.removeprefix("//")
    if ref == SCRATCH:
        return LoadedContext(None)
    answer = state.image(_image_request(state, context, rest))
    image = _config(state, answer)
    image.created = ""
    full, problem = _full_ref(answer.ref)
    value = state.builder.source(sources.image(full), platform=context.platform, meta=_shown(context, ref))
    if problem:
        state.invalid[value.op] = CompileError(problem, fault=Fault("bad-image"))
    return LoadedContext(value, image, _normal(context.platform))


def _layout_request(state: Lowering, context: NamedContext, rest: str) -> ImageRequest:
    spec = rest.removeprefix("//")
    try:
        parsed = references.parse(spec)
    except DockcError as error:
        message = f"could not parse oci-layout reference {quote(spec)}: {error.message}"
        raise CompileError(message, fault=Fault("bad-context")) from None
    if not parsed.digest:
        message = f"oci-layout reference {quote(str(parsed))} has no digest"
        raise CompileError(message, fault=Fault("bad-context"))
    stand_in = references.parse_normalized(context.name).with_digest(parsed.digest)
    return ImageRequest(
        str(stand_in),
        context.platform or state.options.host,
        state.options.resolve_mode,
        store=parsed.name,
        log_name=f"[context {context.full_name}] load metadata for {stand_in}",
    )


def _load_layout(state: Lowering, context: NamedContext, rest: str) -> LoadedContext:
    request = _layout_request(state, context, rest)
    image = _config(state, state.image(request))
    spec = sources.oci_layout(request.ref, session=state.options.session, store=request.store)
    meta = _shown(context, "OCI load from client")
    value = state.builder.source(spec, platform=context.platform, meta=meta)
    return LoadedContext(value, image, _normal(context.platform))


def _config(state: Lowering, answer: ImageAnswer) -> ImageConfig:
    if answer.problem:
        raise CompileError(answer.problem, fault=Fault("image-not-available"), hint=answer.hint)
    return state.image_config(answer.config)


def _normal(platform: Platform | None) -> Platform | None:
    return None if platform is None else platforms.normalize(platform)


def _full_ref(ref: str) -> tuple[str, str]:
    """A reference with domain and tag, and what is wrong with it, which matters once the image is part of the
    result.
    """
    try:
        return str(references.parse_normalized(ref).tag_name_only()), ""
    except DockcError as error:
        return ref, error.message


# --- graphs that the client gave ----------------------------------------------------------------------


def _input(state: Lowering, name: str) -> Value | None:
    from dockc.compiler.ir.from_llb import load as from_llb

    definition = state.options.inputs[name]
    if not definition.ops and not definition.metadata:
        raise CompileError("invalid nil input definition to definition op", fault=Fault("bad-context"))
    return from_llb(definition, state.target).result


def _load_input(state: Lowering, context: NamedContext, name: str) -> LoadedContext:
    if name not in state.options.inputs:
        raise CompileError(f"invalid input {name} for {context.full_name}", fault=Fault("bad-context"))
    value = _input(state, name)
    said = state.options.input_metadata.get(name)
    if said is None:
        return LoadedContext(value)
    config = _image_config(said)
    if config is None:
        return LoadedContext(value)
    return LoadedContext(value, state.image_config(config), _normal(context.platform))


def _image_config(metadata: str) -> bytes | None:
    from base64 import b64decode

    from dockc.base import jsontext

    try:
        found = jsontext.parsed(metadata)["containerimage.config"]
        return b64decode(found, validate=True)
    except KeyError:
        return None
    except (ValueError, TypeError) as error:
        raise CompileError(f"invalid metadata of an input: {error}", fault=Fault("bad-context")) from None


# --- git and http -------------------------------------------------------------------------------------


def git_value(
    builder: Builder,
    git: GitRef,
    *,
    meta: OpMeta,
    keep_git_dir: bool = False,
    checksum: str = "",
    mtime: str = "",
    fetch_by_commit: bool = False,
) -> Value:
    """A checkout of what the reference names."""
    spec = sources.git(
        git.remote,
        ref=git.ref,
        subdir=git.subdir,
        keep_git_dir=keep_git_dir,
        checksum=checksum,
        skip_submodules=git.submodules is False,
        mtime=mtime,
        fetch_by_commit=fetch_by_commit,
    )
    return builder.source(spec, meta=meta)


def _parse_git(text: str) -> GitRef | None:
    from dockc.compiler.urls import parse_git_ref

    return parse_git_ref(text)


def _git_value(builder: Builder, spec: str, *, keep_git_dir: bool = False, mtime: str = "") -> Value:
    """A git context.

    Raises:
        CompileError: the text is no git reference.
    """
    git = _parse_git(spec)
    if git is None:
        raise CompileError(f"invalid git context {spec}", fault=Fault("bad-context"))
    return git_value(
        builder,
        git,
        meta=OpMeta(internal_name(f"load git source {spec}")),
        keep_git_dir=bool(git.keep_git_dir) or keep_git_dir,
        checksum=git.checksum,
        mtime=git.mtime or mtime,
        fetch_by_commit=git.fetch_by_commit,
    )


def _load_http(state: Lowering, context: NamedContext) -> LoadedContext:
    if _parse_git(context.spec) is not None:
        return LoadedContext(_git_value(state.builder, context.spec))
    meta = _shown(context, context.spec)
    return LoadedContext(state.builder.source(sources.http(context.spec, filename=HTTP_CONTEXT_FILE), meta=meta))


# --- local directories --------------------------------------------------------------------------------


def _load_local(state: Lowering, context: NamedContext, name: str, stage: StageState | None) -> LoadedContext:
    data = state.file(name, DOCKERIGNORE)
    exclude = _patterns(data, DOCKERIGNORE) if data else []
    source = LocalSource(
        name,
        state.options.local_sessions.get(name, state.options.session),
        f"context:{context.full_name}-{state.options.shared_keys.get(context.full_name, '')}",
        exclude,
        f"[context {context.full_name}] load from client",
    )
    hole = state.builder.hole(f"named context {context.full_name}")
    if stage is None:
        state.builder.fill(hole, source.value(state.builder, {"/"}))
    else:
        state.pending.append((hole, stage, source))
    return LoadedContext(hole)


def _patterns(data: bytes, name: str) -> list[str]:
    from dockc.grammar import ignore

    try:
        return ignore.parse(data)
    except DockcError as error:
        raise CompileError(f"failed parsing {name}: {error.message}", fault=Fault("bad-ignore-file")) from None


# --- the main context ---------------------------------------------------------------------------------


class MainContext:
    """Where the files of the build come from, and the Dockerfile itself.

    Attributes:
        remote: the file system of a remote context, None for the local source.
        source_map: the Dockerfile as a source of operations.
        identifier: of the remote source operation, or "".
        attrs: of the remote source operation.
    """

    __slots__ = ("attrs", "identifier", "remote", "source_map")

    def __init__(
        self, remote: Value | None, source_map: SourceMap, identifier: str, attrs: tuple[tuple[str, str], ...]
    ) -> None:
        self.remote: Final = remote
        self.source_map: Final = source_map
        self.identifier: Final = identifier
        self.attrs: Final = attrs


def open_main(state: Lowering) -> Asking[MainContext]:
    """Decide where the context and the Dockerfile come from.

    Raises:
        CompileError: the context is neither a directory nor a remote source.
        Unanswered: an HTTP context that nobody has looked at.
    """
    options, builder = state.options, state.builder
    filename = options.filename
    git = _parse_git(options.context) if options.context else None
    if git is not None:
        mtime = "commit" if options.build_args.get("SOURCE_DATE_EPOCH") else ""
        remote = _git_value(builder, options.context, keep_git_dir=options.keep_git_dir, mtime=mtime)
    elif options.context.startswith(("http://", "https://")):
        spec = sources.http(options.context, filename=HTTP_CONTEXT_FILE)
        remote = builder.source(spec, meta=OpMeta(internal_name("load remote build context")))
    else:
        return _open_given(state)
    identifier, attrs = remote.op.identifier, remote.op.attrs  # type: ignore[attr-defined]
    if git is None:
        request = HttpRequest(options.context, HTTP_CONTEXT_FILE)
        state.want(request)
        yield from state.barrier()
        if state.answers.http[request.key].archive:
            unpack = Copy(remote, f"/{HTTP_CONTEXT_FILE}", "/", unpack=True)
            remote = builder.file(None, (unpack,))
        else:
            filename = HTTP_CONTEXT_FILE
    dockerfile = remote
    if options.context_subdir is not None:
        scoped = Copy(remote, join("/", options.context_subdir), "/", dir_contents=True)
        remote = builder.file(None, (scoped,))
    if options.force_local_dockerfile:
        dockerfile = _local_dockerfile(state, filename)
    data = state.dockerfile.source.data
    return MainContext(remote, SourceMap(filename, DOCKERFILE_LANGUAGE, data, dockerfile), identifier, attrs)


def _open_given(state: Lowering) -> MainContext:
    """A context and a Dockerfile that the client lends, or gave a graph for."""
    options, source = state.options, state.dockerfile.source
    context = dockerfile = None
    if not options.force_local_dockerfile and options.dockerfile_name in options.inputs:
        dockerfile = _input(state, options.dockerfile_name)
    if options.context_name in options.inputs:
        context = _input(state, options.context_name)
        if context is not None and options.context_subdir is not None:
            context = state.builder.file(
                None, (Copy(context, join("/", options.context_subdir), "/", dir_contents=True),)
            )
    if dockerfile is None:
        dockerfile = _local_dockerfile(state, options.filename)
    return MainContext(context, SourceMap(options.filename, DOCKERFILE_LANGUAGE, source.data, dockerfile), "", ())


def _local_dockerfile(state: Lowering, filename: str) -> Value:
    """The local source that the Dockerfile is read from, with the names under which it may be there."""
    options = state.options
    name = options.dockerfile_name
    wanted = [filename, f"{filename}{DOCKERIGNORE}"]
    if base_name(filename) == DEFAULT_NAME:
        wanted.append(join(filename.rpartition("/")[0], DEFAULT_NAME.lower()))
    spec = sources.local(
        name,
        session=options.local_sessions.get(name, options.session),
        follow=wanted,
        shared_key_hint=name,
        differ=A.DIFFER_NONE,
    )
    return state.builder.source(spec, meta=OpMeta(internal_name(f"load build definition from {filename}")))


def ignore_patterns(state: Lowering, main: MainContext) -> list[str]:
    """The patterns of `Dockerfile.dockerignore` if there is one, else those of `.dockerignore`.

    Raises:
        CompileError: the file cannot be read.
        Unanswered: nobody has looked for it yet.
    """
    if main.remote is not None:
        return []
    options = state.options
    own = f"{options.filename}{DOCKERIGNORE}"
    data, name = state.file(options.dockerfile_name, own), own
    for name in () if data is not None else _shared_ignore_files(options.filename):
        data = state.file(options.context_name, name)
        if data is not None:
            break
    return _patterns(data, name) if data else []


def _shared_ignore_files(filename: str) -> tuple[str, ...]:
    """Where patterns for all Dockerfiles of a context are; a Containerfile's may have the name that goes with it."""
    return (DOCKERIGNORE, CONTAINERIGNORE) if filename == CONTAINERFILE else (DOCKERIGNORE,)


def want_ignore_files(state: Lowering, main: MainContext) -> None:
    """Ask for the files that `ignore_patterns` may read."""
    if main.remote is not None:
        return
    options = state.options
    state.want(ContextRequest(options.dockerfile_name, (f"{options.filename}{DOCKERIGNORE}",)))
    state.want(ContextRequest(options.context_name, _shared_ignore_files(options.filename)))


def close_main(state: Lowering, main: MainContext, exclude: list[str], used: set[str]) -> Value:
    """The build context, cut down to what is used of it."""
    if main.remote is not None:
        return main.remote
    options = state.options
    source = LocalSource(
        options.context_name,
        options.local_sessions.get(options.context_name, options.session),
        options.context_name,
        exclude,
        internal_name("load build context"),
    )
    return source.value(state.builder, used)
