"""DL3067 copy-root."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler import ast
from dockc.compiler.lint.context import Context
from dockc.compiler.lint.families import unquoted
from dockc.compiler.lint.rule import Hit, Rule, Severity


class CopyRoot(Rule):
    """Reports `COPY --from=… / /`.

    ## Why

    It copies everything there is, what the stage left behind included. To flatten an image, say so with `FROM scratch`, or copy what is needed.
    """

    code = "DL3067"
    name = "copy-root"
    summary = "COPY --from of a whole file system"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3067",)
    bad = "FROM debian:12 AS a\nFROM debian:12\nCOPY --from=a / /\n"
    good = "FROM debian:12 AS a\nFROM debian:12\nCOPY --from=a /out /\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        stages = list(context.stages)
        for entry, copy in context.all(ast.Copy):
            if (
                not copy.from_.text
                or unquoted(copy.dest.text) != "/"
                or all(unquoted(s.text) != "/" for s in copy.sources)
            ):
                continue
            from_ = stages[entry.stage][0].instruction if 0 <= entry.stage < len(stages) else None
            if not context.parity and isinstance(from_, ast.From) and from_.base.text == "scratch":
                continue
            yield Hit(copy.span, "Do not copy an entire filesystem from another stage", entry.node.lines)
