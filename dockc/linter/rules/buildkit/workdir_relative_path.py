"""WorkdirRelativePath workdir-relative-path."""

from __future__ import annotations

from dockc.compiler.syntax import ast
from dockc.linter.checked import DROPPED, CheckRule, entry_at, instruction_at, plain, quoted_part, replacing
from dockc.linter.context import Context
from dockc.linter.families import is_windows_absolute
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity
from dockc.linter.words import unquoted


class WorkdirRelativePath(CheckRule):
    """Reports a relative WORKDIR in a stage where no absolute one came before.

    ## Why

    It counts from whatever the base image has, and changes when that changes.

    ## Fix

    Makes the path absolute, as it is when the base image has no WORKDIR.
    """

    code = "WorkdirRelativePath"
    name = "workdir-relative-path"
    summary = "The first WORKDIR of a stage is relative"
    severity = Severity.WARNING
    equivalents = (
        "buildkit:WorkdirRelativePath",
        "hadolint:DL3000",
    )
    replaces = ("DL3000",)
    fixable = "unsafe"
    bad = "FROM alpine:3\nWORKDIR app\n"
    good = "FROM alpine:3\nWORKDIR /app\n"
    fixed = "FROM alpine:3\nWORKDIR /app\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        found = instruction_at(context, finding)
        if not isinstance(found, ast.Workdir):
            return None
        path = found.path
        entry = entry_at(context, finding)
        windows = entry is not None and 0 <= entry.stage < len(context.bases) and context.bases[entry.stage].windows
        if windows and is_windows_absolute(unquoted(path.text)):
            return DROPPED  # BuildKit takes it for relative where it builds for Linux
        if quoted_part(finding.message) == "" or path.text.lstrip("\"'").startswith("$"):
            return DROPPED  # the base image may set the variable; that it is not defined here is reported by itself
        simple = plain(context, path) and path.text[:1].isalnum() and "$" not in path.text
        fix = replacing("Write an absolute path", path.span, f"/{path.text}", safe=False) if simple else None
        return Hit(path.span, finding.message, fix=fix)
