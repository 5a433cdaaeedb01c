"""DL3002 last-user-root."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Entry
from dockc.linter.families import each_stage
from dockc.linter.rule import Hit, Rule, Severity


class RootUser(Rule):
    """Reports a stage whose last USER is root.

    ## Why

    What runs in the container then runs as root, and a hole in it is a hole in root's hands. Switch to root for the steps that need it, and
    back for good.

    ## Known problems

    Stages that nothing runs in (builders) are reported too in the hadolint profile; dockc's own looks at the last stage only.
    """

    code = "DL3002"
    name = "last-user-root"
    summary = "The last USER is root"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3002",)
    bad = "FROM debian:12\nUSER root\n"
    good = "FROM debian:12\nUSER root\nRUN true\nUSER 1000\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        stages = [entries for _, entries in each_stage(context)]
        for entries in stages if context.parity else stages[-1:]:
            last: tuple[Entry, ast.User] | None = None
            for entry in entries:
                if isinstance(entry.instruction, ast.User):
                    last = (entry, entry.instruction)
            if last is not None:
                user = last[1].user.text
                if user in {"root", "0"} or user.startswith(("root:", "0:")):
                    yield Hit(last[1].user.span, "Last USER should not be root", last[0].node.lines)
