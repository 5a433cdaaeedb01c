"""Completion in comments: directives at the head of a file, and comments that steer lint."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dockc.grammar.cst import CommentLine, DirectiveLine
from dockc.grammar.source import Span
from dockc.lsp.item import Item

if TYPE_CHECKING:
    from dockc.lsp.features import Document

_DIRECTIVES = {
    "syntax=": "The frontend that reads this file.",
    "escape=": "The character that escapes, and continues lines.",
    "check=": "BuildKit's checks: which to skip, and whether they are errors.",
}
_STEERING = {
    "dockc ignore=": "Suppress findings of the next instruction: codes, then the reason.",
    "hadolint ignore=": "Suppress findings of the next instruction, for hadolint too.",
    "hadolint global ignore=": "Suppress findings in the whole file.",
    "hadolint stage ignore=": "Suppress findings in the stage below.",
    "hadolint shell=": "What ShellCheck takes the shell to be from here on.",
    "check=skip=": "Skip checks of BuildKit for the next instruction.",
}
_FRONTENDS = {
    "docker/dockerfile:1": "The newest stable one.",
    "docker/dockerfile:1-labs": "With what is still being tried.",
}
_OPTIONS = {
    "skip=": "Checks that are not to run.",
    "error=true": "What is found fails the build.",
    "experimental=": "Checks that run only when named.",
}
_SHELLS = ("bash", "sh", "dash", "ash", "ksh", "powershell", "pwsh")


def complete_comment(document: Document, offset: int) -> Iterator[Item]:
    """What could stand at a place in a comment line."""
    source = document.source
    start = source.line_starts[source.line_at(offset) - 1] if source.text[offset - 1 : offset] != "\n" else offset
    text = source.text[start:offset].lstrip("\ufeff \t").removeprefix("#").lstrip(" \t")

    def items(values: dict[str, str] | tuple[str, ...], typed: str, kind: str = "value") -> Iterator[Item]:
        pairs = values.items() if isinstance(values, dict) else ((value, "") for value in values)
        for value, doc in pairs:
            if not value.lower().startswith(typed.lower()):
                continue  # an ordinary comment is nobody's business
            yield Item(value, kind, Span(offset - len(typed), offset), doc)

    head = _at_head(document, start)
    name, equals, value = text.partition("=")
    name = name.rstrip().lower()
    value = value.lstrip()
    if not equals:
        yield from items({**(_DIRECTIVES if head else {}), **_STEERING}, text, "keyword")
    elif name == "syntax" and head:
        yield from items(_FRONTENDS, value)
    elif name == "escape" and head:
        yield from items(("\\", "`"), value)
    elif name == "check":
        yield from _check(value, items)
    elif name == "hadolint shell":
        yield from items(_SHELLS, value)
    elif re.fullmatch(r"hadolint( global| stage)? ignore|dockc ignore", name):
        typed = value.rpartition(",")[2].lstrip()
        if " " not in typed:
            yield from items(_codes(own=name.startswith("dockc")), typed)


def _check(value: str, items) -> Iterator[Item]:  # type: ignore[no-untyped-def]  # a function of the caller
    option = value.rpartition(";")[2]
    name, equals, rest = option.partition("=")
    if not equals:
        yield from items(_OPTIONS, option)
    elif name in {"skip", "experimental"}:
        yield from items({**_checks(), "all": "All of them."}, rest.rpartition(",")[2])
    elif name == "error":
        yield from items(("true", "false"), rest)


def _at_head(document: Document, start: int) -> bool:
    """Whether directives may stand here: above are other directives only, or comments that may be meant as such."""
    return all(
        isinstance(item, DirectiveLine | CommentLine)
        for item in document.front.parsed.file.items
        if item.span.end <= start
    )


def _codes(*, own: bool) -> dict[str, str]:
    from dockc.linter.registry import all_rules

    return {rule.code: rule.summary for rule in all_rules() if own or rule.code.startswith("DL")}


def _checks() -> dict[str, str]:
    from dockc.linter.registry import get_rule
    from dockc.linter.table import RULES

    return {code: get_rule(code).summary for code in RULES if not code.startswith(("DL", "DK"))}
