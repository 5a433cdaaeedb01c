"""Checkstyle's XML, which many CI systems read."""

from __future__ import annotations

from collections.abc import Sequence

from dockc.base.pattern import pattern
from dockc.linter.finding import FileReport, Severity

_SEVERITIES = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "info", Severity.STYLE: "info"}
_NOT_XML = pattern("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENTITIES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
)


def render(reports: Sequence[FileReport]) -> str:
    """One `file` element a file that has findings."""
    lines = ["<?xml version='1.0' encoding='UTF-8'?>", "<checkstyle version='4.3'>"]
    for report in reports:
        if not report.findings:
            continue
        lines.append(f"  <file name={attribute(report.path)}>")
        lines += [
            f"    <error line={attribute(f.line)} column={attribute(f.column)} severity="
            f"{attribute(_SEVERITIES[f.severity])} message={attribute(f.message)} source={attribute(f.code)}/>"
            for f in report.findings
        ]
        lines.append("  </file>")
    return "\n".join([*lines, "</checkstyle>", ""])


def attribute(value: object) -> str:
    """A quoted attribute value; characters that XML cannot hold become U+FFFD."""
    return '"' + _NOT_XML.sub("\ufffd", str(value)).translate(_ENTITIES) + '"'
