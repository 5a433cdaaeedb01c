"""One line a finding, as hadolint prints them: `path:line code severity: message`."""

from __future__ import annotations

from collections.abc import Sequence

from dockc.linter.finding import FileReport
from dockc.linter.formats.lines import one_line


def render(reports: Sequence[FileReport]) -> str:
    """Lines in order."""
    return "".join(
        f"{one_line(r.path)}:{f.line} {f.code} {f.severity.value}: {f.message}\n" for r in reports for f in r.findings
    )
