"""From what the user typed to a compiled Dockerfile: the upper half of the river, and the only place where the compiler's questions
meet the world.

    request -> inputs (source, options, named directories) -> compile, answering what it asks -> passes -> a form to print

No network and no asyncio unless an image, URL or repository must be asked.
"""

from __future__ import annotations

import os
import sys

from dockc.errors import CompileError, DockcError, InvalidDefinition, UsageError
from dockc.files import FILE_LIMIT
from dockc.files import read_file as read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from os import PathLike
    from pathlib import Path
    from typing import Any, Final, TypeVar

    from dockc.compiler.compile import Compiled, Front
    from dockc.compiler.options import CompileOptions
    from dockc.compiler.passes.pipeline import PassPipeline
    from dockc.compiler.resolve import Answers, Request, Unanswered
    from dockc.oci.platform import Platform

    T = TypeVar("T")
    World = Callable[[Sequence[Request]], Answers]

FORMS = ("cst", "ast", "ir", "llb", "dot", "json", "pb", "image")
OPT_FORMS = ("ir", "llb", "dot", "json", "pb")

#: Set in the environment, it is a build argument.
EPOCH = "SOURCE_DATE_EPOCH"

#: Frontend images that the built-in compiler stands for.
BUILT_IN = ("docker/dockerfile", "docker/dockerfile-upstream", "docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream")


class CompileRequest:
    """Everything that decides what comes out of `dockc compile`; the front half of `dockc build`.

    Attributes:
        context: directory, or URL of a remote context.
        file: Dockerfile; "" is the context's own, "-" standard input.
        dockerfile: its bytes, where they have been read already.
        attrs: frontend options.
        contexts: named contexts as typed, name to value.
        answers: file of answers, or None.
        offline: ask nobody but the store, OCI layouts and what else is on this machine.
        locked: lock file whose answers must be enough and right, or None.
        level, passes: the pipeline; passes "" means the level's own.
        squash: level of the squash pass.
        print_after, print_after_all, time_passes, verify_each: observers.
        store: directory of the content store, or None.
    """

    __slots__ = (
        "answers", "attrs", "context", "contexts", "dockerfile", "file", "level", "locked", "offline", "passes", "print_after",
        "print_after_all", "squash", "store", "time_passes", "verify_each",
    )  # fmt: skip

    def __init__(
        self,
        context: str = ".",
        file: str = "",
        *,
        attrs: Mapping[str, str] | None = None,
        contexts: Mapping[str, str] | None = None,
        answers: Path | None = None,
        offline: bool = False,
        locked: Path | None = None,
        level: int = 1,
        passes: str = "",
        squash: int = 0,
        print_after: Sequence[str] = (),
        print_after_all: bool = False,
        time_passes: bool = False,
        verify_each: bool = False,
        store: Path | None = None,
        dockerfile: bytes | None = None,
    ) -> None:
        self.context: Final = context
        self.file: Final = file
        self.dockerfile: Final = dockerfile
        self.attrs: Final = dict(attrs or {})
        self.contexts: Final = dict(contexts or {})
        self.answers: Final = answers
        self.offline: Final = offline
        self.locked: Final = locked
        self.level: Final = level
        self.passes: Final = passes
        self.squash: Final = squash
        self.print_after: Final = tuple(print_after)
        self.print_after_all: Final = print_after_all
        self.time_passes: Final = time_passes
        self.verify_each: Final = verify_each
        self.store: Final = store


class Inputs:
    """A request with its files read.

    Attributes:
        front: the Dockerfile, read.
        options: compile options, one platform or none chosen yet.
        directories: directories by local source name.
        stores: OCI layouts by store name.
    """

    __slots__ = ("directories", "front", "options", "stores")

    def __init__(self, front: Front, options: CompileOptions, directories: Mapping[str, str], stores: Mapping[str, Path]) -> None:
        self.front: Final = front
        self.options: Final = options
        self.directories: Final = dict(directories)
        self.stores: Final = dict(stores)

    @property
    def locals(self) -> dict[str, Path]:
        """`directories` as paths."""
        from pathlib import Path

        return {name: Path(directory) for name, directory in self.directories.items()}

    @property
    def platforms(self) -> tuple[Platform | None, ...]:
        """The platforms to compile for; None is the default one."""
        return self.options.target_platforms or (None,)


