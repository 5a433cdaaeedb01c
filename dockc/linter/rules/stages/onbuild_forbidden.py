"""DL3043 onbuild-forbidden."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity


class OnbuildForbidden(Rule):
    """Reports ONBUILD of ONBUILD, FROM or MAINTAINER.

    ## Why

    These cannot be triggers; the build fails.
    """

    code = "DL3043"
    name = "onbuild-forbidden"
    summary = "ONBUILD of what cannot be a trigger"
    severity = Severity.ERROR
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3043",)
    replaces = ("DL1000",)
    bad = "FROM debian:12\nONBUILD FROM debian:12\n"
    good = "FROM debian:12\nONBUILD RUN true\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry in context.entries:
            if entry.keyword != "ONBUILD" or len(entry.node.commands) < 2:
                continue
            if entry.node.commands[1].keyword.value.upper() in {"ONBUILD", "FROM", "MAINTAINER"}:
                message = "`ONBUILD`, `FROM` or `MAINTAINER` triggered from within `ONBUILD` instruction."
                yield Hit(entry.node.span, message, entry.node.lines)
