"""InvalidDefaultArgInFrom invalid-default-arg-in-from."""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.linter.checked import CheckRule, stage_at
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class InvalidDefaultArgInFrom(CheckRule):
    """Reports FROM whose image is empty or malformed when no build argument is given.

    ## Why

    `docker build .` should work without further knowledge. Give the ARG a default, or the reference one (`${TAG:-3}`).

    ## Known problems

    An ARG without a default often means that a value must be given; dockc's own profile reports such a FROM in the set
    `strict` only.
    """

    code = "InvalidDefaultArgInFrom"
    name = "invalid-default-arg-in-from"
    summary = "With all ARGs at their defaults a base image has no valid name"
    severity = Severity.WARNING
    equivalents = ("buildkit:InvalidDefaultArgInFrom",)
    bad = "ARG TAG=\nFROM alpine:$TAG\n"
    good = "ARG TAG=3\nFROM alpine:$TAG\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        from_ = stage_at(context, finding)
        if from_ is None:
            return None
        # Without a value, and not: with an empty one.
        return Hit(
            from_.base.span,
            finding.message,
            strict=any(name in context.demanded for name in _NAME.findall(from_.base.text)),
        )


_NAME = pattern(r"\$\{?(\w+)")
