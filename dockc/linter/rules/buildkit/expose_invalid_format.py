"""ExposeInvalidFormat expose-invalid-format."""

from __future__ import annotations

from dockc.compiler.syntax import ast
from dockc.linter.checked import CheckRule, instruction_at, plain, quoted_part, replacing
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class ExposeInvalidFormat(CheckRule):
    """Reports `EXPOSE 8080:80` and `EXPOSE 127.0.0.1:80:80`.

    ## Why

    EXPOSE names ports of the container. What the host maps to them is said by `docker run -p`; here it is ignored, and
    will be an error.

    ## Fix

    Keeps the container's port.
    """

    code = "ExposeInvalidFormat"
    name = "expose-invalid-format"
    summary = "EXPOSE with an address or a port of the host"
    severity = Severity.WARNING
    equivalents = ("buildkit:ExposeInvalidFormat",)
    fixable = "safe"
    bad = "FROM alpine:3\nEXPOSE 8080:80\n"
    good = "FROM alpine:3\nEXPOSE 80\n"
    fixed = "FROM alpine:3\nEXPOSE 80\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        found = instruction_at(context, finding)
        if not isinstance(found, ast.Expose):
            return None
        text = quoted_part(finding.message)
        port = next((p for p in found.ports if p.text == text), None)
        if port is None:
            return Hit(found.span, finding.message)
        fix = (
            replacing("Keep the container's port", port.span, port.text.rpartition(":")[2])
            if plain(context, port) and "$" not in text
            else None
        )
        return Hit(port.span, finding.message, fix=fix)
