"""SARIF 2.1.0 (OASIS), as code scanning services read it, with fixes and the rules' pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

from dockc.base.version import VERSION
from dockc.grammar.source import Source, Span
from dockc.linter.docs import page
from dockc.linter.finding import FileReport, Finding, Severity
from dockc.linter.registry import codes, get_rule

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note", Severity.STYLE: "note"}


def render(reports: Sequence[FileReport]) -> str:
    """One run with one result a finding; columns count UTF-16 units, as the format's default has it."""
    rules: dict[str, dict[str, object]] = {}
    results = []
    for report in reports:
        for finding in report.findings:
            rules.setdefault(finding.code, _rule(finding))
            results.append(_result(report, finding, list(rules).index(finding.code)))
    driver = {"name": "dockc", "version": VERSION, "rules": list(rules.values())}
    run = {"tool": {"driver": driver}, "results": results, "columnKind": "utf16CodeUnits"}
    document = {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [run],
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _rule(finding: Finding) -> dict[str, object]:
    rule: dict[str, object] = {"id": finding.code}
    if finding.name:
        rule["name"] = finding.name
    if finding.description:
        rule["shortDescription"] = {"text": finding.description}
    if finding.url:
        rule["helpUri"] = finding.url
    if finding.code in codes():
        markdown = page(get_rule(finding.code)).partition("\n## Example")[0]  # in some stands what looks like a secret
        rule["help"] = {"text": f"`dockc lint --explain {finding.code}` says more.", "markdown": markdown}
    return rule


def _result(report: FileReport, finding: Finding, rule_index: int) -> dict[str, object]:
    uri = quote(report.path.replace("\\", "/"), safe="/~!$&'()*+,;=@", errors="surrogateescape")
    location = {"artifactLocation": {"uri": uri}, "region": region(report.source, finding.span)}
    result: dict[str, object] = {
        "ruleId": finding.code,
        "ruleIndex": rule_index,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": location}],
    }
    if finding.fix:
        replacements = [
            {"deletedRegion": region(report.source, e.span), "insertedContent": {"text": e.text}}
            for e in finding.fix.edits
        ]
        change = {"artifactLocation": {"uri": uri}, "replacements": replacements}
        result["fixes"] = [{"description": {"text": finding.fix.title}, "artifactChanges": [change]}]
    return result


def region(source: Source, span: Span) -> dict[str, int]:
    """A region with lines and UTF-16 columns from 1."""
    start, end = source.position(span.start), source.position(span.end)
    return {
        "startLine": start.line,
        "startColumn": _utf16(source, start.line, start.column) + 1,
        "endLine": end.line,
        "endColumn": _utf16(source, end.line, end.column) + 1,
    }


def _utf16(source: Source, line: int, column: int) -> int:
    begin = source.line_starts[line - 1]
    return sum(2 if c > "\uffff" else 1 for c in source.text[begin : begin + column])
