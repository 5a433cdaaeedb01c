"""DL3037 zypper-pin."""

from __future__ import annotations

from dockc.linter.families import InstallRule
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command


class ZypperPin(InstallRule):
    """Reports `zypper install` of packages without a version.

    ## Why

    Two builds of one Dockerfile install different versions. Mirrors drop old versions, though, so that pins break when
    there is an update; this is why the rule is off in dockc's own profile.
    """

    code = "DL3037"
    name = "zypper-pin"
    summary = "`zypper install` without versions"
    severity = None
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3037",)
    message = "Specify version with `zypper install -y <package>=<version>`."
    bad = "FROM img:1\nRUN zypper -n install curl\n"
    good = "FROM img:1\nRUN zypper -n install curl=8.0\n"

    def packages(self, command: Command) -> list[str]:
        """See the base class."""
        if command.name != "zypper" or not command.has_argument("install", "in"):
            return []
        return [w for w in command.words if w not in {"install", "in"}]

    def pinned(self, package: str) -> bool:
        """See the base class."""
        return any(c in package for c in "=<>") or package.endswith(".rpm")
