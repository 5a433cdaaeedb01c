"""A compile error as a diagnostic: its code, the exact words that it is about, and what to do.

The error carries its `Fault`; here it gets its help, and its place in the source, once it is to be shown.

The reference ends at the first error. `diagnose_all` goes on: it leaves the instruction out and compiles what is left.
"""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.base.record import replace
from dockc.compiler.compile import Front
from dockc.compiler.faults import help_of
from dockc.compiler.syntax.ast import Arg, Dockerfile, Env, From, Instruction
from dockc.errors import CompileError, Fault
from dockc.grammar.diagnostic import Diagnostic
from dockc.grammar.source import Source, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MEANT = pattern(r" \(did you mean (\S+)\?\)$")
#: Kinds whose help lists all names: one that was probably meant says more.
_LISTS = frozenset({"bad-mount/type", "bad-mount/option"})
#: Errors shown of one file, and instructions lowered again to find those behind the first.
_MOST, _WORK = 20, 20_000
#: What may be wrong only since an ARG or ENV with an error of its own was left out.
_FOLLOWING = frozenset(
    {"unset-variable", "blank-base", "bad-image-name", "bad-platform", "blank-platform", "bad-port", "blank-name"}
)


def diagnose(error: CompileError, front: Front) -> Diagnostic | None:
    """What to show of an error; None if it is about nothing that stands in the file."""
    return _blamed(error, front)[0]


def diagnose_all(
    error: CompileError, front: Front, retry: Callable[[Front], CompileError | None]
) -> tuple[Diagnostic, ...]:
    """What to show of an error, and of those that stand behind it, in order of place.

    Args:
        retry: compiles a file once more with what is known by now; gives its error, or None where that cannot be said.
    """
    found: list[Diagnostic] = []
    lost_variables = False
    next_: CompileError | None = error
    size = len(_instructions(front.result.dockerfile)) if front.result.dockerfile is not None else 0
    while next_ is not None and len(found) < _MOST and len(found) * size <= _WORK:
        diagnostic, instruction = _blamed(next_, front)
        if diagnostic is None or (lost_variables and diagnostic.code in _FOLLOWING):
            break
        found.append(diagnostic)
        if instruction is None or isinstance(instruction, From):
            break
        lost_variables |= isinstance(instruction, Arg | Env)
        front = _without(instruction, front)
        next_ = retry(front)
    return tuple(sorted(found, key=lambda d: d.span.start))


def _blamed(error: CompileError, front: Front) -> tuple[Diagnostic | None, Instruction | None]:
    """The diagnostic of an error, and the instruction that it is about."""
    dockerfile = front.result.dockerfile
    if dockerfile is None:
        return None, None
    span = place(error.fault, front.source)
    if span is not None:
        within = (
            one
            for one in _instructions(dockerfile)
            if one.span.start <= span.start < max(one.span.end, one.span.start + 1)
        )
        return _made(error, span, front), next(within, None)
    lines = next(((r[0][0], r[-1][1]) for r in error.locations if r), None)
    for one in _instructions(dockerfile):
        if lines and one.lines[0] <= lines[0] <= one.lines[1]:
            # Nothing better is known: the base image of a FROM, for triggers come from there, or the whole instruction.
            return _made(error, one.base.span if isinstance(one, From) else one.words.span, front), one
    return None, None


def place(fault: Fault, source: Source) -> Span | None:
    """Where the words of a fault stand in the source; None for one that is in no words."""
    if fault.span is None:
        return None
    whole = Span(*fault.span)
    if fault.part is None:
        return whole
    start, end = fault.part
    under = source.slice(whole)
    if under != fault.text:  # quotes and continuations were removed: the part as far as it can be found there
        wanted = fault.text[start:end]
        at = under.find(wanted) if wanted and under.count(wanted) == 1 else -1
        return Span(whole.start + at, whole.start + at + len(wanted)) if at >= 0 else whole
    return Span(whole.start + start, min(whole.start + max(end, start + 1), max(whole.end, whole.start + start)))


def _made(error: CompileError, span: Span, front: Front) -> Diagnostic:
    meant = _MEANT.search(error.message)
    return Diagnostic(
        error.fault.code,
        error.message[: meant.start()] if meant else error.message,
        span,
        help=error.hint or ("" if meant and error.fault.kind in _LISTS else help_of(error.fault)),
        lines=front.source.lines_of(span),
        suggestion=error.suggestion or (meant[1] if meant else ""),
    )


def _instructions(dockerfile: Dockerfile) -> list[Instruction]:
    found: list[Instruction] = list(dockerfile.meta_args)
    for stage in dockerfile.stages:
        found += (stage.from_, *stage.instructions)
    return found


def _without(instruction: Instruction, front: Front) -> Front:
    """The file without an instruction; all others keep their places."""
    dockerfile = front.result.dockerfile
    assert dockerfile is not None
    stages = tuple(
        replace(stage, instructions=tuple(one for one in stage.instructions if one is not instruction))
        for stage in dockerfile.stages
    )
    meta_args = tuple(one for one in dockerfile.meta_args if one is not instruction)
    left = replace(dockerfile, stages=stages, meta_args=meta_args)
    return Front(front.source, front.parsed, replace(front.result, dockerfile=left))
