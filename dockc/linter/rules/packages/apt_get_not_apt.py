"""DL3027 apt-get-not-apt."""

from __future__ import annotations

from dockc.grammar.diagnostic import Applicability, Edit
from dockc.linter.context import Script
from dockc.linter.families import CommandRule
from dockc.linter.rule import Fix, Severity
from dockc.linter.shell.commands import Command


class AptGetNotApt(CommandRule):
    """Reports `apt`.

    ## Why

    `apt` is for people at a terminal: its options and output change between releases, and it says so itself. Use
    `apt-get` or `apt-cache`.

    ## Fix

    Writes `apt-get` or `apt-cache` for the commands that these have too.
    """

    code = "DL3027"
    name = "apt-get-not-apt"
    summary = "`apt` in a script"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3027",)
    message = "Do not use apt as it is meant to be an end-user tool, use apt-get or apt-cache instead"
    fixable = "unsafe"
    bad = "FROM debian:12\nRUN apt update\n"
    good = "FROM debian:12\nRUN apt-get update\n"
    fixed = "FROM debian:12\nRUN apt-get update\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        return command.name == "apt"

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Writes the stable program's name."""
        action = command.words[:1]
        program = {"search": "apt-cache", "show": "apt-cache"}.get(action[0] if action else "", "apt-get")
        if not action or action[0] not in {
            "install",
            "update",
            "remove",
            "upgrade",
            "purge",
            "autoremove",
            "show",
            "search",
        }:
            return None
        start = script.shell.text.rfind("apt", command.start, command.name_end)
        if start < 0 or command.name_end - start != 3:
            return None
        return Fix(f"Use {program}", (Edit(script.span(start, command.name_end), program),), Applicability.UNSAFE)
