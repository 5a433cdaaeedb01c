"""DL3036 zypper-clean."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.lint.context import Context
from dockc.compiler.lint.families import caches
from dockc.compiler.lint.rule import Hit, Rule, Severity
from dockc.compiler.lint.shell.commands import Command


class ZypperClean(Rule):
    """Reports a RUN that installs with `zypper` and does not clean up after it.

    ## Why

    Metadata and packages stay in the layer. Clean up in the same RUN, or keep them in a cache mount.
    """

    code = "DL3036"
    name = "zypper-clean"
    summary = "`zypper` leaves its cache in the layer"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3036",)
    bad = "FROM img:1\nRUN zypper -n install x=1.0\n"
    good = "FROM img:1\nRUN zypper -n install x=1.0 && zypper clean\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for script in context.runs:
            if caches(script.instruction, "/var/cache/zypp"):
                continue
            if any(_forgets(script.shell.commands, program) for program in ("zypper",)):
                yield Hit(script.instruction.span, _MESSAGE, script.entry.node.lines)


_MESSAGE = "`zypper clean` missing after zypper use."


def _forgets(commands: tuple[Command, ...], program: str) -> bool:
    installs = [i for i, c in enumerate(commands) if c.name == program and c.has_argument("install", "in")]
    cleans = [i for i, c in enumerate(commands) if c.name == program and c.has_argument("clean", "cc")]
    return bool(installs) and not (cleans and installs[0] < cleans[0])
