"""What the rule files of BuildKit's checks share. The compiler finds; the rule file says where exactly, and how to mend
it.
"""

from __future__ import annotations

import re
from bisect import bisect_left

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Applicability, Edit
from dockc.grammar.source import Span
from dockc.linter.context import Context, Entry
from dockc.linter.finding import Finding
from dockc.linter.rule import Fix, Hit, Rule
from dockc.linter.words import uses

_SUGGESTION = pattern(r" \(did you mean \$?(\w+)\?\)$")


#: What `locate` gives for a finding that does not hold, by what can be seen in the file and BuildKit's check does not
#: look at.
DROPPED = Hit(Span(0, 0), "")


class CheckRule(Rule):
    """A check of BuildKit's. `code` is its name there, which `# check=skip=` takes."""

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """The exact words that a finding is about, and a fix; None leaves the finding as the compiler gave it,
        `DROPPED` takes it back.
        """
        raise NotImplementedError


def entry_at(context: Context, finding: Finding) -> Entry | None:
    """The instruction that a finding is reported for."""
    first, last = finding.lines
    at = bisect_left(context.ends, first)
    entry = context.entries[at] if at < len(context.entries) else None
    return entry if entry is not None and entry.node.lines[0] <= last else None


def instruction_at(context: Context, finding: Finding) -> ast.Instruction | None:
    """Its place in the AST."""
    entry = entry_at(context, finding)
    return entry.instruction if entry is not None else None


def stage_at(context: Context, finding: Finding) -> ast.From | None:
    """The FROM that a finding is reported for."""
    found = instruction_at(context, finding)
    return found if isinstance(found, ast.From) else None


def plain(context: Context, word: ast.Word) -> bool:
    """Whether a word stands in the source as it is: no continuation, no quotes that were removed."""
    return context.source.slice(word.span) == word.text


def keyword_span(entry: Entry) -> Span:
    """Where the instruction's keyword stands."""
    keyword = entry.node.command.keyword
    return entry.node.logical.span(keyword.start, keyword.end)


def replacing(title: str, span: Span, text: str, *, safe: bool = True) -> Fix:
    """A fix with one edit."""
    return Fix(title, (Edit(span, text),), Applicability.SAFE if safe else Applicability.UNSAFE)


def quoted_part(message: str) -> str:
    """What stands between quotes in a message."""
    found = re.search(r"'([^']*)'", message) or re.search(r'"([^"]*)"', message)
    return found[1] if found else ""


def suggestion(finding: Finding) -> re.Match[str] | None:
    """The name that a message proposes, as the group 1 of what it ends with."""
    return _SUGGESTION.search(finding.message)


def variable_hit(context: Context, finding: Finding, span: Span) -> Hit | None:
    """The use of the variable that a message names, within a stretch of text; with the name that was probably meant."""
    name = quoted_part(finding.message).removeprefix("$")
    text = context.source.slice(span)
    at, _ = next(uses(text, name), (-1, ""))
    if at < 0:
        return None
    place = Span(span.start + at, span.start + at + len(name))
    meant = suggestion(finding)
    fix = replacing(f"Write {meant[1]}", place, meant[1], safe=False) if meant else None
    return Hit(place, finding.message, fix=fix)
