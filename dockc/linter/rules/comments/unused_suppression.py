"""DK0001 unused-suppression."""

from __future__ import annotations

import re

from dockc.grammar.diagnostic import Edit
from dockc.grammar.source import Span
from dockc.linter.context import Context
from dockc.linter.pragmas import Pragma
from dockc.linter.rule import Fix, Hit, Rule, Severity


class UnusedSuppression(Rule):
    """Reports `# hadolint ignore=` and `# dockc ignore=` comments that name a rule which finds nothing there. Rules
    that are switched off, or that could not run, do not count.

    ## Why

    A comment that outlived its reason hides the next real finding in that place.

    ## Fix

    Takes the rule out of the comment, and the comment out where nothing is left.
    """

    code = "DK0001"
    name = "unused-suppression"
    summary = "A suppressing comment suppresses nothing"
    severity = Severity.WARNING
    fixable = "safe"
    bad = "FROM debian:12\n# dockc ignore=DL3020 it was an ADD once\nCOPY a /a\n"
    good = "FROM debian:12\nCOPY a /a\n"
    fixed = "FROM debian:12\nCOPY a /a\n"

    def hit(self, context: Context, pragma: Pragma, left: frozenset[str]) -> Hit:
        """The finding for a comment of which some codes suppressed nothing; the runner knows which."""
        message = f"suppresses nothing: {', '.join(sorted(left))}"
        mild = (
            None if pragma.kind == "own" else Severity.INFO
        )  # hadolint may need its comment: it finds more, and less exactly
        return Hit(pragma.span, message, (pragma.line, pragma.line), fix=_fix(context, pragma, left), severity=mild)


def _fix(context: Context, pragma: Pragma, left: frozenset[str]) -> Fix:
    kept = [code for code in sorted(pragma.codes) if code not in left]
    whole = context.source.line_span(pragma.line)
    if not kept:
        return Fix("Take the comment out", (Edit(whole, ""),))
    text = context.source.slice(whole)
    listed = re.search(r"ignore[ \t]*=[ \t]*([A-Za-z0-9_\-]+(?:[ \t]*,[ \t]*[A-Za-z0-9_\-]+)*)", text)
    if listed is None:
        return Fix("Take the comment out", (Edit(whole, ""),))
    span = Span(whole.start + listed.start(1), whole.start + listed.end(1))
    return Fix(f"Keep {', '.join(kept)} only", (Edit(span, ",".join(kept)),))
