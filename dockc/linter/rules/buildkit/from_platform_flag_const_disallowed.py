"""FromPlatformFlagConstDisallowed from-platform-flag-const-disallowed."""

from __future__ import annotations

from dockc.linter.checked import CheckRule, stage_at
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class FromPlatformFlagConstDisallowed(CheckRule):
    """Reports `--platform` with a constant, unless the stage's name says that it is meant for that platform.

    ## Why

    The stage is of that platform whatever is built for, which is seldom meant. `$BUILDPLATFORM` and `$TARGETPLATFORM`
    say what is.
    """

    code = "FromPlatformFlagConstDisallowed"
    name = "from-platform-flag-const-disallowed"
    summary = "FROM is bound to one platform"
    severity = Severity.WARNING
    equivalents = (
        "buildkit:FromPlatformFlagConstDisallowed",
        "hadolint:DL3029",
    )
    replaces = ("DL3029",)
    bad = "FROM --platform=linux/amd64 alpine:3\n"
    good = "FROM --platform=$BUILDPLATFORM alpine:3\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        from_ = stage_at(context, finding)
        return Hit(from_.platform.span, finding.message) if from_ is not None else None
