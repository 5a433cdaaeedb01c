"""Findings for people: code and message, place, the lines with marks under the exact words, what to do, where to read
on.
"""

from __future__ import annotations

from dockc.grammar.diagnostic import Diagnostic
from dockc.grammar.render import render as render_diagnostic
from dockc.grammar.source import Source
from dockc.linter.finding import FileReport, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def render(reports: Sequence[FileReport]) -> str:
    """All findings with an empty line between them."""
    return "\n".join(one(source, f) for r in reports if r.findings for source in [r.shown()] for f in r.findings)


def one(source: Source, finding: Finding) -> str:
    """One finding; ends with a line end. `source` is the text as it may be shown."""
    diagnostic = Diagnostic(
        finding.code, finding.message, finding.span, finding.severity, help=finding.help, fix=finding.fix
    )
    text = render_diagnostic(diagnostic, source)
    link = where_to_read(finding)
    if not link:
        return text
    lines = text.splitlines()
    gutter = " " * (len(lines[2]) - 1)
    if not (finding.help or finding.fix):
        text += f"{gutter}|\n"
    return f"{text}{gutter}= see: {link}\n"


def where_to_read(finding: Finding) -> str:
    """The rule's page on the web, or the command that prints it; "" for what is no rule."""
    if finding.url:
        return finding.url
    return f"dockc lint --explain {finding.code}" if finding.description else ""
