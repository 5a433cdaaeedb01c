"""DL3025 json-notation."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity


class JsonNotation(Rule):
    """Reports CMD, ENTRYPOINT and HEALTHCHECK CMD in shell form.

    ## Why

    The shell form runs `/bin/sh -c`, which does not pass signals on: `docker stop` waits and kills.

    ## See also

    BuildKit's JSONArgsRecommended, which leaves stages with a SHELL alone.
    """

    code = "DL3025"
    name = "json-notation"
    summary = "CMD or ENTRYPOINT in shell form"
    severity = None
    status = "superseded"
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3025", "buildkit:JSONArgsRecommended")
    bad = "FROM debian:12\nCMD serve\n"
    good = 'FROM debian:12\nCMD ["serve"]\n'

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        message = "Use arguments JSON notation for CMD and ENTRYPOINT arguments"
        for entry in context.entries:
            found = entry.instruction
            if isinstance(found, (ast.Cmd, ast.Entrypoint)):
                shell_form = found.prepend_shell
            elif isinstance(found, ast.Healthcheck) and found.test[0] != "NONE":
                shell_form = found.test[0] == "CMD-SHELL"
            else:
                continue
            if shell_form:
                yield Hit(found.span, message, entry.node.lines)
