"""UndefinedVar undefined-var."""

from __future__ import annotations

from dockc.base.record import replace
from dockc.linter.checked import DROPPED, CheckRule, entry_at, quoted_part, suggestion, variable_hit
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.images import is_plain
from dockc.linter.rule import Hit, Severity
from dockc.linter.words import uses


class UndefinedVar(CheckRule):
    """Reports variables that neither ARG nor ENV of the stage defines, in words that BuildKit expands. Text of RUN and
    CMD is expanded by the shell and not looked at.

    ## Why

    It is replaced by nothing: a path loses a part, a tag its version.

    ## Known problems

    BuildKit also reports `${NAME:-default}` and `${NAME:+value}`; dockc's own profile does not: they say that the
    variable may be missing. Variables that the base image sets are not known without asking a registry. So in a stage
    on an image that is more than a plain distribution the finding is one of the set `strict`, unless a name of the file
    is nearly the same.

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
        entry = entry_at(context, finding)
        if entry is None or entry.instruction is None:
            return None
        name = quoted_part(finding.message).removeprefix("$")
        if any(after.removeprefix(":").startswith(("-", "+")) for _, after in uses(entry.instruction.code, name)):
            return DROPPED  # the file says what holds where it is not set
        meant = suggestion(finding)
        if meant is not None and (meant[1] == "PATH" or meant[1] not in context.declared):
            finding = replace(finding, message=finding.message[: meant.start()])  # of PATH nobody thought
            meant = None
        hit = variable_hit(context, finding, entry.instruction.span)
        below = context.bases
        image = below[entry.stage].image if 0 <= entry.stage < len(below) else "scratch"
        if hit is None or meant is not None or image == "scratch":
            return hit
        if is_plain(image):
            return hit  # it sets PATH and nothing else
        return replace(
            hit, severity=Severity.INFO, help=f"{image} may set it; otherwise declare it with ARG or ENV", strict=True
        )
