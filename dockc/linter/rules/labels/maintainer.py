"""DL4000 maintainer."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity


class MaintainerInstruction(Rule):
    """Reports MAINTAINER.

    ## Why

    It is deprecated. A label says the same, and tools find it.
    """

    code = "DL4000"
    name = "maintainer"
    summary = "MAINTAINER"
    severity = None
    status = "superseded"
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL4000", "buildkit:MaintainerDeprecated")
    bad = "FROM debian:12\nMAINTAINER Ada\n"
    good = 'FROM debian:12\nLABEL org.opencontainers.image.authors="Ada"\n'

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry in context.entries:
            if entry.keyword == "MAINTAINER":
                yield Hit(entry.node.span, "MAINTAINER is deprecated", entry.node.lines)
