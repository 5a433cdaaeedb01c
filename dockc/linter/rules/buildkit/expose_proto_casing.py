"""ExposeProtoCasing expose-proto-casing."""

from __future__ import annotations

from dockc.compiler.syntax import ast
from dockc.linter.checked import CheckRule, instruction_at, plain, quoted_part, replacing
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class ExposeProtoCasing(CheckRule):
    """Reports `EXPOSE 80/TCP`.

    ## Why

    The config has it in lower case whatever is written; the file should say what the image has.

    ## Fix

    Writes it in lower case.
    """

    code = "ExposeProtoCasing"
    name = "expose-proto-casing"
    summary = "EXPOSE with a protocol that is not in lower case"
    severity = Severity.WARNING
    equivalents = ("buildkit:ExposeProtoCasing",)
    fixable = "safe"
    bad = "FROM alpine:3\nEXPOSE 80/TCP\n"
    good = "FROM alpine:3\nEXPOSE 80/tcp\n"
    fixed = "FROM alpine:3\nEXPOSE 80/tcp\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        found = instruction_at(context, finding)
        if not isinstance(found, ast.Expose):
            return None
        text = quoted_part(finding.message)
        port = next((p for p in found.ports if p.text == text), None)
        if port is None:
            return Hit(found.span, finding.message)
        number, slash, protocol = port.text.partition("/")
        fix = (
            replacing("Write it in lower case", port.span, f"{number}{slash}{protocol.lower()}")
            if plain(context, port)
            else None
        )
        return Hit(port.span, finding.message, fix=fix)
