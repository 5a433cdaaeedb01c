"""A JSON array of findings: hadolint's fields, and the exact place, rule name, link and fix."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dockc.grammar.source import Source
from dockc.linter.finding import FileReport, Finding


def render(reports: Sequence[FileReport]) -> str:
    """One object a finding, all files in one array."""
    rows = [_row(report, finding) for report in reports for finding in report.findings]
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def _row(report: FileReport, finding: Finding) -> dict[str, object]:
    source = report.source
    row: dict[str, object] = {
        "file": report.path,
        "line": finding.line,
        "column": finding.column,
        "end_line": finding.lines[1],
        "level": finding.severity.value,
        "code": finding.code,
        "message": finding.message,
        "name": finding.name,
        "span": {"start": place(source, finding.span.start), "end": place(source, finding.span.end)},
    }
    if finding.url:
        row["url"] = finding.url
    if finding.help:
        row["help"] = finding.help
    if finding.fix:
        row["fix"] = {
            "title": finding.fix.title,
            "applicability": finding.fix.applicability.value,
            "edits": [
                {"start": place(source, e.span.start), "end": place(source, e.span.end), "text": e.text}
                for e in finding.fix.edits
            ],
        }
    return row


def place(source: Source, offset: int) -> dict[str, int]:
    """Line and column, both from 1."""
    position = source.position(offset)
    return {"line": position.line, "column": position.column + 1}
