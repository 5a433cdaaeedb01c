"""DL3052 label-url."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import labels
from dockc.linter.labels import is_url
from dockc.linter.rule import Hit, Rule, Severity


class LabelUrl(Rule):
    """Reports labels that the schema wants to be of type `url` and that are not.

    ## Why

    Tools that read the label expect that form.

    ## Options

    `label-schema`: a map of label to type.
    """

    code = "DL3052"
    name = "label-url"
    summary = "is not a valid URL"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3052",)
    options = ("label-schema", "strict-labels")
    bad = "FROM debian:12\nLABEL l=nope\n"
    good = "FROM debian:12\nLABEL l=https://example.org\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, key, value in labels(context):
            if context.settings.label_schema.get(key.text) == "url" and not is_url(value.text):
                yield Hit(value.span, f"Label `{key.text}` is not a valid URL.", entry.node.lines)
