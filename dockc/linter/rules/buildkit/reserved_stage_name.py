"""ReservedStageName reserved-stage-name."""

from __future__ import annotations

from dockc.linter.checked import CheckRule, stage_at
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class ReservedStageName(CheckRule):
    """Reports stages with names that mean something else.

    ## Why

    `scratch` is the empty image and `context` the build context. A stage of that name hides them, or cannot be reached.
    """

    code = "ReservedStageName"
    name = "reserved-stage-name"
    summary = "A stage is named `scratch` or `context`"
    severity = Severity.WARNING
    equivalents = (
        "buildkit:ReservedStageName",
        "hadolint:DL3063",
    )
    replaces = ("DL3063",)
    bad = "FROM alpine:3 AS scratch\n"
    good = "FROM alpine:3 AS base\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        from_ = stage_at(context, finding)
        return Hit(from_.stage_name_word.span, finding.message) if from_ and from_.stage_name_word else None
