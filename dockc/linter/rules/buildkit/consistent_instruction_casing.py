"""ConsistentInstructionCasing consistent-instruction-casing."""

from __future__ import annotations

from dockc.linter.checked import CheckRule, entry_at, keyword_span, replacing
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class ConsistentInstructionCasing(CheckRule):
    """Reports keywords that are not written like the majority: all upper case, or all lower case. A tie counts as upper
    case.

    ## Why

    Case has no meaning here, so a difference only makes a reader look twice.

    ## Fix

    Writes the keyword like the others.
    """

    code = "ConsistentInstructionCasing"
    name = "consistent-instruction-casing"
    summary = "A keyword is not in the case that the file mostly uses"
    severity = Severity.WARNING
    equivalents = ("buildkit:ConsistentInstructionCasing",)
    fixable = "safe"
    bad = "FROM alpine:3\nWORKDIR /src\ncopy a /a\n"
    good = "FROM alpine:3\nWORKDIR /src\nCOPY a /a\n"
    fixed = "FROM alpine:3\nWORKDIR /src\nCOPY a /a\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        entry = entry_at(context, finding)
        if entry is None:
            return None
        span = keyword_span(entry)
        word = context.source.slice(span)
        text = word.lower() if finding.message.endswith("(lowercase)") else word.upper()
        return Hit(span, finding.message, fix=replacing(f"Write {text}", span, text))
