"""DL4004 multiple-entrypoint."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import stretches
from dockc.linter.rule import Hit, Rule, Severity


class MultipleEntrypoint(Rule):
    """Reports the second and later ENTRYPOINT of a stage.

    ## Why

    Only the last one counts.
    """

    code = "DL4004"
    name = "multiple-entrypoint"
    summary = "More than one ENTRYPOINT"
    severity = None
    status = "superseded"
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL4004", "buildkit:MultipleInstructionsDisallowed")
    bad = 'FROM debian:12\nENTRYPOINT ["a"]\nENTRYPOINT ["b"]\n'
    good = 'FROM debian:12\nENTRYPOINT ["b"]\n'

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entries in stretches(context):
            for entry in [e for e in entries if e.keyword == "ENTRYPOINT"][1:]:
                yield Hit(
                    entry.node.span,
                    "Multiple `ENTRYPOINT` instructions found. If you list more than one `ENTRYPOINT` then only the "
                    "last `ENTRYPOINT` will take effect",
                    entry.node.lines,
                )
