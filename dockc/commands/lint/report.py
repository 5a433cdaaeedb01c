"""What `dockc lint` prints after and besides the findings."""

from __future__ import annotations

from dockc.base.output import counted
from dockc.base.pattern import pattern
from dockc.grammar.diagnostic import Severity
from dockc.linter.finding import FileReport, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dockc.base.style import Style
    from dockc.commands.lint.plan import Plan


#: Formats that people read; all others are read by programs, and hadolint's own stays as it is there.
FOR_PEOPLE = frozenset(["text", "full", "concise"])


def finished(text: str, reports: Sequence[FileReport], style: Style) -> str:
    """A report for people as their terminal takes it: lines within its width, in colours, with links."""
    if style.width:
        text = "\n".join(line if not _CONCISE.match(line) else cut(line, style.width) for line in text.split("\n"))
    if not style.color:
        return text
    from dockc.console import paint

    return paint.findings(text, style, {f.code: f.url for r in reports for f in r.findings if f.url})


_CONCISE = pattern(r".*?:\d+:\d+: (?:error|warning|info|style)\[")


def cut(line: str, width: int) -> str:
    """A line of at most so many columns; that something is left out is seen."""
    from dockc.grammar.render import cells

    if cells(line) <= width:
        return line
    while line and cells(line) > width - 1:
        line = line[:-1]
    return f"{line.rstrip()}…"


def wrapped(text: str, style: Style) -> str:
    """The last lines of a report, broken between words where a terminal would break them anywhere."""
    if not style.width or all(len(line) <= style.width for line in text.split("\n")):
        return text
    import textwrap

    return "\n".join("\n".join(textwrap.wrap(line, style.width)) for line in text.split("\n"))


def without_shellcheck(plans: Sequence[Plan]) -> str:
    """What is said where scripts are not checked with ShellCheck and nobody asked for that; "" where they are."""
    if all(
        p.options.checker is not None or p.options.shellcheck is False or p.options.profile == "buildkit" for p in plans
    ):
        return ""
    return (
        "note: ShellCheck is not installed: scripts are checked by dockc's own rules alone; `pip install 'dockc[lint]'` "
        "brings it, and `--no-shellcheck` says that it is not wanted\n"
    )


def summary(reports: Sequence[FileReport], *, shortened: bool = False) -> str:
    """One line, for people. `shortened` says that findings were a line each, and how to see more."""
    findings = [f for r in reports for f in r.findings]
    files = counted(len(reports), "file")
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
    if shortened:
        text += " `--format=full` shows the lines."
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
    if form in FOR_PEOPLE or form in {"tty", "gnu"}:
        from dockc.console.errors import visible

        return visible(text)
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
