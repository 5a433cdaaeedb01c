"""DL1001 inline-pragma."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter import pragmas
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule


class InlinePragma(Rule):
    """Reports comments that suppress findings of hadolint's rules for one line.

    ## Why

    Teams that want all exceptions in one configuration file can see to it with this rule. It is off by default.
    """

    code = "DL1001"
    name = "inline-pragma"
    summary = "Findings are suppressed by a comment"
    severity = None
    hadolint_severity = None
    equivalents = ("hadolint:DL1001",)
    bad = "FROM debian:12\n# hadolint ignore=DL3003\nRUN cd /tmp\n"
    good = "FROM debian:12\nRUN cd /tmp\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for pragma in pragmas.read(context).items:
            if pragma.kind == "line":
                yield Hit(
                    pragma.span,
                    "Please refrain from using inline ignore pragmas  `# hadolint ignore=DLxxxx`.",
                    (pragma.line, pragma.line),
                )
