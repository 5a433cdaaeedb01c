"""DL3066 numeric-user."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity


class NumericUser(Rule):
    """Reports USER with a name instead of a number.

    ## Why

    Kubernetes' `runAsNonRoot` can only check numbers.
    """

    code = "DL3066"
    name = "numeric-user"
    summary = "USER by name"
    severity = None
    hadolint_severity = Severity.INFO
    equivalents = ("hadolint:DL3066",)
    bad = "FROM debian:12\nUSER ada\n"
    good = "FROM debian:12\nUSER 1000\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        names: set[str] = set()
        for entry in context.entries:
            found = entry.instruction
            if isinstance(found, ast.Arg):
                names.update(pair.key.text for pair in found.pairs)
            elif isinstance(found, ast.User):
                user = found.user.text
                uid = user.partition(":")[0]
                numeric = all("0" <= c <= "9" for c in uid)
                if not numeric and not _mentions(user, names):
                    yield Hit(
                        found.user.span, "Non-numeric user-id may not be resolvable by host system", entry.node.lines
                    )


def _mentions(user: str, names: set[str]) -> bool:
    """Whether a word has `${NAME}`, or `$` and then a text that begins with NAME, which hadolint takes for the same."""
    for match in _VARIABLE.finditer(user):
        name = match[2]
        if (match[1] and match[3] and name in names) or (
            not match[1] and any(name[:end] in names for end in range(1, len(name) + 1))
        ):
            return True
    return False


_VARIABLE = pattern(r"\$(\{?)(\w+)(\}?)")
