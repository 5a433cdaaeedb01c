"""DK0407 duplicate-key."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import unquoted


class DuplicateKey(Rule):
    """Reports a key that stands twice in one ENV or LABEL, and a label that a stage sets again.

    ## Why

    Only the last value counts.
    """

    code = "DK0407"
    name = "duplicate-key"
    summary = "A label or variable is set twice"
    severity = Severity.WARNING
    bad = "FROM debian:12\nLABEL version=1 version=2\n"
    good = "FROM debian:12\nLABEL version=2\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for stage in context.stages:
            labels: set[str] = set()
            for entry in stage:
                found = entry.instruction
                if not isinstance(found, (ast.Env, ast.Label)):
                    continue
                seen = labels if isinstance(found, ast.Label) else set[str]()
                for pair in found.pairs:
                    key = unquoted(pair.key.text)
                    if key in seen:
                        yield Hit(pair.key.span, f"{key} is set already; only the last value counts", entry.node.lines)
                    seen.add(key)
