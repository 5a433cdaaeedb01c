"""DL3045 copy-needs-workdir."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import alias, image, is_windows_absolute, unquoted
from dockc.linter.rule import Hit, Rule, Severity


class CopyNeedsWorkdir(Rule):
    """Reports COPY to a relative destination in a stage that sets no WORKDIR.

    ## Why

    Where the files end up depends on the base image.
    """

    code = "DL3045"
    name = "copy-needs-workdir"
    summary = "COPY to a relative path without WORKDIR"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3045",)
    bad = "FROM debian:12\nCOPY app.py app.py\n"
    good = "FROM debian:12\nWORKDIR /app\nCOPY app.py app.py\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        settled: set[str] = {"scratch"} if not context.parity else set()  # from nothing, `.` is `/`
        current = ""
        for entry in context.entries:
            found = entry.instruction
            if isinstance(found, ast.From):
                base = image(found.base.text).name
                current = alias(found) or base
                if not context.parity:
                    base, current = base.lower(), alias(found).lower() or f" {entry.index}"
                if base in settled:
                    settled.add(current)
                else:
                    settled.discard(current)
            elif isinstance(found, ast.Workdir):
                settled.add(current)
            elif isinstance(found, ast.Copy) and current not in settled:
                dest = unquoted(found.dest.text)
                if not dest.startswith(("/", "$")) and not is_windows_absolute(dest):
                    message = "`COPY` to a relative destination without `WORKDIR` set."
                    yield Hit(found.dest.span, message, entry.node.lines)
