"""DL3023 copy-from-self."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import each_stage
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import alias


class CopyFromSelf(Rule):
    """Reports `COPY --from` that names the stage it stands in.

    ## Why

    A stage cannot copy from itself; the build fails.
    """

    code = "DL3023"
    name = "copy-from-self"
    summary = "COPY --from names its own stage"
    severity = Severity.ERROR
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3023",)
    replaces = ("build-error",)
    bad = "FROM debian:12 AS build\nCOPY --from=build /a /b\n"
    good = "FROM debian:12 AS build\nCOPY a /b\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for from_, entries in each_stage(context):
            for entry in entries:
                copy = entry.instruction
                if isinstance(copy, ast.Copy) and copy.from_.text and copy.from_.text == alias(from_):
                    yield Hit(copy.from_.span, "`COPY --from` cannot reference its own `FROM` alias", entry.node.lines)
