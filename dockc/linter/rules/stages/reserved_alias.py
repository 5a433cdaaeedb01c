"""DL3063 reserved-alias."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import alias


class ReservedAlias(Rule):
    """Reports stages named `scratch` or `context`.

    ## Why

    `FROM scratch` and the context mean something else; such a stage cannot be referred to.
    """

    code = "DL3063"
    name = "reserved-alias"
    summary = "A stage with a reserved name"
    severity = None
    status = "superseded"
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3063", "buildkit:ReservedStageName")
    bad = "FROM debian:12 AS context\n"
    good = "FROM debian:12 AS source\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, from_ in context.all(ast.From):
            if alias(from_) in {"scratch", "context"}:
                yield Hit(from_.span, "stage name should not be a reserved word", entry.node.lines)
