"""Codacy's results: a JSON object a line, in the words that hadolint prints for Codacy's tool runner."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dockc.linter.finding import FileReport


def render(reports: Sequence[FileReport]) -> str:
    """One object a finding, each on a line of its own."""
    rows = (
        {"filename": r.path, "patternId": f.code, "message": f.message, "line": f.line}
        for r in reports
        for f in r.findings
    )
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
