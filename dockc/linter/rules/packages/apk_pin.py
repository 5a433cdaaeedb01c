"""DL3018 apk-pin."""

from __future__ import annotations

from dockc.linter.families import InstallRule
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command


class ApkPin(InstallRule):
    """Reports `apk add` of packages without a version.

    ## Why

    Two builds of one Dockerfile install different versions. Alpine removes old versions from its mirrors, so that exact
    pins break when there is an update; `~` pins a series. This is why the rule is off in dockc's own profile.
    """

    code = "DL3018"
    name = "apk-pin"
    summary = "`apk add` without versions"
    severity = None
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3018",)
    message = "Pin versions in apk add. Instead of `apk add <package>` use `apk add <package>=<version>`"
    bad = "FROM alpine:3\nRUN apk add --no-cache curl\n"
    good = "FROM alpine:3\nRUN apk add --no-cache curl=8.5.0-r0\n"

    def packages(self, command: Command) -> list[str]:
        """See the base class."""
        if command.name != "apk" or not command.has_argument("add"):
            return []
        return [w for w in command.without_values_of(("t", "virtual", "repository", "X")).words if w != "add"]

    def pinned(self, package: str) -> bool:
        """See the base class."""
        return any(c in package for c in "=~><") or package.endswith(".apk")
