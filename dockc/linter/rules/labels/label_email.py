"""DL3058 label-email."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import labels
from dockc.linter.labels import is_email
from dockc.linter.rule import Hit, Rule, Severity


class LabelEmail(Rule):
    """Reports labels that the schema wants to be of type `email` and that are not.

    ## Why

    Tools that read the label expect that form.

    ## Options

    `label-schema`: a map of label to type.
    """

    code = "DL3058"
    name = "label-email"
    summary = "is not a valid email format - must conform to RFC5322"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3058",)
    options = ("label-schema", "strict-labels")
    bad = "FROM debian:12\nLABEL l=nope\n"
    good = "FROM debian:12\nLABEL l=a@example.org\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, key, value in labels(context):
            wanted = context.settings.label_schema.get(key.text) == "email"
            if wanted and not is_email(value.text, parity=context.parity):
                yield Hit(
                    value.span,
                    f"Label `{key.text}` is not a valid email format - must conform to RFC5322.",
                    entry.node.lines,
                )
