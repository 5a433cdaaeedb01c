"""DL3029 platform-in-from."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity


class PlatformInFrom(Rule):
    """Reports `FROM --platform` whose value is neither BUILDPLATFORM nor TARGETPLATFORM.

    ## Why

    A fixed platform ignores what the build was asked to make.
    """

    code = "DL3029"
    name = "platform-in-from"
    summary = "FROM with a fixed platform"
    severity = None
    status = "superseded"
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3029", "buildkit:FromPlatformFlagConstDisallowed")
    bad = "FROM --platform=linux/amd64 debian:12\n"
    good = "FROM --platform=$BUILDPLATFORM debian:12\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, from_ in context.all(ast.From):
            platform = from_.platform.text
            if platform and "BUILDPLATFORM" not in platform and "TARGETPLATFORM" not in platform:
                yield Hit(from_.platform.span, "Do not use --platform flag with FROM", entry.node.lines)
