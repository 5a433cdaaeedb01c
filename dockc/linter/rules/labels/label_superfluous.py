"""DL3050 label-superfluous."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import labels
from dockc.linter.rule import Hit, Rule, Severity


class LabelSuperfluous(Rule):
    """Reports labels outside the schema, where the configuration is strict about them.

    ## Why

    A team that agreed on its labels wants to hear of typos in them.

    ## Options

    `strict-labels`, `label-schema`.
    """

    code = "DL3050"
    name = "label-superfluous"
    summary = "A label that the schema does not know"
    severity = Severity.INFO
    hadolint_severity = Severity.INFO
    equivalents = ("hadolint:DL3050",)
    options = ("label-schema", "strict-labels")
    bad = "FROM debian:12\nLABEL other=1\n"
    good = "FROM debian:12\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        if not context.settings.strict_labels:
            return
        for entry, key, _ in labels(context):
            if key.text not in context.settings.label_schema:
                yield Hit(key.span, "Superfluous label(s) present.", entry.node.lines)
