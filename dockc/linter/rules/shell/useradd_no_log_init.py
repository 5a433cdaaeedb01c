"""DL3046 useradd-no-log-init."""

from __future__ import annotations

from dockc.linter.context import Script
from dockc.linter.families import CommandRule, insert_word
from dockc.linter.rule import Fix, Severity
from dockc.linter.shell.commands import Command


class UseraddNoLogInit(CommandRule):
    """Reports `useradd` with a UID of more than five digits and without `-l`.

    ## Why

    It writes lastlog up to that UID: a sparse file of gigabytes, which some tools store in full.

    ## Fix

    Adds `-l`.
    """

    code = "DL3046"
    name = "useradd-no-log-init"
    summary = "`useradd` with a high UID"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3046",)
    message = "`useradd` without flag `-l` and high UID will result in excessively large Image."
    fixable = "safe"
    changes = "more words in RUN"
    bad = "FROM debian:12\nRUN useradd -u 1234567 ada\n"
    good = "FROM debian:12\nRUN useradd -l -u 1234567 ada\n"
    fixed = "FROM debian:12\nRUN useradd -l -u 1234567 ada\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        if command.name != "useradd" or command.has_flag("l", "no-log-init") or not command.has_flag("u", "uid"):
            return False
        if self.parity:
            return any(len(value) > 5 for value in command.flag_values("u"))
        given = [
            *command.flag_values("u"),
            *command.flag_values("uid"),
            *(t.partition("=")[2] for t in command.texts if t.startswith("--uid=")),
        ]
        return any(value.isdecimal() and len(value.lstrip("0")) > 5 for value in given)

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Adds the flag."""
        return insert_word(command, script, -1, "-l", "Add -l")
