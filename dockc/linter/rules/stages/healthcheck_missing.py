"""DL3057 healthcheck-missing."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.inherit import bad_stages
from dockc.linter.rule import Hit, Rule


class HealthcheckMissing(Rule):
    """Reports stages without HEALTHCHECK, unless they build on one that has it or only feed one.

    ## Why

    Without a check an engine takes a hanging program for a healthy one. Off by default: Kubernetes and others bring
    their own.
    """

    code = "DL3057"
    name = "healthcheck-missing"
    summary = "No HEALTHCHECK"
    severity = None
    hadolint_severity = None
    equivalents = ("hadolint:DL3057",)
    bad = 'FROM debian:12\nCMD ["a"]\n'
    good = 'FROM debian:12\nHEALTHCHECK CMD ["a"]\n'

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        has = {entry.index for entry in context.entries if entry.keyword == "HEALTHCHECK"}
        for entry in bad_stages(context, has):
            yield Hit(entry.node.span, "`HEALTHCHECK` instruction missing.", entry.node.lines)
