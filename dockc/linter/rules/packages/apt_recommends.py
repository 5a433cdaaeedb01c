"""DL3015 apt-recommends."""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.linter.context import Context, Script
from dockc.linter.families import CommandRule, insert_word, position
from dockc.linter.rule import Fix, Severity
from dockc.linter.shell.commands import Command

_VARIABLE = pattern(r"\$\{(\w+)[^}]*\}")
_SET = pattern(r"\b(\w+)=|^\s*ENV\s+(\w+)\s")


class AptRecommends(CommandRule):
    """Reports `apt-get install` that also installs recommended packages.

    ## Why

    Recommended packages are often larger than what was asked for, and rarely needed in a container.

    ## Fix

    Adds `--no-install-recommends`. It changes what is installed, so it has to be asked for.

    ## Known problems

    Where a variable among the words is set to the option somewhere in the file (`$opts` after
    `opts="--no-install-recommends"`, in one branch of an `if` perhaps), dockc's own profile leaves the command to the
    set `strict`.
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

    local = False  # apt's configuration may be in an earlier step
    _settled: tuple[Context, int] | None = None
    _setters: tuple[Context, frozenset[str]] | None = None

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        if command.name != "apt-get" or not command.has_argument("install"):
            return False
        return not command.has_flag("no-install-recommends") and not command.has_argument(
            "APT::Install-Recommends=false"
        )

    def excuses(self, script: Script, context: Context) -> bool:
        """Where apt was told so in its configuration."""
        if context.parity:
            return False
        if self._settled is None or self._settled[0] is not context:
            self._settled = (
                context,
                next((s.entry.index for s in context.runs if "Install-Recommends" in s.shell.text), 1 << 60),
            )
        return script.entry.index >= self._settled[1]

    def minor(self, command: Command, script: Script, context: Context) -> bool:
        """In a stage whose files no image has, and where a variable may bring the option."""
        return not context.left_behind(script) or any(
            (name := _VARIABLE.fullmatch(word.text)) is not None and name[1] in self._bringing(context)
            for word in command.arguments
        )

    def _bringing(self, context: Context) -> frozenset[str]:
        """Variables that a line with the option sets."""
        if self._setters is None or self._setters[0] is not context:
            lines = [line for line in context.source.text.splitlines() if "-install-recommends" in line]
            self._setters = (context, frozenset(a or b for line in lines for a, b in _SET.findall(line)))
        return self._setters[1]

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Adds the flag after `install`."""
        word = "--no-install-recommends"
        return insert_word(command, script, position(command, "install"), word, f"Add {word}", safe=False)
