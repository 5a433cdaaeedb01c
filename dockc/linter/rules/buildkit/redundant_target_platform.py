"""RedundantTargetPlatform redundant-target-platform."""

from __future__ import annotations

from dockc.grammar.source import Span
from dockc.linter.checked import CheckRule, replacing, stage_at
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class RedundantTargetPlatform(CheckRule):
    """Reports `FROM --platform=$TARGETPLATFORM`.

    ## Why

    That is the default. The flag makes a reader look for a reason.

    ## Fix

    Takes the flag out.
    """

    code = "RedundantTargetPlatform"
    name = "redundant-target-platform"
    summary = "FROM asks for the platform that it has anyway"
    severity = Severity.WARNING
    equivalents = (
        "buildkit:RedundantTargetPlatform",
        "hadolint:DL3065",
    )
    replaces = ("DL3065",)
    fixable = "safe"
    bad = "FROM --platform=$TARGETPLATFORM alpine:3\n"
    good = "FROM alpine:3\n"
    fixed = "FROM alpine:3\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        from_ = stage_at(context, finding)
        flag = from_.flag("platform") if from_ is not None else None
        if flag is None:
            return None
        text = context.source.text
        end = flag.span.end
        while end < len(text) and text[end] in " \t":
            end += 1
        return Hit(flag.span, finding.message, fix=replacing("Take the flag out", Span(flag.span.start, end), ""))
