"""DL3006 untagged-image."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import image
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import alias, unquoted


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
        if not context.parity:
            yield from _own(context)
            return
        names: set[str] = set()
        for entry, from_ in context.all(ast.From):
            found = image(from_.base.text)
            known = found.name in names
            if alias(from_):
                names.add(alias(from_))
            if found.name == "scratch" or found.digest or found.tag or found.name.startswith("$") or known:
                continue
            yield Hit(from_.base.span, _MESSAGE, entry.node.lines)


_MESSAGE = "Always tag the version of an image explicitly"


def _own(context: Context) -> Iterator[Hit]:
    """As above, with known variables put in; where one is unknown, only what follows the last `/` counts."""
    for entry, from_ in context.all(ast.From):
        if context.bases[entry.stage].below:
            continue
        text = context.values.word(from_.base, entry)
        shape = context.values.reference(from_)
        found = image(unquoted(from_.base.text) if shape is None else shape, parity=False)
        last = found.name.rpartition("/")[2]
        if not last or last == "scratch" or found.digest or found.tag or "$" in last:
            continue
        named = text is not None and "$" in from_.base.text
        yield Hit(from_.base.span, f"{_MESSAGE} (by default it is {text})" if named else _MESSAGE, entry.node.lines)
