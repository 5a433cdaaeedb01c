"""DL3003 use-workdir."""

from __future__ import annotations

from dockc.linter.context import Script
from dockc.linter.families import CommandRule
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command


class CdInRun(CommandRule):
    """Reports `cd` in RUN.

    ## Why

    Each RUN starts in WORKDIR again. `cd` in one does not reach the next, and long paths of it are hard to follow.
    """

    code = "DL3003"
    name = "use-workdir"
    summary = "`cd` where WORKDIR would do"
    severity = Severity.STYLE
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3003",)
    message = "Use WORKDIR to switch to a directory"
    triggers = False
    bad = "FROM debian:12\nRUN cd /tmp && make\n"
    good = "FROM debian:12\nWORKDIR /tmp\nRUN make\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        return command.name == "cd"
