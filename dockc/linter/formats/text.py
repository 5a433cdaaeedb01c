"""Findings for people.

`full`: code and message, place, the lines with marks under the exact words, what to do, where to read on. `concise`: a
line each. `text`: full where that is a screen at most, else concise: who has many findings wants to see them all at
once first.
"""

from __future__ import annotations

from dockc.grammar.diagnostic import Applicability, Diagnostic
from dockc.grammar.render import render as render_diagnostic
from dockc.grammar.source import Source
from dockc.linter.finding import FileReport, Finding
from dockc.linter.formats.lines import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


#: So many findings with their lines fit on one screen.
_FEW = 3


def few(reports: Sequence[FileReport]) -> bool:
    """Whether `text` shows the lines of all findings."""
    return sum(len(report.findings) for report in reports) <= _FEW


def render(reports: Sequence[FileReport]) -> str:
    """Full where there are few findings, else concise."""
    return render_full(reports) if few(reports) else render_concise(reports)


def render_concise(reports: Sequence[FileReport]) -> str:
    """One line a finding: place, severity and code, message, and a star where `--fix` mends it."""
    out = []
    for report in reports:
        for f in report.findings:
            at = report.source.position(f.span.start)
            place = f"{one_line(report.path)}:{at.line}:{at.column + 1}"
            out.append(f"{place}: {f.severity.value}[{f.code}]{_star(f)} {one_line(f.message)}\n")
    return "".join(out)


def _star(finding: Finding) -> str:
    return " [*]" if finding.fix is not None and finding.fix.applicability is Applicability.SAFE else ""


def render_full(reports: Sequence[FileReport]) -> str:
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
