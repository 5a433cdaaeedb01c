"""DL3011 port-range."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity

_PORTS = pattern(r"(\d+)(?:-(\d+))?(?:/[A-Za-z]+)?")


class PortRange(Rule):
    """Reports EXPOSE of a port above 65535.

    ## Why

    There is no such port.
    """

    code = "DL3011"
    name = "port-range"
    summary = "EXPOSE of a port that cannot be"
    severity = Severity.ERROR
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3011",)
    replaces = ("build-error",)
    bad = "FROM debian:12\nEXPOSE 80000\n"
    good = "FROM debian:12\nEXPOSE 8000\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, expose in context.all(ast.Expose):
            for port in expose.ports:
                found = _PORTS.fullmatch(port.text)
                if found and any(int(n[:12]) > 65535 for n in found.groups() if n):
                    yield Hit(port.span, "Valid UNIX ports range from 0 to 65535", entry.node.lines)
