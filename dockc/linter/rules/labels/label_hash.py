"""DL3055 label-hash."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import labels
from dockc.linter.labels import is_hash
from dockc.linter.rule import Hit, Rule, Severity


class LabelHash(Rule):
    """Reports labels that the schema wants to be of type `hash` and that are not.

    ## Why

    Tools that read the label expect that form.

    ## Options

    `label-schema`: a map of label to type.
    """

    code = "DL3055"
    name = "label-hash"
    summary = "is not a valid git hash"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3055",)
    options = ("label-schema", "strict-labels")
    bad = "FROM debian:12\nLABEL l=xyz\n"
    good = "FROM debian:12\nLABEL l=0123abc\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, key, value in labels(context):
            if context.settings.label_schema.get(key.text) == "hash" and not is_hash(value.text):
                yield Hit(value.span, f"Label `{key.text}` is not a valid git hash.", entry.node.lines)
