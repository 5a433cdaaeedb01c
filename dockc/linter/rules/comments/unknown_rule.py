"""DK0003 unknown-rule."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from dockc.base.pattern import pattern
from dockc.compiler.checks import RULES
from dockc.compiler.suggest import nearest
from dockc.grammar.source import Span
from dockc.linter.context import Context
from dockc.linter.registry import codes
from dockc.linter.rule import Hit, Rule, Severity


class UnknownRule(Rule):
    """Reports `# check=skip=`, `# hadolint ignore=` and `# dockc ignore=` with a name that no rule has.

    ## Why

    Unknown names are passed over in silence, so the finding is not suppressed, or the comment has long been useless.
    """

    code = "DK0003"
    name = "unknown-rule"
    summary = "A comment names a rule that does not exist"
    severity = Severity.WARNING
    bad = "# check=skip=StageNameCaseing\nFROM debian:12 AS base\n"
    good = "# check=skip=StageNameCasing\nFROM debian:12 AS base\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        known = frozenset(codes())
        for directive in context.file.directives:
            if directive.name == "check":
                value = directive.value.partition(" ")[0]
                at = context.source.slice(directive.span).find(value)
                yield from _checks(context, value, directive.span.start + max(at, 0))
        for line, comment in context.comments:
            text = context.source.slice(comment.span)
            if found := _CHECK.search(text):
                yield from _checks(context, found[1], comment.span.start + found.start(1))
            elif found := _IGNORE.search(text):
                for name in _NAME.finditer(found[1]):
                    if name[0] in known or _OTHERS.fullmatch(name[0]):
                        continue
                    start = comment.span.start + found.start(1) + name.start()
                    yield Hit(
                        Span(start, start + len(name[0])),
                        f"no rule is called {name[0]}",
                        (line, line),
                        help=_meant(name[0], known),
                    )


_CHECK = pattern(r"^\s*#\s*check\s*=\s*(\S+)")
_IGNORE = pattern(r"^\s*#\s*(?:hadolint|dockc)\s+(?:global\s+|stage\s+)?ignore\s*=\s*([\w-]+(?:\s*,\s*[\w-]+)*)")
_NAME = pattern(r"[\w-]+")
_OTHERS = pattern(r"SC\d{4}|DL\d{4}|build-error")


def _checks(context: Context, options: str, start: int) -> Iterator[Hit]:
    """Names in the options of a `check=`; `start` is where they stand."""
    for part in re.finditer(r"(?:^|;)(?:skip|experimental)=([^;]*)", options):
        for name in _NAME.finditer(part[1]):
            if name[0] not in RULES and name[0] != "all":
                begin = start + part.start(1) + name.start()
                span = Span(begin, begin + len(name[0]))
                yield Hit(span, f"no check is called {name[0]}", help=_meant(name[0], RULES))


def _meant(name: str, known: Collection[str]) -> str:
    found = nearest(name, known, ignore_case=False)
    return f"did you mean {found}?" if found else ""
