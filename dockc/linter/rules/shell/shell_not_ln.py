"""DL4005 shell-not-ln."""

from __future__ import annotations

from dockc.linter.context import Context, Script
from dockc.linter.families import CommandRule
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command


class ShellNotLn(CommandRule):
    """Reports `ln` of something to `/bin/sh`.

    ## Why

    It changes the shell of every program in the image. SHELL changes that of the Dockerfile.
    """

    code = "DL4005"
    name = "shell-not-ln"
    summary = "`ln` to change the shell"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL4005",)
    message = "Use SHELL to change the default shell"
    bad = "FROM debian:12\nRUN ln -sf /bin/bash /bin/sh\n"
    good = 'FROM debian:12\nSHELL ["/bin/bash", "-c"]\n'

    def excuses(self, script: Script, context: Context) -> bool:
        """Where there is no shell that could be changed: the link makes one."""
        return (
            not context.parity
            and 0 <= script.entry.stage < len(context.bases)
            and context.bases[script.entry.stage].shell == "none"
        )

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        return command.name == "ln" and command.has_argument("/bin/sh")
