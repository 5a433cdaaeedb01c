"""From a request to a compiled Dockerfile: the upper half of the river, and the only place where the compiler's
questions meet
the world.

    request -> inputs (source, options, named directories) -> compile, answering what it asks -> passes

No network and no asyncio unless an image, URL or repository must be asked.
"""

from __future__ import annotations

from dockc.base.files import FILE_LIMIT, read_inside, read_regular
from dockc.errors import CompileError, DockcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dockc.compiler.checks import Warning
    from dockc.compiler.compile import Compiled, Front
    from dockc.compiler.options import CompileOptions
    from dockc.compiler.passes.pipeline import PassPipeline
    from dockc.compiler.questions import Answers, Asking, Request, Unanswered
    from dockc.engine.request import CompileRequest, Inputs


# --- questions ----------------------------------------------------------------------------------------


def at_hand(
    request: CompileRequest, inputs: Inputs, requests: Iterable[Request]
) -> tuple[Answers, tuple[Request, ...]]:
    """What the request's own directories answer, and the requests that are left for the world.

    Raises:
        Unanswered: something is left, and the request forbids asking.
        DockcError: a file is too large.
    """
    from dockc.compiler.questions import Answers, ContextRequest, Unanswered

    files: dict[tuple[str, str], bytes | None] = {}
    others: list[Request] = []
    for one in requests:
        if isinstance(one, ContextRequest):
            for name in one.files:
                files[one.name, name] = read_inside(inputs.directories.get(one.name), name)
        else:
            others.append(one)
    if others and (request.locked is not None or (request.answers is not None and not request.offline)):
        raise Unanswered(others)
    return Answers(files=files), tuple(others)


def asker(request: CompileRequest, inputs: Inputs) -> Callable[[tuple[Request, ...]], Answers]:
    """Answers the compiler for a command that runs no loop: files from the directories, the rest from a resolver of its
    own.
    """

    def ask(requests: tuple[Request, ...]) -> Answers:
        answers, others = at_hand(request, inputs, requests)
        if not others:
            return answers
        from dockc.engine.world import ask_world

        return answers.merged(ask_world(others, inputs, request.store, offline=request.offline))

    return ask


def initial_answers(request: CompileRequest) -> Answers:
    """What the answers or lock file says, or nothing.

    Raises:
        DockcError: the file cannot be read or understood.
    """
    from dockc.compiler.questions import Answers

    path = request.locked or request.answers
    if path is None:
        return Answers()
    try:
        text = read_regular(path, FILE_LIMIT).decode()
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"cannot read {path}: not UTF-8 text") from exc
    return Answers.load(text, str(path))


# --- compile ------------------------------------------------------------------------------------------


def compile_all(
    request: CompileRequest,
    inputs: Inputs,
    log: Callable[[str], object],
    *,
    answers: Answers | None = None,
    warnings: list[Warning] | None = None,
) -> Asking[tuple[tuple[Compiled, ...], Answers]]:
    """Compile for every platform of the request and run the passes; also all answers that were used.

    A conversation: what the answers or lock file lacks is asked for.

    Args:
        log: takes what observers print.
        answers: what is known; None for what the request's answers or lock file says.
        warnings: findings of the checks for the first platform are added here too, also when compiling fails.

    Raises:
        DockcError: the file is wrong, or something cannot be answered.
    """
    from dockc.compiler.compile import compiling
    from dockc.compiler.options import misspelled
    from dockc.compiler.questions import Memory, Unanswered

    for key, meant in misspelled(request.attrs):
        log(f"warning: the frontend has no option {key} (did you mean {meant}?)\n")
    if not _is_usual(request):
        pipeline_of(request, log)  # what is wrong with the names of passes is said before anybody is asked
    memory = Memory(initial_answers(request) if answers is None else answers)
    done: list[Compiled] = []
    options = inputs.options
    try:
        for platform in inputs.platforms:
            options = inputs.options.for_platform(platform)
            told = None if done else warnings  # as the reference: of several platforms the first one speaks
            compiled = yield from memory.heard(compiling(inputs.front, options, memory.answers, warnings=told))
            compiled = _optimised(compiled, request, log)
            if request.locked is not None:
                from dockc.engine.pins import held, pins

                compiled = held(compiled, pins(memory.answers))
            done.append(compiled)
    except CompileError as exc:
        raise explained(exc, inputs.front, options, memory.answers) from None
    except Unanswered as exc:
        if request.locked is None:
            raise
        raise _drifted(request, inputs, exc) from None
    return tuple(done), memory.answers


def _drifted(request: CompileRequest, inputs: Inputs, error: Unanswered) -> DockcError:
    """The Dockerfile asks for what the lock file does not have."""
    from dockc.compiler.questions import describe

    missing = ", ".join(describe(one) for one in error.requests)
    return DockcError(
        f"{request.locked} has no entry for {missing}, which {inputs.front.source.name} asks for",
        hint="Bring the lock file up to date with `dockc lock`.",
    )


def explained(
    error: CompileError, front: Front, options: CompileOptions | None = None, answers: Answers | None = None
) -> CompileError:
    """The error with the file it speaks of, and with everything else that is wrong there, as far as the answers
    tell.
    """
    from dockc.compiler.compile import compile
    from dockc.compiler.diagnose import diagnose_all
    from dockc.compiler.questions import Unanswered
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
    passes = pipeline_of(request, log)
    return compiled.with_module(passes.run(compiled.module))


def _is_usual(request: CompileRequest) -> bool:
    """Whether the default passes run and nobody looks at them."""
    observed = bool(request.print_after or request.print_after_all or request.time_passes or request.verify_each)
    return not observed and request.level == 1 and not request.passes and not request.squash


def pipeline_of(request: CompileRequest, log: Callable[[str], object]) -> PassPipeline:
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
            raise UsageError(
                f"--print-after={name}: the pass does not run", hint=f"Running: {', '.join(sorted(known)) or 'none'}."
            )
    return passes
