"""DL3004 no-sudo."""

from __future__ import annotations

from dockc.linter.context import Context, Script
from dockc.linter.families import CommandRule
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command
from dockc.linter.shells import is_root


class NoSudo(CommandRule):
    """Reports `sudo`, but where another user than root is active: there it does what it is for.

    ## Why

    Build steps are root unless USER says otherwise; `sudo` then only changes terminal and signal handling. Where
    another user is set, switch with USER.
    """

    code = "DL3004"
    name = "no-sudo"
    summary = "`sudo` in a build step"
    severity = Severity.WARNING
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3004",)
    message = "Do not use sudo as it leads to unpredictable behavior. Use a tool like gosu to enforce root"
    bad = "FROM debian:12\nRUN sudo make install\n"
    good = "FROM debian:12\nRUN make install\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        return command.name == "sudo"

    def excuses(self, script: Script, context: Context) -> bool:
        """Where the user is not root."""
        if context.parity:
            return False
        user = context.users[script.entry.index]
        if (
            user is None
            and 0 <= script.entry.stage < len(context.bases)
            and not context.bases[script.entry.stage].known
        ):
            return True  # so is the base image
        return user is not None and not is_root(user)

    def minor(self, command: Command, script: Script, context: Context) -> bool:
        """To become another user than root is what USER would do, for the whole step."""
        return any(
            not is_root(name)
            for name in (
                *command.flag_values("u"),
                *(t.partition("=")[2] for t in command.texts if t.startswith("--user=")),
            )
        )
