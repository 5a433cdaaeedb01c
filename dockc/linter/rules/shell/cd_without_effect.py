"""DK0409 cd-without-effect."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Applicability, Edit
from dockc.linter.context import Context
from dockc.linter.rule import Fix, Hit, Rule, Severity


class CdWithoutEffect(Rule):
    """Reports a RUN that ends with `cd`.

    ## Why

    The next instruction starts where WORKDIR says, not where a shell of an earlier step was.

    ## Fix

    Writes WORKDIR, where `cd` is all that the RUN does.
    """

    code = "DK0409"
    name = "cd-without-effect"
    summary = "`cd` in a RUN of its own"
    severity = Severity.WARNING
    equivalents = ("kics:f4a6bcd3-e231-4acf-993c-aa027be50d2e",)
    fixable = "unsafe"
    bad = "FROM debian:12\nRUN cd /app\n"
    good = "FROM debian:12\nWORKDIR /app\n"
    fixed = "FROM debian:12\nWORKDIR /app\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for script in context.runs:
            commands = script.shell.commands
            if (
                not commands
                or commands[-1].name != "cd"
                or len(commands[-1].arguments) != 1
                or "(" in script.shell.text
            ):
                continue
            if commands[-1].end < len(script.shell.text.rstrip()):
                continue
            path = commands[-1].arguments[0].text
            fix = None
            simple = len(commands) == 1 and path[:1] not in {"-", "~", ""} and "$" not in path and " " not in path
            if (
                simple
                and isinstance(script.entry.instruction, ast.Run)
                and not script.entry.instruction.files
                and not script.instruction.flags
            ):
                fix = Fix(
                    "Write WORKDIR", (Edit(script.entry.instruction.span, f"WORKDIR {path}"),), Applicability.UNSAFE
                )
            yield Hit(
                script.span(commands[-1].start, commands[-1].end), "`cd` ends with this RUN; WORKDIR lasts", fix=fix
            )
