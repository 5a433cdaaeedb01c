"""UndefinedArgInFrom undefined-arg-in-from."""

from __future__ import annotations

from dockc.linter.checked import CheckRule, instruction_at, variable_hit
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class UndefinedArgInFrom(CheckRule):
    """Reports variables in FROM that no ARG above the first FROM declares. The platform arguments that BuildKit sets
    count as declared.

    ## Why

    The variable is empty, and a default in the reference (`${TAG:-3}`) hides a spelling mistake for good.

    ## Fix

    Writes the name that was probably meant, where there is one.
    """

    code = "UndefinedArgInFrom"
    name = "undefined-arg-in-from"
    summary = "FROM uses an ARG that is not declared before the first FROM"
    severity = Severity.WARNING
    equivalents = ("buildkit:UndefinedArgInFrom",)
    fixable = "unsafe"
    bad = "ARG VERSION=3\nFROM alpine:${VERSOIN:-3}\n"
    good = "ARG VERSION=3\nFROM alpine:${VERSION:-3}\n"
    fixed = "ARG VERSION=3\nFROM alpine:${VERSION:-3}\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        found = instruction_at(context, finding)
        return variable_hit(context, finding, found.span) if found is not None else None
