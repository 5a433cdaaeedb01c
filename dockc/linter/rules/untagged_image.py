"""DL3006 untagged-image."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import alias, image
from dockc.linter.rule import Hit, Rule, Severity


class UntaggedImage(Rule):
    """Reports FROM with an image that has neither tag nor digest.

    ## Why

    Without a tag it is `latest`, whatever that is on the day of the build.
    """

    code = "DL3006"
    name = "untagged-image"
    summary = "The base image has no tag"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3006",)
    bad = "FROM debian\n"
    good = "FROM debian:12 AS base\nFROM base\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        names: set[str] = set()
        lowered: set[str] = set()
        for entry, from_ in context.all(ast.From):
            found = image(from_.base.text, parity=context.parity)
            known = found.name in names if context.parity else found.name.lower() in lowered
            known = known or (not context.parity and _could_be(from_.base.text, lowered))
            own = alias(from_)
            if own:
                names.add(own)
                lowered.add(own.lower())
            if found.name == "scratch" or found.digest or found.tag or found.name.startswith("$") or known:
                continue
            yield Hit(from_.base.span, "Always tag the version of an image explicitly", entry.node.lines)


def _could_be(text: str, lowered: set[str]) -> bool:
    """Whether a name with variables, such as `base-$TARGETARCH`, may be that of a stage."""
    if "$" not in text:
        return False
    pieces = _VARIABLE.split(text.strip("\"'").lower())
    return any(_fits(pieces, name) for name in lowered)


def _fits(pieces: list[str], name: str) -> bool:
    """Whether a name is the pieces with anything between them."""
    first, last = pieces[0], pieces[-1]
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for piece in pieces[1:-1]:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


_VARIABLE = pattern(r"\$(?:\{[^}]*\}|\w+)")
