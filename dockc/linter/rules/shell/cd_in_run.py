"""DL3003 use-workdir."""

from __future__ import annotations

from dockc.linter.context import Context, Script
from dockc.linter.families import CommandRule
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command


class CdInRun(CommandRule):
    """Reports `cd` in RUN.

    ## Why

    Each RUN starts in WORKDIR again. `cd` in one does not reach the next, and long paths of it are hard to follow.

    ## Known problems

    hadolint reports every `cd`. dockc's own profile reports one to a fixed path at the beginning of a script, of which
    WORKDIR says the same; in
    the middle, in a subshell, or in a directory that the same RUN makes, `cd` is what there is: those are in the set
    `strict`.
    """

    code = "DL3003"
    name = "use-workdir"
    summary = "`cd` where WORKDIR would do"
    severity = Severity.STYLE
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3003",)
    message = "Use WORKDIR to switch to a directory"
    triggers = False
    bad = "FROM debian:12\nRUN cd /tmp && make\n"
    good = "FROM debian:12\nWORKDIR /tmp\nRUN make\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        return command.name == "cd"

    def minor(self, command: Command, script: Script, context: Context) -> bool:
        """Where WORKDIR says something else, or the step would have to be split."""
        first = script.shell.commands[0]
        if command is not first or any(c.name == "cd" for c in script.shell.commands[1:]):
            return True
        path = command.texts[0] if len(command.texts) == 1 else ""
        rest = script.shell.text[command.end :].lstrip(" \t")
        fixed = path.startswith("/") and "${" not in path and rest.startswith(("&&", ";", "\n"))
        return not (command is first and fixed and not _opens(script, command))


def _opens(script: Script, command: Command) -> bool:
    """Whether anything stands before a command: a bracket, a keyword."""
    return bool(script.shell.text[: command.start].strip())
