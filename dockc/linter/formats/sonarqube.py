"""SonarQube's generic issues ("Importing third-party issues": `issues`, each with an engine, a rule, a severity, a type
and a place).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from dockc.linter.finding import FileReport, Finding, Severity

_SEVERITIES = {
    Severity.ERROR: "CRITICAL",
    Severity.WARNING: "MAJOR",
    Severity.INFO: "MINOR",
    Severity.STYLE: "INFO",
}


def render(reports: Sequence[FileReport]) -> str:
    """One object, all files' findings in its list."""
    issues = [_issue(report, finding) for report in reports for finding in report.findings]
    return json.dumps({"issues": issues}, ensure_ascii=False, indent=1) + "\n"


def _issue(report: FileReport, finding: Finding) -> dict[str, object]:
    return {
        "engineId": "dockc",
        "ruleId": finding.code,
        "severity": _SEVERITIES[finding.severity],
        "type": "BUG" if finding.severity is Severity.ERROR else "CODE_SMELL",
        "primaryLocation": {
            "message": finding.message,
            "filePath": report.path,
            "textRange": _range(report, finding),
        },
    }


def _range(report: FileReport, finding: Finding) -> dict[str, int]:
    """Lines from 1 and columns from 0, the end excluded; whole lines where the words are elsewhere or nothing: an
    import that names no character ends the whole of it.
    """
    start, end = (report.source.position(at) for at in (finding.span.start, finding.span.end))
    if start.line != finding.line or (start.line, start.column) >= (end.line, end.column):
        return {"startLine": finding.line, "endLine": finding.lines[1]}
    return {"startLine": start.line, "endLine": end.line, "startColumn": start.column, "endColumn": end.column}
