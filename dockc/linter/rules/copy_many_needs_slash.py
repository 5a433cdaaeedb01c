"""DL3021 copy-many-needs-slash."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Edit, Fix
from dockc.grammar.source import Span
from dockc.linter.context import Context
from dockc.linter.families import unquoted
from dockc.linter.rule import Hit, Rule, Severity


class CopyManyNeedsSlash(Rule):
    """Reports COPY with two or more sources and a destination that does not end with `/`.

    ## Why

    Several files need a directory to go to, and the build fails where the destination cannot be one.

    ## Fix

    Adds the `/`.
    """

    code = "DL3021"
    name = "copy-many-needs-slash"
    summary = "COPY of several sources to something that is not a directory"
    severity = Severity.ERROR
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3021",)
    fixable = "safe"
    changes = "destination gains a slash"
    bad = "FROM debian:12\nCOPY a b /app\n"
    good = "FROM debian:12\nCOPY a b /app/\n"
    fixed = "FROM debian:12\nCOPY a b /app/\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, copy in context.all(ast.Copy):
            dest = unquoted(copy.dest.text)
            if (
                len(copy.sources) + len(copy.contents) < 2
                or dest.endswith("/")
                or (not context.parity and (dest in {".", ".."} or dest.endswith("\\")))
            ):
                continue
            end = copy.dest.span.end
            plain = context.source.text[copy.dest.span.start : end] == copy.dest.text
            fix = (
                Fix("Add /", (Edit(Span(end, end), "/"),))
                if plain and dest == copy.dest.text and "$" not in dest
                else None
            )
            message = "COPY with more than 2 arguments requires the last argument to end with /"
            yield Hit(copy.dest.span, message, entry.node.lines, fix)
