"""JUnit's XML: a test suite a file, a failure a finding, one passing case for a clean file."""

from __future__ import annotations

from collections.abc import Sequence

from dockc.linter.finding import FileReport
from dockc.linter.formats.checkstyle import attribute


def render(reports: Sequence[FileReport]) -> str:
    """A `testsuites` document."""
    total = sum(len(r.findings) for r in reports)
    tests = sum(max(len(r.findings), 1) for r in reports)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="dockc" tests="{tests}" failures="{total}">',
    ]
    for report in reports:
        count = len(report.findings)
        lines.append(
            f'  <testsuite name={attribute(report.path)} tests="{max(count, 1)}" failures="{count}" errors="0">'
        )
        if not report.findings:
            lines.append(f'    <testcase name="no findings" classname={attribute(report.path)}/>')
        for f in report.findings:
            lines += [
                f"    <testcase name={attribute(f'{f.code} line {f.line}')} classname={attribute(report.path)}>",
                f"      <failure type={attribute(f.severity.value)} message={attribute(f'{f.code}: {f.message}')}/>",
                "    </testcase>",
            ]
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])
