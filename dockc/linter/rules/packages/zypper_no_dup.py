"""DL3035 zypper-no-dup."""

from __future__ import annotations

from dockc.linter.context import Script
from dockc.linter.families import CommandRule
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command


class ZypperNoDup(CommandRule):
    """Reports `zypper dist-upgrade`.

    ## Why

    It turns the base image into another release: take that release as the base image instead.
    """

    code = "DL3035"
    name = "zypper-no-dup"
    summary = "`zypper dist-upgrade`"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3035",)
    message = "Do not use `zypper dist-upgrade`."
    bad = "FROM img:1\nRUN zypper dup\n"
    good = "FROM img:2\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        return command.name == "zypper" and command.has_argument("dist-upgrade", "dup")
