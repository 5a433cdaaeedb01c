"""DL3012 multiple-healthcheck."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import stretches
from dockc.linter.rule import Hit, Rule, Severity


class MultipleHealthcheck(Rule):
    """Reports the second and later HEALTHCHECK of a stage.

    ## Why

    Only the last one counts.
    """

    code = "DL3012"
    name = "multiple-healthcheck"
    summary = "More than one HEALTHCHECK"
    severity = None
    status = "superseded"
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3012", "buildkit:MultipleInstructionsDisallowed")
    bad = "FROM debian:12\nHEALTHCHECK CMD a\nHEALTHCHECK CMD b\n"
    good = "FROM debian:12\nHEALTHCHECK CMD a\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entries in stretches(context):
            found = [e for e in entries if e.keyword == "HEALTHCHECK"]
            for entry in found[1:]:
                yield Hit(entry.node.span, "Multiple `HEALTHCHECK` instructions", entry.node.lines)
