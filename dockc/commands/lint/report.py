"""What `dockc lint` prints after and besides the findings."""

from __future__ import annotations

from dockc.grammar.diagnostic import Severity
from dockc.linter.finding import FileReport, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def summary(reports: Sequence[FileReport]) -> str:
    """One line, for people."""
    findings = [f for r in reports for f in r.findings]
    files = f"{len(reports)} file{'s' * (len(reports) != 1)}"
    if not findings:
        return f"Nothing found in {files}.\n"
    counts = {s: sum(f.severity is s for f in findings) for s in Severity}
    parts = [
        f"{n} {s.value}{'s' * (n != 1 and s in {Severity.ERROR, Severity.WARNING})}" for s, n in counts.items() if n
    ]
    text = f"\nFound {', '.join(parts)} in {files}."
    safe = sum(f.fix is not None and f.fix.applicability.value == "safe" for f in findings)
    unsafe = sum(f.fix is not None and f.fix.applicability.value == "unsafe" for f in findings)
    if safe or unsafe:
        also = (
            f"{unsafe} more with `--fix --unsafe`"
            if safe and unsafe
            else f"{unsafe} can be fixed with `--fix --unsafe`"
        )
        text += f" {', '.join([f'{safe} can be fixed with `--fix`'] * bool(safe) + [also] * bool(unsafe))}."
    return text + "\n"


def statistics(reports: Sequence[FileReport]) -> str:
    """How often each rule fired, most often first: count, code, fix, name."""
    rows: dict[str, list[Finding]] = {}
    for report in reports:
        for finding in report.findings:
            rows.setdefault(finding.code, []).append(finding)
    ordered = sorted(rows.items(), key=lambda item: (-len(item[1]), item[0]))
    width = max((len(code) for code in rows), default=0)
    out = []
    for code, found in ordered:
        fix = "[fix]" if any(f.fix for f in found) else ""
        out.append(f"{len(found):6}  {code:{width}}  {fix:5}  {found[0].name or found[0].description}".rstrip() + "\n")
    return "".join(out)


def sound(text: str, form: str) -> str:
    """A report that its reader can take, whatever files and their names hold: no bytes that are no characters, nothing
    that steers a terminal.
    """
    if form in {"text", "tty", "gnu"}:
        from dockc.console.errors import visible

        return visible(text)
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
