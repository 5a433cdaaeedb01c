"""LegacyKeyValueFormat legacy-key-value-format."""

from __future__ import annotations

from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Edit, Fix
from dockc.grammar.source import Span
from dockc.linter.checked import CheckRule, instruction_at, replacing
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class LegacyKeyValueFormat(CheckRule):
    """Reports `ENV KEY value` and `LABEL KEY value`.

    ## Why

    The old form takes the rest of the line as the value, so it cannot set two, and `ENV A=1 B` or a forgotten `=` mean
    something that nobody meant.

    ## Fix

    Writes `KEY=value`, quoted where the value has blanks. Lines and comments within stay as they are.
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
        if "\n" in context.source.slice(span):
            return Hit(span, finding.message, fix=_quoting(context, pair, found.span.end))
        text = f"{pair.key.text}={_assigned(pair.value.text, context.file.escape)}"
        return Hit(span, finding.message, fix=replacing("Write KEY=value", span, text))


def _quoting(context: Context, pair: ast.KeyValue, end: int) -> Fix | None:
    """For a value of several lines: quotes around it, and nothing else changes. Comments and lines stay; None where the
    value has quotes itself.
    """
    value, source = pair.value.text, context.source
    if any(sign in value for sign in ("'", '"', context.file.escape)) or not value:
        return None
    rest = source.text[pair.key.span.end : end]
    at, lines = 0, rest.split("\n")
    for line in lines:  # up to where the value begins: continuations, comments, empty lines
        bare = line.strip()
        if bare and not bare.startswith("#") and bare != context.file.escape:
            break
        at += len(line) + 1
    begin = pair.key.span.end + at + len(rest[at:]) - len(rest[at:].lstrip(" \t"))
    gap = source.text[pair.key.span.end : begin]
    head = gap.lstrip(" \t").rstrip(" \t") if "\n" in gap else ""
    stop = end - (len(rest) - len(rest.rstrip()))
    return Fix("Write KEY=value", (Edit(Span(pair.key.span.end, begin), f'="{head}'), Edit(Span(stop, stop), '"')))


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
