"""DL3065 redundant-platform."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity


class RedundantPlatform(Rule):
    """Reports `FROM --platform=$TARGETPLATFORM`.

    ## Why

    That is the platform of a FROM without the flag.
    """

    code = "DL3065"
    name = "redundant-platform"
    summary = "FROM with the platform that it has anyway"
    severity = None
    status = "superseded"
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3065", "buildkit:RedundantTargetPlatform")
    bad = "FROM --platform=$TARGETPLATFORM debian:12\n"
    good = "FROM debian:12\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, from_ in context.all(ast.From):
            if from_.platform.text in {"$TARGETPLATFORM", "${TARGETPLATFORM}"}:
                yield Hit(
                    from_.platform.span,
                    "Setting `FROM --platform` to predefined `$TARGETPLATFORM` in is redundant as this is the "
                    "default behavior",
                    entry.node.lines,
                )
