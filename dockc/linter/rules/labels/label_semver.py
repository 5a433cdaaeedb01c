"""DL3056 label-semver."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import labels
from dockc.linter.labels import is_semver
from dockc.linter.rule import Hit, Rule, Severity


class LabelSemver(Rule):
    """Reports labels that the schema wants to be of type `semver` and that are not.

    ## Why

    Tools that read the label expect that form.

    ## Options

    `label-schema`: a map of label to type.
    """

    code = "DL3056"
    name = "label-semver"
    summary = "does not conform to semantic versioning"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3056",)
    options = ("label-schema", "strict-labels")
    bad = "FROM debian:12\nLABEL l=v1\n"
    good = "FROM debian:12\nLABEL l=1.2.3\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, key, value in labels(context):
            wanted = context.settings.label_schema.get(key.text) == "semver"
            if wanted and not is_semver(value.text, parity=context.parity):
                yield Hit(value.span, f"Label `{key.text}` does not conform to semantic versioning.", entry.node.lines)
