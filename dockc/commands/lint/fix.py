"""`dockc lint --fix` and `--diff`: the fixes of each file, written or shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dockc.base.style import PLAIN, Style
from dockc.commands.discover import STDIN
from dockc.commands.fmt import diff_text, write_text
from dockc.commands.lint.plan import Plan
from dockc.commands.lint.work import lint_read, read_source
from dockc.errors import DockcError
from dockc.linter.finding import FileReport
from dockc.linter.fixes import Fixed, fix_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.commands.lint.plan import Out


def fix_files(
    plans: Sequence[Plan], *, unsafe: bool, diff: bool, out: Out, log: Out, style: Style = PLAIN
) -> tuple[list[FileReport], bool]:
    """Fix files one after the other.

    Args:
        plans: what to lint and how.
        unsafe: unsafe fixes too.
        diff: write nothing; print unified diffs.
        out: takes diffs, and the text of standard input.
        log: takes what was fixed and what was refused.
        style: colours of diffs.

    Returns:
        what is left to report, and whether anything was or would be changed.
    """
    reports: list[FileReport] = []
    changed = False
    for plan in plans:
        source = read_source(plan.path, plan.name)
        if isinstance(source, FileReport):
            reports.append(source)
            continue
        first = lint_read(source, plan)
        if first.failed or not any(f.fix for f in first.findings):
            reports.append(first)
            if plan.path == STDIN and not diff:
                out(source.text)
            continue
        try:
            fixed = fix_source(source, plan.options, unsafe=unsafe, path=source.name)
            changed |= _finish(plan, source.text, fixed, diff=diff, out=out, log=log, style=style)
        except DockcError as error:
            from dockc.console.errors import visible

            log(visible(f"error: {source.name}: {error.message}\n"))
            reports.append(first)
            continue
        reports.append(first if diff else fixed.report)
    return reports, changed


def _finish(plan: Plan, before: str, fixed: Fixed, *, diff: bool, out: Out, log: Out, style: Style) -> bool:
    name = fixed.report.path
    for refused in fixed.refused:
        log(f"{name}:{refused.finding.line}: fix of {refused.finding.code} not applied: {refused.reason}\n")
    if diff:
        out(diff_text(name, before, fixed.text, style))
    elif plan.path == STDIN:
        out(fixed.text)
    elif fixed.text != before:
        write_text(Path(plan.path), fixed.text)
    if fixed.applied:
        codes = [f.code for f in fixed.applied]
        counts = ", ".join(f"{codes.count(code)} {code}" for code in dict.fromkeys(codes))
        log(f"{name}: {'would fix' if diff else 'fixed'} {counts}\n")
    return fixed.text != before
