"""DL3016 npm-pin."""

from __future__ import annotations

from dockc.linter.families import InstallRule
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command

_GIT = ("git://", "git+ssh://", "git+http://", "git+https://")


class NpmPin(InstallRule):
    """Reports `npm install` of packages without a version.

    ## Why

    Two builds of one Dockerfile install different versions.
    """

    code = "DL3016"
    name = "npm-pin"
    summary = "`npm install` without versions"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3016",)
    message = "Pin versions in npm. Instead of `npm install <package>` use `npm install <package>@<version>`"
    bad = "FROM node:22\nRUN npm install -g pnpm\n"
    good = "FROM node:22\nRUN npm install -g pnpm@9.0.0\n"

    def packages(self, command: Command) -> list[str]:
        """See the base class."""
        if command.name != "npm" or not command.has_argument("install"):
            return []
        if not self.parity and command.has_flag("prefix", "C") and len(command.words) == 1:
            return []
        words = list(command.without_values_of(("loglevel", "registry")).words)
        if words[:1] != ["install"]:
            return []
        while words[:1] == ["install"]:
            words.pop(0)
        return words

    def pinned(self, package: str) -> bool:
        """See the base class."""
        if package.startswith(_GIT):
            return "#" in package
        if package.endswith((".tar", ".tar.gz", ".tgz")) or package.startswith(("/", "./", "../", "~/")):
            return True
        if package.startswith("@"):
            package = package[next((i for i, c in enumerate(package) if c <= "/"), len(package)) :]
        return "@" in package
