"""DL3032 yum-clean."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import covered, hit_at, removes
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell.commands import Command


class YumClean(Rule):
    """Reports a RUN that installs with `yum` and does not clean up after it.

    ## Why

    Metadata and packages stay in the layer. Clean up in the same RUN, or keep them in a cache mount.
    """

    code = "DL3032"
    name = "yum-clean"
    summary = "`yum` leaves its cache in the layer"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3032",)
    bad = "FROM img:1\nRUN yum install -y x-1.0\n"
    good = "FROM img:1\nRUN yum install -y x-1.0 && yum clean all\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for script in context.runs:
            if not context.parity:
                if covered(
                    script.instruction, "/var/cache/yum", "/var/cache/dnf", "/var/cache/libdnf5"
                ) or not context.left_behind(script):
                    continue
                if any(
                    removes(c, "/var/cache/yum", "/var/cache/dnf", "/var/cache/libdnf5") for c in script.shell.commands
                ):
                    continue
            forgotten = (_forgotten(script.shell.commands, program) for program in ("yum",))
            if (command := next(filter(None, forgotten), None)) is not None:
                yield hit_at(context, script, command, _MESSAGE)


_MESSAGE = "`yum clean all` missing after yum command."


def _forgotten(commands: tuple[Command, ...], program: str) -> Command | None:
    """The first install that nothing is cleaned up behind."""
    installs = [i for i, c in enumerate(commands) if c.name == program and c.has_argument("install")]
    cleans = [
        i
        for i, c in enumerate(commands)
        if (c.name == program and c.has_argument("clean", "all"))
        or (c.name == "rm" and c.has_argument("-rf", "/var/cache/yum/*"))
    ]
    return commands[installs[0]] if installs and not (cleans and installs[0] < cleans[0]) else None
