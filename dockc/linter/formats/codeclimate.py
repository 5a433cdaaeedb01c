"""Code Climate's issues: its own stream of them, and GitLab's code quality report, a list of the same with a
fingerprint each.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

from dockc.linter.finding import FileReport, Finding, Severity

_SEVERITIES = {
    Severity.ERROR: "critical",
    Severity.WARNING: "major",
    Severity.INFO: "info",
    Severity.STYLE: "minor",
}


def render(reports: Sequence[FileReport]) -> str:
    """Issues as Code Climate's engines print them: JSON objects, each ended by a NUL byte (Code Climate Spec,
    "Output").
    """
    issues = (_issue(r, f) for r in reports for f in r.findings)
    return "".join(f"{json.dumps(issue, ensure_ascii=False, separators=(',', ':'))}\0" for issue in issues)


def render_gitlab(reports: Sequence[FileReport]) -> str:
    """A JSON array of issues, each with a fingerprint that survives changes elsewhere in the file."""
    rows = []
    seen: Counter[str] = Counter()
    for report in reports:
        for finding in report.findings:
            text = report.source.line_text(min(finding.line, len(report.source.line_starts)))
            identity = f"{report.path}\x00{finding.code}\x00{finding.message}\x00{text}"
            seen[identity] += 1
            digest = hashlib.sha256(f"{identity}\0{seen[identity]}".encode("utf-8", "surrogateescape"))
            rows.append(_issue(report, finding) | {"fingerprint": digest.hexdigest()})
    return _dump(rows)


def _issue(report: FileReport, finding: Finding) -> dict[str, object]:
    return {
        "type": "issue",
        "check_name": finding.code,
        "description": finding.message,
        "categories": ["Bug Risk"],
        "severity": _SEVERITIES[finding.severity],
        "location": {"path": report.path, "lines": {"begin": finding.line, "end": finding.lines[1]}},
    }


def _dump(rows: list[dict[str, object]]) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"
