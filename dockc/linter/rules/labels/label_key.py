"""DL3048 label-key."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import unquoted


class LabelKey(Rule):
    """Reports label keys that are not lower-case letters, digits, `.`, `-`, `_` and `/`, or that use a reserved prefix.

    ## Why

    Keys of that form are what tools agree on; `com.docker.`, `io.docker.` and `org.dockerproject.` belong to Docker.
    """

    code = "DL3048"
    name = "label-key"
    summary = "A label key that is no key"
    severity = Severity.STYLE
    hadolint_severity = Severity.STYLE
    equivalents = ("hadolint:DL3048",)
    bad = "FROM debian:12\nLABEL version-=1\n"
    good = "FROM debian:12\nLABEL org.example.version=1\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, label in context.all(ast.Label):
            for pair in label.pairs:
                key = pair.key.text if context.parity else unquoted(pair.key.text)
                if _is_bad(key):
                    # Capital letters are against the advice; nothing goes wrong by them.
                    yield Hit(pair.key.span, "Invalid label key.", entry.node.lines, strict=not _is_bad(key.lower()))


_KEY = pattern(r"[a-z](?:[0-9a-z./_-]*[a-z0-9])?")
_RESERVED = ("com.docker.", "io.docker.", "org.dockerproject.")


def _is_bad(key: str) -> bool:
    return _KEY.fullmatch(key) is None or key.startswith(_RESERVED) or ".." in key or "--" in key
