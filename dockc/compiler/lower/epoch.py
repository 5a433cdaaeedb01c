"""SOURCE_DATE_EPOCH: a number of seconds, or the name of something that has a time.

That is the main context, a named context, or a stage that only holds one remote ADD: the time of a git commit, or the
last change of a download.
"""

from __future__ import annotations

from dockc.compiler.ir.ops import NO_META, FileOp, SourceOp
from dockc.compiler.lower import contexts
from dockc.compiler.lower.context import EPOCH
from dockc.compiler.lower.contexts import git_value
from dockc.compiler.lower.scope import assign, expand, located
from dockc.compiler.lower.stages import SCRATCH
from dockc.compiler.questions import GitRequest, HttpRequest
from dockc.compiler.syntax.ast import Add, Arg
from dockc.compiler.urls import http_filename, is_http, parse_git_ref
from dockc.errors import CompileError, DockcError, Fault
from dockc.golang.numbers import NumberError, parse_int
from dockc.golang.strings import fold
from dockc.golang.times import Time
from dockc.llb import sources as llb_sources
from dockc.oci import digest as digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.compiler.ir.ops import Value
    from dockc.compiler.lower.context import Lowering
    from dockc.compiler.lower.contexts import MainContext
    from dockc.compiler.questions import Asking
    from dockc.compiler.syntax.ast import Stage

_COMMIT_HEADERS = ("tree", "author", "committer")
_TAG_HEADERS = ("object", "type", "tag", "tagger")


def settle(state: Lowering, main: MainContext) -> Asking[None]:
    """Find the epoch, and give the ARG of that name its value in seconds.

    Raises:
        CompileError: a value that is neither a number nor a name, a stage that is no plain source.
        Unanswered: a time that is not known yet.
    """
    text = state.build_args.get(EPOCH)
    if text is None:
        text = state.meta_args.get(EPOCH)
        if not text:
            return
    epoch = yield from _resolve(state, main, text)
    state.set_epoch(epoch)
    for args in (state.build_args, state.meta_args):
        if EPOCH not in args:
            continue
        if epoch is None:
            del args[EPOCH]
        elif args is state.build_args:
            args[EPOCH] = str(epoch.seconds)
        else:
            assign(args, EPOCH, str(epoch.seconds))


def _resolve(state: Lowering, main: MainContext, text: str) -> Asking[Time | None]:
    if not text:
        return None
    try:
        return Time(parse_int(text))
    except NumberError:
        pass
    if text == "context":
        return (yield from _time_of(state, main.remote))
    context = contexts.lookup(state, text, None)
    if context is not None:
        asked = True
        while asked:
            contexts.wants(state, context)
            asked = yield from state.barrier()
        return (yield from _time_of(state, contexts.load(state, context, None).value))
    for stage in state.dockerfile.stages:
        if stage.name and stage.name == fold(text):
            try:
                source = _stage_source(state, stage)
            except CompileError as error:
                raise located(error, stage.lines) from None
            return (yield from _time_of(state, source))
    raise CompileError(f"invalid SOURCE_DATE_EPOCH: {text}", fault=Fault("bad-epoch"))


# --- a stage as a source ------------------------------------------------------------------------------


def _stage_source(state: Lowering, stage: Stage) -> Value:
    """The one remote source that the stage holds.

    Raises:
        CompileError: the stage does anything else.
    """
    env = dict(state.meta_args)
    env.pop(EPOCH, None)
    if expand(state.lex, stage.base, env).result != SCRATCH:
        raise CompileError("SOURCE_DATE_EPOCH stage must use FROM scratch", fault=Fault("bad-epoch-stage"))
    found: Value | None = None
    for instruction in stage.instructions:
        if isinstance(instruction, Arg):
            _declare(state, instruction, env)
        elif isinstance(instruction, Add):
            if found is not None:
                raise CompileError(
                    "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD", fault=Fault("bad-epoch-stage")
                )
            found = _add_source(state, instruction, env)
        else:
            raise CompileError(
                "SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported "
                f"{instruction.name} instruction",
                fault=Fault("bad-epoch-stage"),
            )
    if found is None:
        raise CompileError(
            "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD", fault=Fault("bad-epoch-stage")
        )
    return found


def _declare(state: Lowering, arg: Arg, env: dict[str, str]) -> None:
    for pair in arg.pairs:
        key = pair.key.text
        if key in state.build_args:
            assign(env, key, state.build_args[key])
        elif pair.value is not None:
            assign(env, key, expand(state.lex, pair.value, env).result)


