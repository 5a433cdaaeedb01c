"""DL3044 env-same-statement."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.images import is_plain
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
                used = _used(found.pairs, known)
                if used is not None:
                    message = (
                        "Do not refer to an environment variable within the same `ENV` statement where it is defined."
                    )
                    severity = None
                    if (
                        not context.parity
                        and 0 <= entry.stage < len(context.bases)
                        and not is_plain(context.bases[entry.stage].image)
                    ):
                        severity = Severity.WARNING  # the base image may set it, too
                    yield Hit(used.span, message, entry.node.lines, severity=severity)
                known.update(pair.key.text for pair in found.pairs)


def _used(pairs: tuple[ast.KeyValue, ...], known: set[str]) -> ast.Word | None:
    """The first value that refers to the name of another pair, by the order of names: each value is read once."""
    users: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        for name in _references(pair.value.text):
            users.setdefault(name, []).append(index)
    for index, pair in enumerate(pairs):
        name = pair.key.text
        if name not in known:
            other = next((i for i in users.get(name, ())[:2] if i != index), None)
            if other is not None:
                return pairs[other].value
    return None


def _references(value: str) -> set[str]:
    """Names that a value refers to as `$NAME` or `${NAME}`."""
    if "$" not in value:
        return set()
    found = {match[1] for match in _BRACED.finditer(value)}
    return found | {match[1] for match in _PLAIN.finditer(value)}


_BRACED = pattern(r"\$\{([^{}]*)\}")
_PLAIN = pattern(r"\$([A-Za-z0-9_]+)")
