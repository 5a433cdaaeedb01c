"""InvalidDefinitionDescription invalid-definition-description."""

from __future__ import annotations

from dockc.grammar.source import Span
from dockc.linter.checked import CheckRule, entry_at, keyword_span, replacing
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit


class InvalidDefinitionDescription(CheckRule):
    """Reports comments above `FROM … AS name` and ARG that do not begin with the name. BuildKit has this check off; `#
    check=experimental=InvalidDefinitionDescription` at the top of the file asks for it.

    ## Why

    `docker build --call=outline` shows such comments as descriptions, if they begin with the name.

    ## Fix

    Puts an empty comment line in between, which makes it an ordinary comment.
    """

    code = "InvalidDefinitionDescription"
    name = "invalid-definition-description"
    summary = "A comment above a stage or ARG does not begin with its name"
    severity = None
    equivalents = ("buildkit:InvalidDefinitionDescription",)
    fixable = "safe"
    bad = (
        "# check=experimental=InvalidDefinitionDescription\n# Which one to use.\nARG VERSION=3\nFROM alpine:$VERSION\n"
    )
    good = "# check=experimental=InvalidDefinitionDescription\n# VERSION is the one to use.\nARG VERSION=3\nFROM alpine:$VERSION\n"
    fixed = "# check=experimental=InvalidDefinitionDescription\n# Which one to use.\n#\nARG VERSION=3\nFROM alpine:$VERSION\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        entry = entry_at(context, finding)
        if entry is None:
            return None
        at = context.source.line_span(entry.line).start
        return Hit(
            keyword_span(entry), finding.message, fix=replacing("Make it an ordinary comment", Span(at, at), "#\n")
        )
