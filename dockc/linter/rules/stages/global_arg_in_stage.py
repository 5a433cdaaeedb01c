"""DK0411 global-arg-in-stage."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Applicability, Edit
from dockc.grammar.source import Span
from dockc.linter.context import Context
from dockc.linter.families import each_stage
from dockc.linter.rule import Fix, Hit, Rule, Severity
from dockc.linter.words import alias, unquoted


class GlobalArgInStage(Rule):
    """Reports `$NAME` in RUN for an ARG that stands before the first FROM and is not declared again in the stage.

    ## Why

    Such an ARG is known to FROM alone. In a stage it is empty until `ARG NAME` declares it there.

    ## Fix

    Declares it before the RUN.
    """

    code = "DK0411"
    name = "global-arg-in-stage"
    summary = "A RUN uses an ARG from before the first FROM"
    severity = Severity.WARNING
    fixable = "unsafe"
    bad = "ARG VERSION=1\nFROM debian:12\nRUN fetch-tool $VERSION\n"
    good = "ARG VERSION=1\nFROM debian:12\nARG VERSION\nRUN fetch-tool $VERSION\n"
    fixed = "ARG VERSION=1\nFROM debian:12\nARG VERSION\nRUN fetch-tool $VERSION\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        outer = {pair.key.text for entry, arg in context.all(ast.Arg) if entry.stage < 0 for pair in arg.pairs}
        if not outer:
            return
        known: dict[str, set[str]] = {}
        for from_, entries in each_stage(context):
            names = set(known.get(unquoted(from_.base.text).lower(), ()))
            for entry in entries:
                found = entry.instruction
                if isinstance(found, (ast.Arg, ast.Env)):
                    names.update(pair.key.text for pair in found.pairs)
                elif isinstance(found, ast.Run) and found.prepend_shell:
                    text = context.source.slice(found.span)
                    for name in sorted(outer - names):
                        use = re.search(rf"(?<!\\)\$(?:{re.escape(name)}(?!\w)|\{{{re.escape(name)}\}})", text)
                        if use is None or re.search(
                            rf"(?<![\w$]){re.escape(name)}=|\b(?:read|for|export)\s+(?:-\w+\s+)*{re.escape(name)}\b",
                            text,
                        ):
                            continue
                        at = context.source.line_span(entry.line).start
                        fix = Fix(f"Declare {name}", (Edit(Span(at, at), f"ARG {name}\n"),), Applicability.UNSAFE)
                        span = Span(found.span.start + use.start(), found.span.start + use.end())
                        yield Hit(span, f"{name} is empty here: this stage does not declare it", entry.node.lines, fix)
                        names.add(name)
            known[alias(from_).lower()] = names
