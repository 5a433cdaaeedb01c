"""DL3045 copy-needs-workdir."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import image, is_windows_absolute
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import alias, unquoted


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
        if not context.parity:
            yield from _own(context)
            return
        settled: set[str] = set()
        current = ""
        for entry in context.entries:
            found = entry.instruction
            if isinstance(found, ast.From):
                base = image(found.base.text).name
                current = alias(found) or base
                if base in settled:
                    settled.add(current)
                else:
                    settled.discard(current)
            elif isinstance(found, ast.Workdir):
                settled.add(current)
            elif isinstance(found, ast.Copy) and current not in settled:
                dest = unquoted(found.dest.text)
                if not dest.startswith(("/", "$")) and not is_windows_absolute(dest):
                    yield Hit(found.dest.span, _MESSAGE, entry.node.lines)


_MESSAGE = "`COPY` to a relative destination without `WORKDIR` set."


def _own(context: Context) -> Iterator[Hit]:
    """As above, through own stages; where the base image is not known to have no WORKDIR, for the set `strict` only."""
    settled: set[int] = set()
    for entry in context.entries:
        found = entry.instruction
        if not 0 <= entry.stage < len(context.bases):
            continue
        base = context.bases[entry.stage]
        if isinstance(found, ast.From):
            if base.image == "scratch" or (base.below and all(below in settled for below in base.below)):
                settled.add(entry.stage)  # from nothing, `.` is `/`
        elif isinstance(found, ast.Workdir):
            settled.add(entry.stage)
        elif isinstance(found, ast.Copy) and entry.stage not in settled:
            dest = unquoted(found.dest.text)
            if not dest.startswith(("/", "$")) and not is_windows_absolute(dest):
                unknown = not base.distribution or bool(base.workdir) or base.windows
                yield Hit(found.dest.span, _MESSAGE, entry.node.lines, strict=unknown)
