"""DL3059 consecutive-runs."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity


class ConsecutiveRuns(Rule):
    """Reports a RUN right after another with the same options, where both are short.

    ## Why

    Each RUN is a layer. Steps that always change together may as well be one.

    ## Known problems

    Separate steps are cached separately, which is often better while a Dockerfile is being written; dockc's own profile
    leaves this rule off.
    """

    code = "DL3059"
    name = "consecutive-runs"
    summary = "RUN after RUN"
    severity = None
    hadolint_severity = Severity.INFO
    equivalents = ("hadolint:DL3059",)
    bad = "FROM debian:12\nRUN a\nRUN b\n"
    good = "FROM debian:12\nRUN a && b\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        scripts = {id(s.entry): s for s in context.runs if not s.onbuild}
        before: tuple[frozenset[str], int] | None = None
        for entry in context.entries:
            script = scripts.get(id(entry))
            if script is None or not isinstance(entry.instruction, ast.Run):
                before = None
                continue
            flags = frozenset(flag.text for flag in entry.instruction.flags)
            count = len(script.shell.commands) * (2 if context.parity else 1)
            if before is None or before[0] != flags or count > 2 or before[1] > 2:
                before = (flags, count)
            else:
                message = "Multiple consecutive `RUN` instructions. Consider consolidation."
                yield Hit(entry.instruction.name_span, message, entry.node.lines)
