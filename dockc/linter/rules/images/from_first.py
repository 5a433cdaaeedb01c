"""DL3061 from-first."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity


class FromFirst(Rule):
    """Reports instructions other than ARG before the first FROM.

    ## Why

    There is no stage yet that they could belong to; the build fails.
    """

    code = "DL3061"
    name = "from-first"
    summary = "An instruction before the first FROM"
    severity = None
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3061", "buildkit:build-error")
    bad = "RUN true\nFROM debian:12\n"
    good = "ARG V=12\nFROM debian:$V\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry in context.entries:
            if entry.keyword == "FROM":
                break
            if entry.keyword != "ARG":
                message = "Invalid instruction order. Dockerfile must begin with `FROM`, `ARG` or comment."
                yield Hit(entry.node.span, message, entry.node.lines)
