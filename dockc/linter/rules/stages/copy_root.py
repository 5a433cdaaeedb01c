"""DL3067 copy-root."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Entry
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import unquoted


class CopyRoot(Rule):
    """Reports `COPY --from=… / /`.

    ## Why

    It copies everything there is, what the stage left behind included. To flatten an image, say so with `FROM scratch`,
    or copy what is needed.

    ## Known problems

    hadolint reports every such copy. dockc's own profile leaves out what is made to be laid over a file system: an
    image, and a stage that began with `FROM scratch`.
    """

    code = "DL3067"
    name = "copy-root"
    summary = "COPY --from of a whole file system"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3067",)
    bad = "FROM debian:12 AS a\nRUN make\nFROM debian:12\nCOPY --from=a / /\n"
    good = "FROM debian:12 AS a\nRUN make\nFROM debian:12\nCOPY --from=a /out /\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, copy in context.all(ast.Copy):
            if (
                not copy.from_.text
                or unquoted(copy.dest.text) != "/"
                or all(unquoted(s.text) != "/" for s in copy.sources)
            ):
                continue
            if not context.parity and _overlays(context, entry, unquoted(copy.from_.text)):
                continue
            yield Hit(copy.span, "Do not copy an entire filesystem from another stage", entry.node.lines)


def _overlays(context: Context, entry: Entry, source: str) -> bool:
    """Whether a copy flattens something into an empty stage, or adds something made for it: an image, or a stage that
    began empty.
    """
    below = context.bases
    if 0 <= entry.stage < len(below) and below[entry.stage].image == "scratch":
        return True
    index = int(source) if source.isdecimal() else context.aliases.get(source.lower(), -1)
    if not 0 <= index < len(below) or below[index].image == "scratch":
        return True
    return below[index].on is None and len(context.stages[index]) == 1  # another name for an image
