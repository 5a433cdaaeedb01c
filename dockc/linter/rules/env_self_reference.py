"""DL3044 env-same-statement."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity


class EnvSameStatement(Rule):
    """Reports an ENV that uses a variable which the same ENV sets.

    ## Why

    All values of one ENV are expanded with what was set before it, so the reference gives the old value or nothing.
    """

    code = "DL3044"
    name = "env-same-statement"
    summary = "ENV refers to a variable of the same ENV"
    severity = Severity.ERROR
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3044",)
    bad = "FROM debian:12\nENV A=1 B=$A\n"
    good = "FROM debian:12\nENV A=1\nENV B=$A\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        known: set[str] = set()
        for entry in context.entries:
            found = entry.instruction
            if isinstance(found, ast.Arg):
                known.update(pair.key.text for pair in found.pairs)
            elif isinstance(found, ast.Env):
                for index, pair in enumerate(found.pairs):
                    name = pair.key.text
                    others = (p.value for i, p in enumerate(found.pairs) if i != index)
                    used = next((v for v in others if _refers(v.text, name)), None)
                    if used is not None and name not in known:
                        message = "Do not refer to an environment variable within the same `ENV` statement where it is defined."
                        yield Hit(used.span, message, entry.node.lines)
                        break
                known.update(pair.key.text for pair in found.pairs)


def _refers(value: str, name: str) -> bool:
    escaped = re.escape(name)
    return re.search(rf"\$\{{{escaped}\}}|\${escaped}(?![A-Za-z0-9_])", value) is not None
