"""StageNameCasing stage-name-casing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Edit
from dockc.grammar.source import Span
from dockc.linter.checked import CheckRule, plain, stage_at
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Fix, Hit, Severity


class StageNameCasing(CheckRule):
    """Reports stage names that are not in lower case.

    ## Why

    Names are compared without case. One spelling everywhere is easier to search for, and cannot suggest that `Build`
    and `build` are two stages.

    ## Fix

    Writes the name in lower case, and every `FROM`, `--from` and mount that refers to it. Commands that name the stage
    with `--target` go on working.
    """

    code = "StageNameCasing"
    name = "stage-name-casing"
    summary = "A stage name has upper-case letters"
    severity = Severity.WARNING
    equivalents = ("buildkit:StageNameCasing",)
    fixable = "safe"
    bad = "FROM alpine:3 AS Build\nFROM scratch\nCOPY --from=Build /a /a\n"
    good = "FROM alpine:3 AS build\nFROM scratch\nCOPY --from=build /a /a\n"
    fixed = "FROM alpine:3 AS build\nFROM scratch\nCOPY --from=build /a /a\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        from_ = stage_at(context, finding)
        if from_ is None or from_.stage_name_word is None:
            return None
        word = from_.stage_name_word
        if not plain(context, word):
            return Hit(word.span, finding.message)
        places = {word.span, *_references(context, word.text.lower())}
        edits = tuple(Edit(span, word.text.lower()) for span in sorted(places))
        return Hit(word.span, finding.message, fix=Fix(f"Write {word.text.lower()}", edits))


def _references(context: Context, name: str) -> Iterator[Span]:
    """Where a stage is named in another spelling than lower case, in whatever case it is."""
    for entry in context.entries:
        found = entry.instruction.trigger if isinstance(entry.instruction, ast.Onbuild) else entry.instruction
        words: list[tuple[ast.Word, str]] = []
        if isinstance(found, ast.From):
            words.append((found.base, "^"))
        elif isinstance(found, ast.Copy):
            words.append((found.from_, "^"))
        elif isinstance(found, ast.Run):
            words += [(mount, "(?:^|,)from=") for mount in found.mounts]
        for word, before in words:
            match = re.search(rf"{before}({re.escape(name)})(?:,|$)", word.text, re.IGNORECASE)
            if match and match[1] != name and context.source.slice(word.span) == word.text:
                yield Span(word.span.start + match.start(1), word.span.start + match.end(1))
