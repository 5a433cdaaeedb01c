"""DK0303 update-alone."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import caches
from dockc.linter.rule import Hit, Rule, Severity


class UpdateAlone(Rule):
    """Reports `apt-get update` and `apk update` in a RUN without an installation.

    ## Why

    The step comes from the cache while its text stays the same. A later RUN then installs from lists that are months
    old, and fails when a version is gone. Update and install in one RUN.
    """

    code = "DK0303"
    name = "update-alone"
    summary = "Package lists are updated in a RUN that installs nothing"
    severity = Severity.WARNING
    equivalents = (
        "kics:b84a0b47-2e99-4c9f-8933-98bcabe2b94d",
        "trivy:DS-0017",
        "checkov:CKV_DOCKER_5",
    )
    bad = "FROM debian:12\nRUN apt-get update\nRUN apt-get install -y --no-install-recommends curl=8.0\n"
    good = "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends curl=8.0\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for script in context.runs:
            commands = script.shell.commands
            if any(c.name in _MANAGERS and set(c.words) & _VERBS for c in commands) or caches(
                script.instruction, "/var/lib/apt", "/var/cache/apk"
            ):
                continue
            if any(c.name not in _KNOWN for c in commands):
                continue  # a script or function may install
            for command in commands:
                if command.name in _MANAGERS and command.has_argument("update"):
                    yield Hit(
                        script.span(command.start, command.end),
                        "package lists are updated, and nothing is installed in the same RUN",
                    )
                    break


_MANAGERS = frozenset(["apt", "apt-get", "apk"])
_VERBS = frozenset(["install", "add", "upgrade", "dist-upgrade", "full-upgrade", "source", "build-dep", "download"])
_KNOWN = _MANAGERS | {
    "rm",
    "echo",
    "set",
    "true",
    "sed",
    "cp",
    "mv",
    "mkdir",
    "dpkg",
    "sudo",
    "touch",
    "printf",
    "tee",
    "cat",
    "ln",
}
