"""DL3028 gem-pin."""

from __future__ import annotations

from dockc.linter.families import InstallRule
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command


class GemPin(InstallRule):
    """Reports `gem install` of gems without a version.

    ## Why

    Two builds of one Dockerfile install different versions.
    """

    code = "DL3028"
    name = "gem-pin"
    summary = "`gem install` without versions"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3028",)
    message = "Pin versions in gem install. Instead of `gem install <gem>` use `gem install <gem>:<version>`"
    bad = "FROM ruby:3\nRUN gem install bundler\n"
    good = "FROM ruby:3\nRUN gem install bundler:2.5.0\n"

    def packages(self, command: Command) -> list[str]:
        """See the base class."""
        if command.name != "gem" or not command.has_argument("install", "i") or command.has_argument("-v", "--version"):
            return []
        if any(text.startswith("--version=") for text in command.texts):
            return []
        found: list[str] = []
        skip = False
        for text in command.texts:
            if text == "--":
                break
            if skip:
                skip = False
            elif text.startswith("-"):
                skip = True
            elif text not in {"install", "i"}:
                found.append(text)
        return found

    def pinned(self, package: str) -> bool:
        """See the base class."""
        return ":" in package
