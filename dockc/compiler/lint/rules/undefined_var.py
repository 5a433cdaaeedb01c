"""UndefinedVar undefined-var."""

from __future__ import annotations

from dockc.compiler.lint.checked import CheckRule, instruction_at, variable_hit
from dockc.compiler.lint.context import Context
from dockc.compiler.lint.finding import Finding
from dockc.compiler.lint.rule import Hit, Severity


class UndefinedVar(CheckRule):
    """Reports variables that neither ARG nor ENV of the stage defines, in words that BuildKit expands. Text of RUN and CMD is expanded by the shell and not looked at.

    ## Why

    It is replaced by nothing: a path loses a part, a tag its version.

    ## Known problems

    Variables that the base image sets are not known without asking a registry; those that common images set are left out by BuildKit.

    ## Fix

    Writes the name that was probably meant, where there is one.
    """

    code = "UndefinedVar"
    name = "undefined-var"
    summary = "A variable is used that nothing defines"
    severity = Severity.WARNING
    equivalents = ("buildkit:UndefinedVar",)
    fixable = "unsafe"
    bad = "FROM alpine:3\nARG VERSION=1\nCOPY app-$VERSOIN /app\n"
    good = "FROM alpine:3\nARG VERSION=1\nCOPY app-$VERSION /app\n"
    fixed = "FROM alpine:3\nARG VERSION=1\nCOPY app-$VERSION /app\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        found = instruction_at(context, finding)
        return variable_hit(context, finding, found.span) if found is not None else None
