"""DL3002 last-user-root."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.bases import chain
from dockc.linter.context import Context, Entry
from dockc.linter.families import each_stage
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shells import is_root


class RootUser(Rule):
    """Reports a stage whose last USER is root.

    ## Why

    What runs in the container then runs as root, and a hole in it is a hole in root's hands. Switch to root for the
    steps that need it, and back for good.

    ## Known problems

    Stages that nothing runs in (builders) are reported too in the hadolint profile; dockc's own looks at the last stage
    and what it is built on.
    """

    code = "DL3002"
    name = "last-user-root"
    summary = "The last USER is root"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3002",)
    bad = "FROM debian:12\nUSER root\n"
    good = "FROM debian:12\nUSER root\nRUN true\nUSER 1000\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        stages = [entries for _, entries in each_stage(context)]
        if not context.parity:
            yield from _final(context)
            return
        for entries in stages:
            last = _last(entries)
            if last is not None:
                user = last[1].user.text
                if user in {"root", "0"} or user.startswith(("root:", "0:")):
                    yield Hit(last[1].user.span, _MESSAGE, last[0].node.lines)


_MESSAGE = "Last USER should not be root"


def _last(entries: tuple[Entry, ...]) -> tuple[Entry, ast.User] | None:
    return next(((e, e.instruction) for e in reversed(entries) if isinstance(e.instruction, ast.User)), None)


def _final(context: Context) -> Iterator[Hit]:
    """The USER that the last stage ends with, its own or that of an own stage below."""
    if not context.stages:
        return
    for index in chain(context.bases, len(context.stages) - 1):
        last = _last(context.stages[index])
        if last is None:
            continue
        if is_root(context.values.word(last[1].user, last[0])):
            yield Hit(last[1].user.span, _MESSAGE, last[0].node.lines)
        return
