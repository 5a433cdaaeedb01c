"""A compile error as a diagnostic: its code, the exact words that it is about, and what to do.

Lowering says what is wrong in the reference's words and on which lines; nothing else is known there, and nothing else costs time there.
Only once an error is to be shown is it looked at again: `table` knows every message by its form, `places` finds the words.

The reference ends at the first error. `diagnose_all` goes on: it leaves the instruction out and compiles what is left.
"""

from __future__ import annotations

import re

from dockc.base.pattern import pattern
from dockc.base.record import replace
from dockc.compiler.blame.places import Case, source_span
from dockc.compiler.blame.table import ROWS
from dockc.compiler.compile import Front
from dockc.compiler.syntax.ast import Arg, Dockerfile, Env, From, Instruction
from dockc.errors import CompileError
from dockc.grammar.diagnostic import Diagnostic
from dockc.grammar.source import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MEANT = pattern(r" \(did you mean (\S+)\?\)$")
_LISTS = pattern(r"options are|mounts are of type")
#: The code of an error that no row knows.
OTHER = "compile-error"
#: Errors shown of one file, and instructions lowered again to find those behind the first.
_MOST, _WORK = 20, 20_000
#: What may be wrong only since an ARG or ENV with an error of its own was left out.
_FOLLOWING = frozenset({"unset-variable", "blank-base", "bad-image-name", "bad-platform", "bad-port", "blank-name"})


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
    message = _MEANT.sub("", error.message)
    lines = next(((r[0][0], r[-1][1]) for r in error.locations if r), None)
    everything = _instructions(dockerfile)
    found = [one for one in everything if lines and one.lines[0] <= lines[0] <= one.lines[1]]
    for row in ROWS:
        match = re.fullmatch(row.pattern, message, re.DOTALL)
        if match is None:
            continue
        for instruction in found or everything:
            span = row.place(Case(front.source, dockerfile, instruction, match, message))
            if span is not None:
                help_ = row.help.format(*match.groups())
                inside = instruction.span.start <= span.start < max(instruction.span.end, instruction.span.start + 1)
                return _made(error, message, row.code, span, help_, front), instruction if inside else None
        if found:
            return _made(error, message, row.code, _whole(found[0]), row.help.format(*match.groups()), front), found[0]
    if found:
        return _made(error, message, OTHER, _whole(found[0]), "", front), found[0]
    return None, None


def _made(error: CompileError, message: str, code: str, span: Span, help_: str, front: Front) -> Diagnostic:
    meant = _MEANT.search(error.message)
    return Diagnostic(
        code,
        message,
        span,
        # A name that was probably meant says more than a list of all.
        help=error.hint or ("" if meant and _LISTS.match(help_) else help_),
        lines=front.source.lines_of(span),
        suggestion=error.suggestion or (meant[1] if meant else ""),
    )


def _instructions(dockerfile: Dockerfile) -> list[Instruction]:
    found: list[Instruction] = list(dockerfile.meta_args)
    for stage in dockerfile.stages:
        found += (stage.from_, *stage.instructions)
    return found


def _whole(instruction: Instruction) -> Span:
    """An instruction that nothing better is known about: the base image of a FROM, for triggers come from there."""
    return instruction.base.span if isinstance(instruction, From) else source_span(instruction)


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
