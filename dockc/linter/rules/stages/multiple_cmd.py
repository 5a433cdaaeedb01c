"""DL4003 multiple-cmd."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import stretches
from dockc.linter.rule import Hit, Rule, Severity


class MultipleCmd(Rule):
    """Reports the second and later CMD of a stage.

    ## Why

    Only the last one counts.
    """

    code = "DL4003"
    name = "multiple-cmd"
    summary = "More than one CMD"
    severity = None
    status = "superseded"
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL4003", "buildkit:MultipleInstructionsDisallowed")
    bad = 'FROM debian:12\nCMD ["a"]\nCMD ["b"]\n'
    good = 'FROM debian:12\nCMD ["b"]\n'

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entries in stretches(context):
            for entry in [e for e in entries if e.keyword == "CMD"][1:]:
                yield Hit(
                    entry.node.span,
                    "Multiple `CMD` instructions found. If you list more than one `CMD` then only the last `CMD` "
                    "will take effect",
                    entry.node.lines,
                )
