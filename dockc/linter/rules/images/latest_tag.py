"""DL3007 latest-tag."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import image
from dockc.linter.rule import Hit, Rule, Severity


class LatestTag(Rule):
    """Reports FROM with the tag `latest`.

    ## Why

    The image behind it changes without notice; a build that worked yesterday is another build today.
    """

    code = "DL3007"
    name = "latest-tag"
    summary = "The base image's tag is `latest`"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3007",)
    bad = "FROM debian:latest\n"
    good = "FROM debian:12\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, from_ in context.all(ast.From):
            text = from_.base.text if context.parity else context.values.word(from_.base, entry) or from_.base.text
            if not context.parity and context.bases[entry.stage].below:
                continue
            found = image(text, parity=context.parity)
            if found.tag == "latest" and not found.digest:
                message = "Using latest is prone to errors if the image will ever update. Pin the version explicitly to a release tag"
                yield Hit(from_.base.span, message, entry.node.lines)
