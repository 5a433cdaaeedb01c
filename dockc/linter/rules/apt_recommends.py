"""DL3015 apt-recommends."""

from __future__ import annotations

from dockc.linter.context import Script
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

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        if command.name != "apt-get" or not command.has_argument("install"):
            return False
        return not command.has_flag("no-install-recommends") and not command.has_argument(
            "APT::Install-Recommends=false"
        )

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Adds the flag after `install`."""
        word = "--no-install-recommends"
        return insert_word(command, script, position(command, "install"), word, f"Add {word}", safe=False)
