"""DL3008 apt-pin."""

from __future__ import annotations

from dockc.linter.families import InstallRule
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command


class AptPin(InstallRule):
    """Reports `apt-get install` of packages without a version.

    ## Why

    Two builds of one Dockerfile install different versions. Debian removes old versions from its mirrors, though, so
    that pins break when there is an update; a snapshot archive or a pinned base image avoids that. This is why the rule
    is off in dockc's own profile.
    """

    code = "DL3008"
    name = "apt-pin"
    summary = "`apt-get install` without versions"
    severity = None
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3008",)
    message = "Pin versions in apt get install. Instead of `apt-get install <package>` use `apt-get install <package>=<version>`"
    bad = "FROM debian:12\nRUN apt-get install -y curl\n"
    good = "FROM debian:12\nRUN apt-get install -y curl=7.88.1-10\n"

    def packages(self, command: Command) -> list[str]:
        """See the base class."""
        if command.name != "apt-get" or not command.has_argument("install"):
            return []
        return [w for w in command.without_values_of(("t", "target-release")).words if w != "install"]

    def pinned(self, package: str) -> bool:
        """See the base class."""
        return "=" in package or "/" in package or package.endswith(".deb")
