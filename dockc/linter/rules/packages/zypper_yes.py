"""DL3034 zypper-yes."""

from __future__ import annotations

from dockc.linter.context import Script
from dockc.linter.families import CommandRule, insert_word
from dockc.linter.rule import Fix, Severity
from dockc.linter.shell.commands import Command


class ZypperYes(CommandRule):
    """Reports `zypper install` without `-n`.

    ## Why

    It waits for an answer that nobody gives, and the step fails.

    ## Fix

    Adds `-n`.
    """

    code = "DL3034"
    name = "zypper-yes"
    summary = "`zypper install` would ask"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3034",)
    message = "Non-interactive switch missing from `zypper` command: `zypper install -y`"
    fixable = "safe"
    changes = "more words in RUN"
    bad = "FROM img:1\nRUN zypper install x-1.0\n"
    good = "FROM img:1\nRUN zypper -n install x-1.0\n"
    fixed = "FROM img:1\nRUN zypper -n install x-1.0\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        if command.name not in {"zypper"} or not command.has_argument(
            "install", "in", "remove", "rm", "source-install", "si", "patch"
        ):
            return False
        return not command.has_flag("non-interactive", "n", "no-confirm", "y")

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Adds the flag."""
        at = -1
        return insert_word(command, script, at, "-n", "Add -n")
