"""BuildKit's own checks as findings: the Dockerfile is lowered with made-up base images, and what the checks say is taken over."""

from __future__ import annotations

from dockc.compiler.checks import Warning as Check
from dockc.compiler.compile import Front, LintResult, lint
from dockc.compiler.imagine import PLATFORM, Images, Known, made_up
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import Answers, Unanswered
from dockc.errors import CompileError
from dockc.linter.options import LintOptions
from dockc.oci.platform import normalize, parse

_ROUNDS = 50

__all__ = ["Check", "check"]


def check(front: Front, options: LintOptions) -> LintResult:
    """What BuildKit's lint request would say about a file."""
    try:
        compile_options = CompileOptions.from_attrs(options.attrs, build_platforms=(normalize(parse(PLATFORM)),))
    except CompileError as error:
        return LintResult((), error)
    known = Known(ignore_file=options.ignore_file, architectures=options.images)
    answers = Answers(Images(known))
    for _ in range(_ROUNDS):
        try:
            return lint(front, compile_options, answers)
        except Unanswered as error:
            more = made_up(error.requests, known)
            answers = Answers(
                answers.images,
                {**answers.files, **more.files},
                {**answers.http, **more.http},
                {**answers.git, **more.git},
            )
    return LintResult((), CompileError("the file asks about too many images"))
