"""FromAsCasing from-as-casing."""

from __future__ import annotations

from dockc.linter.checked import CheckRule, replacing, stage_at
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class FromAsCasing(CheckRule):
    """Reports `FROM … as` and `from … AS`.

    ## Why

    One style reads better than two on one line.

    ## Fix

    Writes AS like FROM.
    """

    code = "FromAsCasing"
    name = "from-as-casing"
    summary = "AS is not in the case of its FROM"
    severity = Severity.WARNING
    equivalents = ("buildkit:FromAsCasing",)
    fixable = "safe"
    bad = "FROM alpine:3 as build\n"
    good = "FROM alpine:3 AS build\n"
    fixed = "FROM alpine:3 AS build\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        from_ = stage_at(context, finding)
        if from_ is None or from_.as_word is None:
            return None
        text = "AS" if from_.name.isupper() else "as"
        return Hit(from_.as_word.span, finding.message, fix=replacing(f"Write {text}", from_.as_word.span, text))
