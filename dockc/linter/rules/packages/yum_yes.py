"""DL3030 yum-yes."""

from __future__ import annotations

from dockc.linter.context import Script
from dockc.linter.families import CommandRule, insert_word, position
from dockc.linter.rule import Fix, Severity
from dockc.linter.shell.commands import Command


class YumYes(CommandRule):
    """Reports `yum install` without `-y`.

    ## Why

    It waits for an answer that nobody gives, and the step fails.

    ## Fix

    Adds `-y`.
    """

    code = "DL3030"
    name = "yum-yes"
    summary = "`yum install` would ask"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3030",)
    message = "Use the -y switch to avoid manual input `yum install -y <package>`"
    fixable = "safe"
    changes = "more words in RUN"
    bad = "FROM img:1\nRUN yum install x-1.0\n"
    good = "FROM img:1\nRUN yum install -y x-1.0\n"
    fixed = "FROM img:1\nRUN yum install -y x-1.0\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        if command.name not in {"yum"} or not command.has_argument("install", "groupinstall", "localinstall"):
            return False
        return not command.has_flag("y", "assumeyes")

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Adds the flag."""
        at = position(command, *("install", "groupinstall", "localinstall"))
        return insert_word(command, script, at, "-y", "Add -y")