# --- options --------------------------------------------------------------------------------------------


def frontend_attrs(
    *,
    target: str = "",
    build_args: Iterable[str] = (),
    platforms: Iterable[str] = (),
    labels: Iterable[str] = (),
    opts: Iterable[str] = (),
    no_cache: bool = False,
    no_cache_filter: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The command line's short forms as BuildKit's frontend options; they win over `--opt` of the same key.

    Build arguments without a value have the environment's, and none where it has none; `SOURCE_DATE_EPOCH` comes from there
    unasked, as with BuildKit's own clients.

    Raises:
        UsageError: an option without `=` that needs one.
    """
    environment = os.environ if environment is None else environment
    attrs: dict[str, str] = {}
    if EPOCH in environment:
        attrs[f"build-arg:{EPOCH}"] = environment[EPOCH]
    for text in opts:
        key, equals, value = text.partition("=")
        if not key:
            raise UsageError(f"invalid value {text} for --opt: expected KEY=VALUE")
        name = key.removeprefix("build-arg:")
        if equals or name == key:
            attrs[key] = value
        elif name in environment:
            attrs[key] = environment[name]
    for text in build_args:
        key, equals, value = text.partition("=")
        if not key:
            raise UsageError(f"invalid value {text} for --build-arg: expected NAME[=VALUE]")
        if equals:
            attrs[f"build-arg:{key}"] = value
        elif key in environment:
            attrs[f"build-arg:{key}"] = environment[key]
    for text in labels:
        key, _, value = text.partition("=")
        if not key:
            raise UsageError(f"invalid value {text} for --label: expected NAME=VALUE")
        attrs[f"label:{key}"] = value
    if target:
        attrs["target"] = target
    wanted = [p.strip() for text in platforms for p in text.split(",") if p.strip()]
    if wanted:
        attrs["platform"] = ",".join(_platform(p) for p in wanted)
    if no_cache:
        attrs["no-cache"] = ""
    elif stages := ",".join(no_cache_filter):
        attrs["no-cache"] = stages
    return attrs


def _platform(text: str) -> str:
    if text != "local":
        return text
    from dockc.oci import platform as platforms

    return platforms.format_all(platforms.normalize(platforms.default()))


def named_contexts(texts: Iterable[str]) -> dict[str, str]:
    """`NAME=VALUE` options to a map.

    Raises:
        UsageError: one without `=`.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"invalid context value: {text}, expected key=value")
        found[name] = value
    return found


# --- files ----------------------------------------------------------------------------------------------


def load(request: CompileRequest, *, session: str = "") -> Inputs:
    """Read the Dockerfile and sort out options, directories and layouts.

    Raises:
        DockcError: a file that cannot be read, an option that cannot be understood.
    """
    from dockc.compiler.compile import read
    from dockc.compiler.options import CompileOptions
    from dockc.grammar.source import Source

    attrs = dict(request.attrs)
    locals_: dict[str, str] = {}
    stores: dict[str, Path] = {}
    for name, value in request.contexts.items():
        attrs[f"context:{name}"] = _named_context(name, value, locals_, stores)
    path, data = (None, request.dockerfile) if request.dockerfile is not None else _read_dockerfile(request)
    if _is_url(request.context):
        attrs.setdefault("context", request.context)
        if request.dockerfile is None:
            attrs.setdefault("dockerfilekey", "dockerfile")
        elif request.file:
            attrs.setdefault("filename", request.file)
    elif request.context != "-":
        locals_["context"] = _directory(request.context)
    locals_["dockerfile"] = (os.path.dirname(path) if path is not None else "") or "."  # noqa: PTH120  pathlib costs a tenth of the start
    if path is not None:
        attrs.setdefault("filename", os.path.basename(path))  # noqa: PTH119
    options = CompileOptions.from_attrs(attrs, session=session)
    front = read(Source(attrs.get("filename", "Dockerfile"), data))
    _check_syntax(front, attrs)
    return Inputs(front, options, locals_, stores)


def _is_url(context: str) -> bool:
    return context.startswith(("http://", "https://", "git://", "ssh://", "git@", "github.com/")) or context.endswith(".git")


