"""DL3040 dnf-clean."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import caches, covered, hit_at, removes
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell.commands import Command


class DnfClean(Rule):
    """Reports a RUN that installs with `dnf` and does not clean up after it.

    ## Why

    Metadata and packages stay in the layer. Clean up in the same RUN, or keep them in a cache mount.
    """

    code = "DL3040"
    name = "dnf-clean"
    summary = "`dnf` leaves its cache in the layer"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3040",)
    bad = "FROM img:1\nRUN dnf install -y x-1.0\n"
    good = "FROM img:1\nRUN dnf install -y x-1.0 && dnf clean all\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for script in context.runs:
            if caches(script.instruction, "/var/cache/libdnf5", ".cache/libdnf5"):
                continue
            if not context.parity:
                if covered(
                    script.instruction, "/var/cache/dnf", "/var/cache/libdnf5", "/var/cache/yum"
                ) or not context.left_behind(script):
                    continue
                if any(
                    removes(c, "/var/cache/dnf", "/var/cache/libdnf5", "/var/cache/yum") for c in script.shell.commands
                ):
                    continue
            forgotten = (_forgotten(script.shell.commands, program) for program in ("dnf", "microdnf"))
            if (command := next(filter(None, forgotten), None)) is not None:
                yield hit_at(context, script, command, _MESSAGE)


_INSTALLS = ("install", "in", "upgrade", "up", "upgrade-minimal", "up-min", "reinstall", "rei")
_MESSAGE = "`dnf clean all` missing after dnf command."


def _forgotten(commands: tuple[Command, ...], program: str) -> Command | None:
    """The first install that nothing is cleaned up behind."""
    installs = [i for i, c in enumerate(commands) if c.name == program and c.has_argument(*_INSTALLS)]
    cleans = [
        i
        for i, c in enumerate(commands)
        if (c.name == program and c.has_argument("clean", "all"))
        or (c.name == "rm" and c.has_argument("-rf", "/var/cache/libdnf5*"))
    ]
    return commands[installs[0]] if installs and not (cleans and installs[0] < cleans[0]) else None
