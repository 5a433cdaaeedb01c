"""DK0408 duplicate-port."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Edit
from dockc.grammar.source import Span
from dockc.linter.checked import plain
from dockc.linter.context import Context, Entry
from dockc.linter.rule import Fix, Hit, Rule, Severity


class DuplicatePort(Rule):
    """Reports a port that an EXPOSE of the stage has named already.

    ## Why

    It says nothing new.

    ## Fix

    Takes it out.
    """

    code = "DK0408"
    name = "duplicate-port"
    summary = "A port is exposed twice"
    severity = Severity.INFO
    fixable = "safe"
    changes = "history"
    bad = "FROM debian:12\nEXPOSE 80 80/tcp\n"
    good = "FROM debian:12\nEXPOSE 80 443\n"
    fixed = "FROM debian:12\nEXPOSE 80\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for stage in context.stages:
            seen: set[str] = set()
            for entry in stage:
                found = entry.instruction
                if not isinstance(found, ast.Expose):
                    continue
                ports = sorted(found.ports, key=lambda p: p.span.start)
                fresh = 0
                for port in ports:
                    number, _, protocol = port.text.lower().partition("/")
                    key = f"{number}/{protocol or 'tcp'}"
                    if key in seen and "$" not in key:
                        yield Hit(
                            port.span,
                            f"{port.text} is exposed already",
                            entry.node.lines,
                            _fix(context, entry, port, alone=len(ports) == 1 or not fresh),
                        )
                    else:
                        fresh += 1
                    seen.add(key)


def _fix(context: Context, entry: Entry, port: ast.Word, *, alone: bool) -> Fix | None:
    if not plain(context, port):
        return None
    if alone and isinstance(entry.instruction, ast.Expose):
        return Fix("Take it out", (Edit(entry.node.span, ""),)) if len(entry.instruction.ports) == 1 else None
    start = port.span.start
    while context.source.text[start - 1] in " \t":
        start -= 1
    return Fix("Take it out", (Edit(Span(start, port.span.end), ""),))