def _directory(text: str) -> str:
    path = text or "."
    if not os.path.isdir(path):  # noqa: PTH112
        what = "is not a directory" if os.path.exists(path) else "does not exist"  # noqa: PTH110
        raise UsageError(f"unable to prepare context: path {text!r} {what}", hint="Name a directory, or a git or HTTP URL.")
    return path


def _read_dockerfile(request: CompileRequest) -> tuple[str | None, bytes]:
    path = dockerfile_path(request)
    if path is not None:
        return path, read_file(path)
    if request.file == "-" == request.context:
        raise UsageError("can't use stdin for both build context and dockerfile")
    data = sys.stdin.buffer.read(FILE_LIMIT + 1)
    if len(data) > FILE_LIMIT:
        raise DockcError(f"failed to read dockerfile: standard input is larger than {FILE_LIMIT} bytes")
    if is_archive(data[:512]):
        raise UsageError("standard input holds an archive, no Dockerfile", hint="Only `dockc build -` takes archives.")
    return None, data


def is_in_remote_context(request: CompileRequest) -> bool:
    """Whether the Dockerfile must be fetched: the context is a URL, and no local file is named, which takes an absolute path."""
    return _is_url(request.context) and request.dockerfile is None and not (request.file == "-" or os.path.isabs(request.file))  # noqa: PTH117


def with_changes(request: CompileRequest, **changes: Any) -> CompileRequest:
    """The same request with other attributes."""
    known = {name: getattr(request, name) for name in CompileRequest.__slots__}
    return CompileRequest(**known | changes)


