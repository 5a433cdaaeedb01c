"""DK0405 entrypoint-swallows-cmd."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.checked import keyword_span
from dockc.linter.context import Context
from dockc.linter.families import each_stage
from dockc.linter.rule import Hit, Rule, Severity


class EntrypointSwallowsCmd(Rule):
    """Reports CMD in a stage whose ENTRYPOINT is in shell form.

    ## Why

    `/bin/sh -c` takes the ENTRYPOINT's text, and neither CMD nor the arguments of `docker run` reach the program.
    Signals do not either.
    """

    code = "DK0405"
    name = "entrypoint-swallows-cmd"
    summary = "CMD has no effect because ENTRYPOINT is in shell form"
    severity = Severity.WARNING
    equivalents = ("sonar:S7019",)
    bad = 'FROM debian:12\nENTRYPOINT server --port 80\nCMD ["--verbose"]\n'
    good = 'FROM debian:12\nENTRYPOINT ["server", "--port", "80"]\nCMD ["--verbose"]\n'

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for _, entries in each_stage(context):
            points = [e for e in entries if isinstance(e.instruction, ast.Entrypoint)]
            if not points:
                continue
            point = points[-1].instruction
            if not isinstance(point, ast.Entrypoint) or not point.prepend_shell or not point.cmdline:
                continue
            commands = [e for e in entries if isinstance(e.instruction, ast.Cmd)]
            for entry in commands[-1:]:
                yield Hit(
                    keyword_span(entry), "ENTRYPOINT in shell form does not take CMD's arguments", entry.node.lines
                )
