"""DL3054 label-spdx."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import labels
from dockc.linter.labels import is_spdx
from dockc.linter.rule import Hit, Rule, Severity


class LabelSpdx(Rule):
    """Reports labels that the schema wants to be of type `spdx` and that are not.

    ## Why

    Tools that read the label expect that form.

    ## Options

    `label-schema`: a map of label to type.
    """

    code = "DL3054"
    name = "label-spdx"
    summary = "is not a valid SPDX identifier"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3054",)
    options = ("label-schema", "strict-labels")
    bad = "FROM debian:12\nLABEL l=nope\n"
    good = "FROM debian:12\nLABEL l=MIT\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, key, value in labels(context):
            wanted = context.settings.label_schema.get(key.text) == "spdx"
            if wanted and not is_spdx(value.text, parity=context.parity):
                yield Hit(value.span, f"Label `{key.text}` is not a valid SPDX identifier.", entry.node.lines)
