"""DK0002 directive-typo."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.suggest import nearest
from dockc.grammar.cst import CommentLine, DirectiveLine, InstructionNode
from dockc.grammar.diagnostic import Edit
from dockc.grammar.source import Span
from dockc.linter.context import Context
from dockc.linter.pragmas import is_pragma
from dockc.linter.rule import Fix, Hit, Rule, Severity


class DirectiveTypo(Rule):
    """Reports comments that were meant to be `# syntax=`, `# escape=` or `# check=` and are not: misspelled, with a
    colon, or behind another comment or an empty line, where directives are not read any more. Likewise comments that
    were meant to suppress findings and are not written like `# dockc ignore=CODE reason` or `# hadolint ignore=CODE #
    reason`.

    ## Why

    Nothing says that the line has no effect.

    ## Fix

    Writes the directive right, where only its spelling is wrong.
    """

    code = "DK0002"
    name = "directive-typo"
    summary = "A comment looks like a parser directive or a suppression but is none"
    severity = Severity.WARNING
    fixable = "safe"
    bad = "# sytnax=docker/dockerfile:1\nFROM debian:12\n"
    good = "# syntax=docker/dockerfile:1\nFROM debian:12\n"
    fixed = "# syntax=docker/dockerfile:1\nFROM debian:12\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        yield from _suppressions(context)
        yield from self.directives(context)

    def directives(self, context: Context) -> Iterator[Hit]:
        """Comments that look like directives."""
        first = next((e.line for e in context.entries), 0)
        known = {directive.name for directive in context.file.directives}
        at_top = True
        for item in context.file.items:
            if isinstance(item, DirectiveLine):
                continue
            if isinstance(item, InstructionNode):
                break
            if not isinstance(item, CommentLine):
                at_top = False
                continue
            line = context.source.line_at(item.span.start)
            found = _LIKE.fullmatch(context.source.slice(item.span).strip())
            if found is None or line > first > 0:
                at_top = False
                continue
            word, sign = found[1].lower(), found[2]
            name = word if word in _NAMES else nearest(word, _NAMES)
            begin = (
                item.span.start
                + found.start(1)
                + len(context.source.slice(item.span))
                - len(context.source.slice(item.span).lstrip())
            )
            span = Span(begin, begin + len(found[1]))
            if name and name not in known and (sign == "=" or word in _NAMES) and not _is_prose(found[3]):
                if at_top and (name != word or sign != "="):
                    fix = Fix(f"Write {name}=", (Edit(Span(begin, begin + found.end(2) - found.start(1)), f"{name}="),))
                    yield Hit(span, f"not a directive: did you mean `# {name}=`?", (line, line), fix)
                elif name == word and sign == "=":
                    yield Hit(
                        span,
                        f"`# {name}=` has no effect here: directives stand at the very top of the file",
                        (line, line),
                    )
            at_top = False


def _suppressions(context: Context) -> Iterator[Hit]:
    """Comments that look like suppressions and are none."""
    for line, comment in context.comments:
        text = context.source.slice(comment.span)
        found = _PRAGMA.match(text)
        if found is not None and not is_pragma(text):
            reason = " reason" if found[1] == "dockc" else " # reason"
            start = comment.span.start + len(text) - len(text.lstrip())
            span = Span(start, comment.span.start + len(text.rstrip()))
            yield Hit(span, f"suppresses nothing: the form is `# {found[1]} ignore=CODE{reason}`", (line, line))


_PRAGMA = pattern(
    r"\s*#[ \t]*(dockc|hadolint)[ \t:]*(?:(?:global|stage)[ \t]+)?ignore[ \t]*(?:[:=]|$|\[|(?:DL|DK|SC)[0-9])"
)
_NAMES = ("syntax", "escape", "check")
_LIKE = pattern(r"#[ \t]*([A-Za-z]+)[ \t]*([=:])[ \t]*(\S.*)")


def _is_prose(value: str) -> bool:
    """Whether what follows reads like a sentence."""
    return " " in value.strip()
