"""DL3020 copy-not-add."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Edit
from dockc.linter.context import Context
from dockc.linter.families import ARCHIVES
from dockc.linter.rule import Fix, Hit, Rule, Severity
from dockc.linter.words import unquoted


class CopyNotAdd(Rule):
    """Reports ADD of files that are neither downloaded nor unpacked.

    ## Why

    ADD does more than its reader expects: it unpacks archives and fetches URLs. For plain files COPY says what is
    meant.

    ## Fix

    Writes COPY, where all sources are plain files of the context.
    """

    code = "DL3020"
    name = "copy-not-add"
    summary = "ADD of plain files"
    severity = Severity.WARNING
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3020",)
    fixable = "safe"
    changes = "COPY for ADD"
    bad = "FROM debian:12\nADD app.py /app/\n"
    good = "FROM debian:12\nCOPY app.py /app/\n"
    fixed = "FROM debian:12\nCOPY app.py /app/\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, add in context.all(ast.Add):
            sources = [unquoted(s.text) for s in add.sources]
            plain = [s for s in sources if not s.endswith(ARCHIVES) and not s.startswith(("https://", "http://"))]
            if not plain or (not context.parity and any(_is_remote(s) for s in plain)):
                continue
            yield Hit(
                add.name_span, "Use COPY instead of ADD for files and folders", entry.node.lines, _fix(add, sources)
            )


def _is_remote(source: str) -> bool:
    return "$" in source or source.startswith(("git@", "git://", "ssh://")) or source.endswith(".git")


def _fix(add: ast.Add, sources: list[str]) -> Fix | None:
    copyable = {"chown", "chmod", "link", "exclude"}
    if any(_is_remote(s) or s.endswith((*ARCHIVES, ".zip", ".zst")) or "://" in s or "*" in s for s in sources):
        return None
    if not all(flag.name in copyable for flag in add.flags):
        return None
    keyword = "COPY" if add.name.isupper() else "copy"
    return Fix("Use COPY", (Edit(add.name_span, keyword),))
