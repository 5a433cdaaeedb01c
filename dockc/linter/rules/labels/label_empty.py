"""DL3051 label-empty."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import labels
from dockc.linter.rule import Hit, Rule, Severity


class LabelEmpty(Rule):
    """Reports labels of the schema whose value is empty.

    ## Why

    A label that must be there must say something.

    ## Options

    `label-schema`.
    """

    code = "DL3051"
    name = "label-empty"
    summary = "A label of the schema is empty"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3051",)
    options = ("label-schema", "strict-labels")
    bad = 'FROM debian:12\nLABEL l=""\n'
    good = "FROM debian:12\nLABEL l=x\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, key, value in labels(context):
            if key.text in context.settings.label_schema and not value.text:
                yield Hit(key.span, f"label `{key.text}` is empty.", entry.node.lines)
