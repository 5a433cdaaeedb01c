"""NoEmptyContinuation no-empty-continuation."""

from __future__ import annotations

from dockc.compiler.swallowed import swallowed
from dockc.grammar.diagnostic import Edit
from dockc.grammar.source import Span
from dockc.linter.checked import CheckRule, entry_at
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Fix, Hit, Severity


class NoEmptyContinuation(CheckRule):
    """Reports an empty line after a line that ends with the escape character.

    ## Why

    Today the instruction simply goes on behind it, which few readers expect. A future version of the frontend will
    refuse such a file.

    ## Fix

    Takes the empty lines out; not where what follows them looks like an instruction that a backslash too many has
    joined: see DK0412.
    """

    code = "NoEmptyContinuation"
    name = "no-empty-continuation"
    summary = "An instruction that goes on over several lines holds an empty line"
    severity = Severity.WARNING
    equivalents = ("buildkit:NoEmptyContinuation",)
    fixable = "safe"
    bad = "FROM alpine:3\nRUN echo a && \\\n\n    echo b\n"
    good = "FROM alpine:3\nRUN echo a && \\\n    echo b\n"
    fixed = "FROM alpine:3\nRUN echo a && \\\n    echo b\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        entry = entry_at(context, finding)
        if entry is None:
            return None
        logical, source = entry.node.logical, context.source
        empty = [source.line_span(n) for n in range(logical.first, logical.last + 1) if not source.line_text(n).strip()]
        if not empty:
            return None
        fix: Fix | None = Fix("Take the empty lines out", tuple(Edit(span, "") for span in empty))
        if swallowed(entry.node, source, context.file.escape):
            fix = None
        first = source.line_at(empty[0].start)
        return Hit(Span(empty[0].start, empty[0].start), finding.message, (first, first), fix)
