"""DK0304 system-upgrade."""

from __future__ import annotations

from dockc.linter.context import Script
from dockc.linter.families import CommandRule
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command


class SystemUpgrade(CommandRule):
    """Reports `apt-get upgrade`, `apk upgrade`, `dnf update` and the like without packages.

    ## Why

    What is built depends on the day, and the old files stay in the lower layers. Take a newer base image. Some teams
    upgrade on purpose, to get security fixes between releases of the base; they ignore this rule.
    """

    code = "DK0304"
    name = "system-upgrade"
    summary = "All packages of the base image are upgraded"
    severity = Severity.INFO
    equivalents = (
        "kics:e9856348-4069-4ac0-bd91-415f6a7b84a4",
        "trivy:DS-0024",
    )
    message = "the whole system is upgraded; a newer base image does that reproducibly"
    bad = "FROM debian:12\nRUN apt-get update && apt-get upgrade -y\n"
    good = "FROM debian:12.8\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        words = command.words
        if command.name in {"apt", "apt-get"}:
            return len(words) == 1 and words[0] in {"upgrade", "dist-upgrade", "full-upgrade"}
        if command.name == "apk":
            return words == ("upgrade",)
        return command.name in {"yum", "dnf", "microdnf", "tdnf"} and words in {("update",), ("upgrade",)}
