"""BuildKit's own checks as findings: the Dockerfile is lowered with made-up base images, and what the checks say is
taken over.
"""

from __future__ import annotations

from functools import partial

from dockc.compiler.checks import Warning as Check
from dockc.compiler.compile import Front, LintResult, linting
from dockc.compiler.imagine import PLATFORM, Known, made_up
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import converse
from dockc.errors import CompileError
from dockc.linter.options import LintOptions
from dockc.oci.platform import normalize, parse

__all__ = ["Check", "check"]


def check(front: Front, options: LintOptions) -> LintResult:
    """What BuildKit's lint request would say about a file."""
    try:
        compile_options = CompileOptions.from_attrs(options.attrs, build_platforms=(normalize(parse(PLATFORM)),))
    except CompileError as error:
        return LintResult((), error)
    known = Known(ignore_file=options.ignore_file, architectures=options.images)
    return converse(linting(front, compile_options), partial(made_up, known=known))
