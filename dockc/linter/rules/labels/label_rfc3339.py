"""DL3053 label-rfc3339."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import labels
from dockc.linter.labels import is_rfc3339
from dockc.linter.rule import Hit, Rule, Severity


class LabelRfc3339(Rule):
    """Reports labels that the schema wants to be of type `rfc3339` and that are not.

    ## Why

    Tools that read the label expect that form.

    ## Options

    `label-schema`: a map of label to type.
    """

    code = "DL3053"
    name = "label-rfc3339"
    summary = "is not a valid time format - must conform to RFC3339"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3053",)
    options = ("label-schema", "strict-labels")
    bad = "FROM debian:12\nLABEL l=yesterday\n"
    good = "FROM debian:12\nLABEL l=2024-01-02T03:04:05Z\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, key, value in labels(context):
            wanted = context.settings.label_schema.get(key.text) == "rfc3339"
            if wanted and not is_rfc3339(value.text, parity=context.parity):
                yield Hit(
                    value.span,
                    f"Label `{key.text}` is not a valid time format - must conform to RFC3339.",
                    entry.node.lines,
                )
