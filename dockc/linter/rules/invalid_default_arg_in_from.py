"""InvalidDefaultArgInFrom invalid-default-arg-in-from."""

from __future__ import annotations

from dockc.linter.checked import CheckRule, stage_at
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class InvalidDefaultArgInFrom(CheckRule):
    """Reports FROM whose image is empty or malformed when no build argument is given.

    ## Why

    `docker build .` should work without further knowledge. Give the ARG a default, or the reference one (`${TAG:-3}`).
    """

    code = "InvalidDefaultArgInFrom"
    name = "invalid-default-arg-in-from"
    summary = "With all ARGs at their defaults a base image has no valid name"
    severity = Severity.WARNING
    equivalents = ("buildkit:InvalidDefaultArgInFrom",)
    bad = "ARG TAG\nFROM alpine:$TAG\n"
    good = "ARG TAG=3\nFROM alpine:$TAG\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        from_ = stage_at(context, finding)
        return Hit(from_.base.span, finding.message) if from_ is not None else None