def _add_source(state: Lowering, add: Add, env: dict[str, str]) -> Value:
    if add.contents or len(add.sources) != 1:
        raise CompileError(
            "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD source", fault=Fault("bad-epoch-stage")
        )
    source = expand(state.lex, add.sources[0], env).result
    if is_http(source):
        checksum = expand(state.lex, add.checksum, env).result
        if checksum:
            try:
                checksum = digests.validate(checksum)
            except DockcError as error:
                raise CompileError(error.message, fault=Fault("bad-checksum/digest", add.checksum)) from None
        return state.builder.source(llb_sources.http(source, filename=http_filename(source), checksum=checksum))
    try:
        git = parse_git_ref(source)
    except CompileError as error:
        error.fault = error.fault.at(add.sources[0])
        raise
    if git is None or git.local_looking:
        raise CompileError(
            "SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD", fault=Fault("bad-epoch-stage")
        )
    checksum = expand(state.lex, add.checksum, env).result if add.checksum.text else git.checksum
    return git_value(
        state.builder,
        git,
        meta=NO_META,
        keep_git_dir=bool(add.keep_git_dir) or bool(git.keep_git_dir),
        checksum=checksum,
    )


# --- the time of a source -----------------------------------------------------------------------------


def _time_of(state: Lowering, value: Value | None) -> Asking[Time | None]:
    """The time of a source, None for one that has none (images, directories)."""
    if value is None or not hasattr(value, "op"):
        return None
    op = value.op
    if isinstance(op, FileOp):
        sources = {v.op: None for v in op.inputs()}
        op = next(iter(sources)) if len(sources) == 1 else op
    if not isinstance(op, SourceOp):
        return None
    if op.identifier.startswith("git://"):
        return (yield from _commit_time(state, GitRequest(op.identifier, op.attrs)))
    if op.identifier.startswith(("http://", "https://")):
        attrs = dict(op.attrs)
        request = HttpRequest(op.identifier, attrs.get("http.filename", ""), attrs.get("http.checksum", ""))
        return (yield from _download_time(state, request))
    return None


def _download_time(state: Lowering, request: HttpRequest) -> Asking[Time | None]:
    state.want(request)
    yield from state.barrier()
    answer = state.answers.http[request.key]
    if answer.error:
        raise CompileError(answer.error, fault=Fault("source-not-available"))
    text = answer.last_modified or answer.newest
    return Time.parse(text) if text else None


def _commit_time(state: Lowering, request: GitRequest) -> Asking[Time | None]:
    state.want(request)
    yield from state.barrier()
    answer = state.answers.git[request.identifier]
    if answer.error:
        raise CompileError(answer.error, fault=Fault("source-not-available"))
    if not answer.commit_object:
        return None
    return committer_time(answer.commit_object.decode("utf-8", "surrogateescape"))


def committer_time(text: str) -> Time | None:
    """When a raw commit object was committed; None where it does not say.

    Raises:
        CompileError: no commit object.
    """
    kind = "tag" if text.startswith("object ") else "commit"
    headers: dict[str, str] = {}
    in_signature = False
    for line in text.split("\n"):
        if not line:
            break
        if kind == "commit" and line.startswith(("gpgsig ", "gpgsig-sha256 ")):
            in_signature = True
            continue
        if in_signature and line.startswith(" "):
            continue
        in_signature = False
        key, space, value = line.partition(" ")
        if space:
            headers.setdefault(key, value)
    for name in _COMMIT_HEADERS if kind == "commit" else _TAG_HEADERS:
        if name not in headers:
            raise CompileError(f"invalid {kind} object: missing {name} header", fault=Fault("bad-commit"))
    if kind == "tag":
        raise CompileError("not a commit object", fault=Fault("bad-commit"))
    words = headers["committer"].strip()
    opening, closing = words.rfind("<"), words.rfind(">")
    if opening < 0 or closing < opening:
        return None
    parts = words[closing + 1 :].split()
    if len(parts) < 2 or len(parts[1]) != 5 or parts[1][0] not in "+-":
        return None
    try:
        seconds = parse_int(parts[0])
    except NumberError:
        return None
    zone = parts[1]
    hours, minutes = (int(digits) if digits.isdigit() else 0 for digits in (zone[1:3], zone[3:5]))
    offset = (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)
    return Time(seconds, 0, offset)
