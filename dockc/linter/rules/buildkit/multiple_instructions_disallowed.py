"""MultipleInstructionsDisallowed multiple-instructions-disallowed."""

from __future__ import annotations

from dockc.linter.checked import CheckRule, entry_at, keyword_span, replacing
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class MultipleInstructionsDisallowed(CheckRule):
    """Reports an instruction of which only the last counts, where it is not the last.

    ## Why

    It has no effect, but looks as if it had.

    ## Fix

    Takes out the one without effect.
    """

    code = "MultipleInstructionsDisallowed"
    name = "multiple-instructions-disallowed"
    summary = "CMD, ENTRYPOINT or HEALTHCHECK that a later one of the stage overrides"
    severity = Severity.WARNING
    equivalents = (
        "buildkit:MultipleInstructionsDisallowed",
        "hadolint:DL3012",
        "hadolint:DL4003",
        "hadolint:DL4004",
    )
    fixable = "safe"
    changes = "history"
    bad = 'FROM alpine:3\nCMD ["a"]\nCMD ["b"]\n'
    good = 'FROM alpine:3\nCMD ["b"]\n'
    fixed = 'FROM alpine:3\nCMD ["b"]\n'

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        entry = entry_at(context, finding)
        if entry is None:
            return None
        return Hit(keyword_span(entry), finding.message, fix=replacing("Take it out", entry.node.span, ""))
