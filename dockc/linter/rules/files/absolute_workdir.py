"""DL3000 absolute-workdir."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import is_windows_absolute
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import unquoted


class AbsoluteWorkdir(Rule):
    """Reports WORKDIR with a relative path.

    ## Why

    A relative path starts from wherever the base image or an earlier WORKDIR left off, so its meaning changes when they
    do.

    ## See also

    BuildKit's WorkdirRelativePath reports only the first one of a stage, which is the one that depends on the base
    image.
    """

    code = "DL3000"
    name = "absolute-workdir"
    summary = "WORKDIR is relative"
    severity = None
    status = "superseded"
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3000", "buildkit:WorkdirRelativePath")
    bad = "FROM debian:12\nWORKDIR app\n"
    good = "FROM debian:12\nWORKDIR /app\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, workdir in context.all(ast.Workdir):
            path = unquoted(workdir.path.text)
            if not path.startswith(("/", "$")) and not is_windows_absolute(path):
                yield Hit(workdir.path.span, "Use absolute WORKDIR", entry.node.lines)
