"""DL3001 pointless-command."""

from __future__ import annotations

from dockc.linter.context import Script
from dockc.linter.families import CommandRule
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command

_COMMANDS = frozenset(["free", "kill", "mount", "ps", "service", "shutdown", "ssh", "top", "vim"])


class PointlessCommand(CommandRule):
    """Reports commands that make no sense while an image is built: `ssh`, `service`, `ps`, `mount` and the like.

    ## Why

    A build step has no services, no other users and no terminal; such a command does nothing, or hides what is meant to
    happen when the container runs.
    """

    code = "DL3001"
    name = "pointless-command"
    summary = "A command that makes no sense during a build"
    severity = Severity.INFO
    hadolint_severity = Severity.INFO
    equivalents = ("hadolint:DL3001",)
    message = (
        "For some bash commands it makes no sense running them in a Docker container like `ssh`, `vim`, `shutdown`, "
        "`service`, "
        "`ps`, `free`, `top`, `kill`, `mount`, `ifconfig`"
    )
    bad = "FROM debian:12\nRUN service cron start\n"
    good = "FROM debian:12\nRUN cron --version\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        return command.name in _COMMANDS
