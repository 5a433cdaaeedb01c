"""LegacyKeyValueFormat legacy-key-value-format."""

from __future__ import annotations

from dockc.compiler.syntax import ast
from dockc.grammar.source import Span
from dockc.linter.checked import CheckRule, instruction_at, replacing
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class LegacyKeyValueFormat(CheckRule):
    """Reports `ENV KEY value` and `LABEL KEY value`.

    ## Why

    The old form takes the rest of the line as the value, so it cannot set two, and `ENV A=1 B` or a forgotten `=` mean something that nobody meant.

    ## Fix

    Writes `KEY=value`, quoted where the value has blanks.
    """

    code = "LegacyKeyValueFormat"
    name = "legacy-key-value-format"
    summary = "ENV or LABEL without an equals sign"
    severity = Severity.WARNING
    equivalents = ("buildkit:LegacyKeyValueFormat",)
    fixable = "safe"
    bad = "FROM alpine:3\nENV GREETING hello world\n"
    good = 'FROM alpine:3\nENV GREETING="hello world"\n'
    fixed = 'FROM alpine:3\nENV GREETING="hello world"\n'

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        found = instruction_at(context, finding)
        if not isinstance(found, (ast.Env, ast.Label)) or len(found.pairs) != 1:
            return None
        pair = found.pairs[0]
        span = Span(pair.key.span.start, found.span.end)
        text = f"{pair.key.text}={_assigned(pair.value.text, context.file.escape)}"
        return Hit(span, finding.message, fix=replacing("Write KEY=value", span, text))


def _assigned(value: str, escape: str) -> str:
    """A value as one word that expands to the same text."""
    if not any(c.isspace() for c in value):
        return value or '""'
    if not any(c in value for c in ("'", '"', escape)):
        return f'"{value}"'
    out: list[str] = []
    quote = ""
    for at, char in enumerate(value):
        escaped = at > 0 and value[at - 1] == escape and quote != "'"
        if char in "'\"" and not escaped:
            quote = "" if quote == char else quote or char
        out.append(f"{escape}{char}" if char.isspace() and not quote and not escaped else char)
    return "".join(out)
