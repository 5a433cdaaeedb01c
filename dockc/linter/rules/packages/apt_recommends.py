"""DL3015 apt-recommends."""

from __future__ import annotations

from dockc.linter.context import Context, Script
from dockc.linter.families import CommandRule, insert_word, position
from dockc.linter.rule import Fix, Severity
from dockc.linter.shell.commands import Command


class AptRecommends(CommandRule):
    """Reports `apt-get install` that also installs recommended packages.

    ## Why

    Recommended packages are often larger than what was asked for, and rarely needed in a container.

    ## Fix

    Adds `--no-install-recommends`. It changes what is installed, so it has to be asked for.
    """

    code = "DL3015"
    name = "apt-recommends"
    summary = "`apt-get install` takes recommended packages along"
    severity = Severity.INFO
    hadolint_severity = Severity.INFO
    equivalents = ("hadolint:DL3015",)
    message = "Avoid additional packages by specifying `--no-install-recommends`"
    fixable = "unsafe"
    bad = "FROM debian:12\nRUN apt-get install -y curl\n"
    good = "FROM debian:12\nRUN apt-get install -y --no-install-recommends curl\n"
    fixed = "FROM debian:12\nRUN apt-get install --no-install-recommends -y curl\n"

    local = False  # apt's configuration may be in an earlier step
    _settled: tuple[Context, int] | None = None

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        if command.name != "apt-get" or not command.has_argument("install"):
            return False
        return not command.has_flag("no-install-recommends") and not command.has_argument(
            "APT::Install-Recommends=false"
        )

    def excuses(self, script: Script, context: Context) -> bool:
        """Where apt was told so in its configuration."""
        if context.parity:
            return False
        if self._settled is None or self._settled[0] is not context:
            self._settled = (
                context,
                next((s.entry.index for s in context.runs if "Install-Recommends" in s.shell.text), 1 << 60),
            )
        return script.entry.index >= self._settled[1]

    def minor(self, command: Command, script: Script, context: Context) -> bool:
        """In a stage whose files no image has."""
        return not context.left_behind(script)

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Adds the flag after `install`."""
        word = "--no-install-recommends"
        return insert_word(command, script, position(command, "install"), word, f"Add {word}", safe=False)
