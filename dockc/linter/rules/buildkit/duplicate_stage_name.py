"""DuplicateStageName duplicate-stage-name."""

from __future__ import annotations

from dockc.linter.checked import CheckRule, stage_at
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class DuplicateStageName(CheckRule):
    """Reports a stage whose name an earlier one has already; names are compared without case.

    ## Why

    `FROM`, `--from` and `--target` can reach only one of them, and which one depends on where they stand.
    """

    code = "DuplicateStageName"
    name = "duplicate-stage-name"
    summary = "Two stages have one name"
    severity = Severity.WARNING
    equivalents = (
        "buildkit:DuplicateStageName",
        "hadolint:DL3024",
    )
    replaces = ("DL3024",)
    bad = "FROM alpine:3 AS base\nFROM alpine:3 AS base\n"
    good = "FROM alpine:3 AS base\nFROM alpine:3 AS tools\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        from_ = stage_at(context, finding)
        return Hit(from_.stage_name_word.span, finding.message) if from_ and from_.stage_name_word else None
