"""GitHub Actions workflow commands: an annotation on the line for each finding."""

from __future__ import annotations

from collections.abc import Sequence

from dockc.linter.finding import FileReport, Finding, Severity

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice", Severity.STYLE: "notice"}


def render(reports: Sequence[FileReport]) -> str:
    """One `::error file=…::message` line a finding."""
    lines = [
        f"::{_COMMANDS[f.severity]} file={_value(r.path)},{_place(r, f)},title={_value(f.code)}::{_text(f.message)}\n"
        for r in reports
        for f in r.findings
    ]
    return "".join(lines)


def _place(report: FileReport, finding: Finding) -> str:
    """Lines; columns too where they are on one line, as GitHub wants it."""
    start, end = (report.source.position(offset) for offset in finding.span)
    if start.line != end.line or start.line != finding.line or end.column <= start.column:
        return f"line={finding.line},endLine={finding.lines[1]}"
    return f"line={start.line},endLine={end.line},col={start.column + 1},endColumn={end.column + 1}"


def _text(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    return _text(text).replace(":", "%3A").replace(",", "%2C")
