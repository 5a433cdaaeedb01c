"""DL3049 label-missing."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler import ast
from dockc.compiler.lint.context import Context
from dockc.compiler.lint.inherit import bad_stages
from dockc.compiler.lint.rule import Hit, Rule, Severity


class LabelMissing(Rule):
    """Reports stages that lack a label of the schema, unless they inherit it or only feed stages that have it.

    ## Why

    Images are found and audited by their labels.

    ## Options

    `label-schema`.
    """

    code = "DL3049"
    name = "label-missing"
    summary = "A label of the schema is missing"
    severity = Severity.INFO
    hadolint_severity = Severity.INFO
    equivalents = ("hadolint:DL3049",)
    options = ("label-schema",)
    bad = "FROM debian:12\n"
    good = "FROM debian:12\nLABEL l=x\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for wanted in context.settings.label_schema:
            has = {
                entry.index
                for entry, label in context.all(ast.Label)
                if any(pair.key.text.strip("\"'") == wanted for pair in label.pairs)
            }
            for entry in bad_stages(context, has, copies=True):
                yield Hit(entry.node.span, f"Label `{wanted}` is missing.", entry.node.lines)