def is_archive(head: bytes) -> bool:
    """Whether a file that begins so is an archive, compressed or not, and no Dockerfile."""
    return head.startswith((b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0")) or head[257:262] == b"ustar"


def dockerfile_path(request: CompileRequest) -> str | None:
    """Where the Dockerfile is; None for standard input.

    Raises:
        UsageError: the context is remote and no file is named, or it is no directory.
    """
    if request.file == "-" or (not request.file and request.context == "-"):
        return None
    if _is_url(request.context) and not os.path.isabs(request.file):  # noqa: PTH117
        raise UsageError("the Dockerfile of a remote context is not here", hint="Name a local one by its absolute path; `dockc build` fetches it itself.")
    if request.file:
        return request.file
    folder = _directory(request.context)
    names = ("Dockerfile", "dockerfile")
    path, other = (name if folder == "." else os.path.join(folder, name) for name in names)  # noqa: PTH118
    return other if not os.path.exists(path) and os.path.exists(other) else path  # noqa: PTH110


def _named_context(name: str, value: str, locals_: dict[str, str], stores: dict[str, Path]) -> str:
    if value.startswith("oci-layout://"):
        return _layout_context(name, value.removeprefix("oci-layout://"), stores)
    if value.startswith("docker-image://") or _is_url(value):
        return value
    path = value.removeprefix("local:")
    if not os.path.isdir(path):  # noqa: PTH112
        raise UsageError(f"failed to get build context {name}: {value} is not a directory")
    locals_[name] = path
    return f"local:{name}"


def _layout_context(name: str, value: str, stores: dict[str, Path]) -> str:
    """`PATH[:TAG][@DIGEST]` to a reference that names the digest; the store is named like the context."""
    from dockc.runtime.source.ocilayout import resolve_context

    path, digest = resolve_context(value)
    store = _store_name(name)
    stores[store] = path
    return f"oci-layout://{store}@{digest}"


def _store_name(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_./") else "-" for c in name.lower()).strip("-_./") or "layout"


def _check_syntax(front: Front, attrs: Mapping[str, str]) -> None:
    """Refuse a file that asks for another frontend than the one that is built in."""
    wanted = attrs.get("build-arg:BUILDKIT_SYNTAX", "")
    if not wanted:
        directive = next((d for d in front.parsed.file.directives if d.name == "syntax"), None)
        wanted = directive.value if directive is not None else ""
    name = wanted.split(" ", 1)[0].split("@", 1)[0]
    slash = name.rfind("/")
    name = name[: name.find(":", slash)] if ":" in name[slash + 1 :] else name
    if name and name not in BUILT_IN:
        raise DockcError(
            f"the frontend {wanted} is not supported",
            hint="dockc compiles Dockerfiles itself and stands for docker/dockerfile; it does not run other frontend images.",
        )


# --- questions ------------------------------------------------------------------------------------------


def asker(request: CompileRequest, inputs: Inputs, world: World | None = None) -> Callable[[tuple[Request, ...]], Answers]:
    """What answers the compiler: files from the directories, the rest from `world` unless the request forbids it."""
    from dockc.compiler.resolve import Answers, ContextRequest, Unanswered

    def ask(requests: tuple[Request, ...]) -> Answers:
        files: dict[tuple[str, str], bytes | None] = {}
        others: list[Request] = []
        for one in requests:
            if isinstance(one, ContextRequest):
                for name in one.files:
                    files[one.name, name] = read_inside(inputs.directories.get(one.name), name)
            else:
                others.append(one)
        answers = Answers(files=files)
        if not others:
            return answers
        if request.locked is not None or (request.answers is not None and not request.offline):
            raise Unanswered(others)
        if world is not None:
            return answers.merged(world(others))
        from dockc.remote import ask_world

        return answers.merged(ask_world(others, inputs, request.store, offline=request.offline))

    return ask


def read_inside(root: str | PathLike[str] | None, name: str) -> bytes | None:
    """A small regular file below `root`, or None; a link that leads outside is not followed.

    Raises:
        DockcError: the file is too large.
    """
    if root is None:
        return None
    try:
        top = os.path.realpath(root)
        real = os.path.realpath(os.path.join(top, name), strict=True)  # noqa: PTH118
        if os.path.commonpath((top, real)) != top or not os.path.isfile(real):  # noqa: PTH113
            return None
        with open(real, "rb") as file:  # noqa: PTH123
            data = file.read(FILE_LIMIT + 1)
    except (OSError, RuntimeError, ValueError):
        return None
    if len(data) > FILE_LIMIT:
        raise DockcError(f"{root}/{name} is larger than {FILE_LIMIT} bytes")
    return data


def initial_answers(request: CompileRequest) -> Answers:
    """What the answers or lock file says, or nothing.

    Raises:
        DockcError: the file cannot be read or understood.
    """
    from dockc.compiler.resolve import Answers

    path = request.locked or request.answers
    if path is None:
        return Answers()
    try:
        text = path.read_text("utf-8")
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"cannot read {path}: not UTF-8 text") from exc
    return Answers.load(text, str(path))


# --- compile --------------------------------------------------------------------------------------------


def compile_all(
    request: CompileRequest, inputs: Inputs, log: Callable[[str], object], world: World | None = None
) -> tuple[tuple[Compiled, ...], Answers]:
    """Compile for every platform of the request and run the passes; also all answers that were used.

    Args:
        log: takes what observers print.
        world: answers what files do not; None asks registries with a client of its own.

    Raises:
        DockcError: the file is wrong, or something cannot be answered.
    """
    from dockc.compiler.compile import compile_asking
    from dockc.compiler.options import misspelled
    from dockc.compiler.resolve import Unanswered

    for key, meant in misspelled(request.attrs):
        log(f"warning: the frontend has no option {key} (did you mean {meant}?)\n")
    if not _is_usual(request):
        _pipeline(request, log)  # what is wrong with the names of passes is said before anybody is asked
    answers = initial_answers(request)
    ask = _Remembering(asker(request, inputs, world), answers)
    done = []
    options = inputs.options
    try:
        for platform in inputs.platforms:
            options = inputs.options.for_platform(platform)
            compiled, answers = compile_asking(inputs.front, options, ask, answers)
            compiled = _optimised(compiled, request, log)
            if request.locked is not None:
                from dockc.pins import held, pins

                compiled = held(compiled, pins(answers))
            done.append(compiled)
    except CompileError as exc:
        raise explained(exc, inputs.front, options, ask.answers) from None
    except Unanswered as exc:
        if request.locked is None:
            raise
        raise _drifted(request, inputs, exc) from None
    return tuple(done), answers


def _drifted(request: CompileRequest, inputs: Inputs, error: Unanswered) -> DockcError:
    """The Dockerfile asks for what the lock file does not have."""
    from dockc.compiler.resolve import describe

    missing = ", ".join(describe(one) for one in error.requests)
    return DockcError(
        f"{request.locked} has no entry for {missing}, which {inputs.front.source.name} asks for",
        hint="Bring the lock file up to date with `dockc lock`.",
    )


def asking(request: CompileRequest, inputs: Inputs, action: Callable[[Answers], T], world: World | None = None) -> T:
    """What an action of the compiler gives once everything that it asks is answered.

    Raises:
        DockcError: what the action raises, or something cannot be answered.
    """
    from dockc.compiler.resolve import Unanswered

    answers = initial_answers(request)
    ask = asker(request, inputs, world)
    while True:
        try:
            return action(answers)
        except Unanswered as error:
            answers = answers.merged(ask(error.requests))
            if not all(answers.has(one) for one in error.requests):
                raise


class _Remembering:
    """A function that answers requests and keeps all answers."""

    def __init__(self, ask: Callable[[tuple[Request, ...]], Answers], answers: Answers) -> None:
        self._ask = ask
        self.answers = answers

    def __call__(self, requests: tuple[Request, ...]) -> Answers:
        more = self._ask(requests)
        self.answers = self.answers.merged(more)
        return more


def explained(
    error: CompileError, front: Front, options: CompileOptions | None = None, answers: Answers | None = None
) -> CompileError:
    """The error with the file it speaks of, and with everything else that is wrong there, as far as the answers tell."""
    from dockc.compiler.blame import diagnose_all
    from dockc.compiler.compile import compile
    from dockc.compiler.resolve import Unanswered
    from dockc.grammar.render import render_all

    def retry(rest: Front) -> CompileError | None:
        try:
            compile(rest, options, answers)
        except CompileError as found:
            return found
        except Unanswered:
            pass
        return None

    error.source = (front.source.name, front.source.text)
    diagnostics = front.result.diagnostics or diagnose_all(error, front, retry)
    if diagnostics:
        error.details = render_all(diagnostics, front.source)
    return error


def _optimised(compiled: Compiled, request: CompileRequest, log: Callable[[str], object]) -> Compiled:
    if _is_usual(request):
        return compiled  # the default passes change no bytes: emission alone gives the same
    passes = _pipeline(request, log)
    return compiled.with_module(passes.run(compiled.module))


def _is_usual(request: CompileRequest) -> bool:
    """Whether the default passes run and nobody looks at them."""
    observed = bool(request.print_after or request.print_after_all or request.time_passes or request.verify_each)
    return not observed and request.level == 1 and not request.passes and not request.squash


def _pipeline(request: CompileRequest, log: Callable[[str], object]) -> PassPipeline:
    """The passes and observers that a request asks for.

    Raises:
        UsageError: an unknown pass, option or level; one whose result is to be printed and that does not run.
    """
    from dockc.compiler.passes import pipeline
    from dockc.compiler.passes.pipeline import Observer, print_after, time_passes, verify_each

    observers: list[Observer] = []
    if request.verify_each:
        observers.append(verify_each())
    if request.print_after or request.print_after_all:
        observers.append(print_after(None if request.print_after_all else request.print_after, log))
    if request.time_passes:
        observers.append(time_passes(log))
    passes = pipeline(request.level, request.passes or None, squash=request.squash, observers=tuple(observers))
    known = {one.name for one in passes.passes}
    for name in request.print_after:
        if name not in known:
            raise UsageError(f"--print-after={name}: the pass does not run", hint=f"Running: {', '.join(sorted(known)) or 'none'}.")
    return passes


def render(compiled: Sequence[Compiled], form: str) -> bytes:
    """One form of each compiled platform.

    Raises:
        UsageError: an unknown form, or several platforms in a form that holds one.
    """
    _check_form(form)
    if form == "pb":
        if len(compiled) > 1:
            raise UsageError("protobuf output holds one platform", hint="Choose one with --platform.")
        return compiled[0].definition.to_bytes()
    if form in {"cst", "ast"}:
        return _render_one(compiled[0], form).encode("utf-8", "surrogateescape")
    texts = [_render_one(one, form) for one in compiled]
    return "".join(texts).encode("utf-8", "surrogateescape")


def _render_one(compiled: Compiled, form: str) -> str:
    match form:
        case "cst":
            return render_cst(compiled.front)
        case "ast":
            from dockc.compiler.dump import dump

            return dump(compiled.dockerfile)
        case "ir":
            from dockc.compiler.ir.printer import print_module

            return print_module(compiled.module)
        case "image":
            return compiled.image_json.decode("utf-8", "surrogateescape") + "\n"
        case _:
            from dockc.llb import text

            writers = {"llb": text.tree, "dot": text.dot, "json": text.json_lines}
            return writers[form](compiled.definition)


def render_cst(front: Front) -> str:
    """One line a piece: place, kind, text."""
    from dockc.grammar.cst import pieces

    lines = []
    for piece in pieces(front.parsed.file):
        at = front.source.position(piece.span.start)
        lines.append(f"{at.line}:{at.column + 1}\t{piece.kind}\t{piece.text!r}\n")
    return "".join(lines)


def _check_form(form: str) -> None:
    if form not in FORMS:
        from difflib import get_close_matches

        near = get_close_matches(form, FORMS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"Choose one of {', '.join(FORMS)}."
        raise UsageError(f"unknown form {form}", hint=hint)


def compile_command(request: CompileRequest, form: str, log: Callable[[str], object]) -> bytes:
    """`dockc compile`: the form asked for; warnings and observers' output go to `log`."""
    _check_form(form)
    inputs = load(request)
    if form == "cst":
        return render_cst(inputs.front).encode("utf-8", "surrogateescape")
    compiled, _ = compile_all(request, inputs, log)
    from dockc.console.diagnostics import render_warnings

    log(render_warnings(compiled[0].warnings, inputs.front.source))
    return render(compiled, form)


# --- IR and LLB given as files --------------------------------------------------------------------------


def optimise_text(data: bytes, request: CompileRequest, emit: str, log: Callable[[str], object]) -> bytes:
    """`dockc opt`: IR text through passes to one of its forms.

    Args:
        request: chooses passes and observers; no more of it counts.
        log: takes what observers print.

    Raises:
        DockcError: text that is no IR, an unknown pass or form.
    """
    from dockc.compiler.emit import emit as emit_llb
    from dockc.compiler.ir.parser import parse_module
    from dockc.compiler.ir.printer import print_module
    from dockc.compiler.ir.verifier import verify
    from dockc.llb import text

    if emit not in OPT_FORMS:
        raise UsageError(f"unknown form {emit}", hint=f"Choose one of {', '.join(OPT_FORMS)}.")
    passes = _pipeline(request, log)
    module = parse_module(data.decode("utf-8", "surrogateescape"))
    verify(module)  # it may come from anyone
    module = passes.run(module)
    if emit == "ir":
        return print_module(module).encode("utf-8", "surrogateescape")
    if "" not in module.outputs:
        raise DockcError("the IR has no result", hint="End it with `result` and a value.")
    definition = emit_llb(module)
    if emit == "pb":
        return definition.to_bytes()
    writers = {"llb": text.tree, "dot": text.dot, "json": text.json_lines}
    return writers[emit](definition).encode("utf-8", "surrogateescape")


def describe_passes() -> str:
    """`dockc passes`: name, levels and first sentence of each pass."""
    from dockc.compiler.passes import PRESETS, get_pass, names

    lines = []
    for name in names():
        levels = " ".join(f"-O{level}" for level, preset in PRESETS.items() if name in preset.split(","))
        summary = (get_pass(name).__doc__ or "").strip().split("\n")[0]
        lines.append(f"{name:16} {levels or '-':9} {summary}\n")
    return "".join(lines)


def decompile_bytes(data: bytes) -> str:
    """`dockc decompile`: an image config (JSON) or a definition (protobuf) to a Dockerfile.

    Raises:
        DockcError: it is neither.
    """
    import re

    if re.match(rb"\s*\{[\s\"}]", data):  # a definition, too, may begin with a line end and a brace
        import json

        from dockc.compiler.decompile_history import decompile_history

        try:
            image = json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise UsageError(f"not an image config: {exc}") from None
        return decompile_history(image)
    from dockc.compiler.decompile import decompile
    from dockc.llb.definition import Definition
    from dockc.oci import platform as platforms

    try:
        definition = Definition.parse(data)
    except InvalidDefinition as exc:
        raise InvalidDefinition(
            f"not LLB: {exc.message}", hint="Give LLB as `dockc compile --emit=pb` writes it, or an image config as JSON."
        ) from None
    from dockc.compiler.decompile_check import checked

    platform = platforms.normalize(platforms.default())
    return checked(decompile(definition, platform=platform), definition, platform)
