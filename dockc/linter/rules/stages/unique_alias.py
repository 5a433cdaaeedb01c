"""DL3024 unique-alias."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import alias


class UniqueAlias(Rule):
    """Reports a stage whose name an earlier stage has.

    ## Why

    `--from` and `--target` then mean the last of them, which is rarely what the reader thinks.
    """

    code = "DL3024"
    name = "unique-alias"
    summary = "Two stages have one name"
    severity = None
    status = "superseded"
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3024", "buildkit:DuplicateStageName")
    bad = "FROM debian:12 AS a\nFROM debian:12 AS a\n"
    good = "FROM debian:12 AS a\nFROM debian:12 AS b\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        seen: set[str] = set()
        for entry, from_ in context.all(ast.From):
            name = alias(from_)
            if name and name in seen:
                word = from_.stage_name_word
                yield Hit(
                    word.span if word else from_.span, "FROM aliases (stage names) must be unique", entry.node.lines
                )
            seen.add(name)
