"""DL3014 apt-yes."""

from __future__ import annotations

from dockc.linter.context import Script
from dockc.linter.families import CommandRule, insert_word, position
from dockc.linter.rule import Fix, Severity
from dockc.linter.shell.commands import Command


class AptYes(CommandRule):
    """Reports `apt-get install` without `-y`.

    ## Why

    It waits for an answer that nobody gives, and the step fails.

    ## Fix

    Adds `-y`.
    """

    code = "DL3014"
    name = "apt-yes"
    summary = "`apt-get install` would ask"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3014",)
    message = "Use the `-y` switch to avoid manual input `apt-get -y install <package>`"
    fixable = "safe"
    changes = "more words in RUN"
    bad = "FROM debian:12\nRUN apt-get install curl\n"
    good = "FROM debian:12\nRUN apt-get install -y curl\n"
    fixed = "FROM debian:12\nRUN apt-get install -y curl\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        if command.name != "apt-get" or not command.has_argument("install"):
            return False
        if command.has_flag("y", "yes", "qq", "assume-yes") or command.has_argument("-q=2"):
            return False
        return command.count_flag("q") != 2 and command.count_flag("quiet") != 2

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Adds the flag after `install`."""
        return insert_word(command, script, position(command, "install"), "-y", "Add -y")
