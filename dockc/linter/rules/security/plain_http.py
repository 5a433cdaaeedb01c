"""DK0207 plain-http."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import unquoted


class PlainHttp(Rule):
    """Reports `http://` and `ftp://` in ADD, and as arguments of curl, wget, `git clone` and `pip --index-url`. This
    machine itself is not meant, nor are repositories of signed packages.

    ## Why

    Anybody on the way can change what arrives.
    """

    code = "DK0207"
    name = "plain-http"
    summary = "Something is fetched over plain HTTP or FTP"
    severity = Severity.WARNING
    equivalents = ("sonar:S5332",)
    bad = "FROM debian:12\nRUN curl -o /a http://example.org/a\n"
    good = "FROM debian:12\nRUN curl -o /a https://example.org/a\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, add in context.all(ast.Add):
            for word in add.sources:
                if _PLAIN.match(unquoted(word.text)) and not add.checksum.text:
                    yield Hit(word.span, "fetched without encryption", entry.node.lines)
        for script in context.runs:
            if _CHECKED.search(script.shell.text):
                continue  # what arrives is checked
            for command in script.shell.commands:
                if command.name not in {"curl", "wget", "git", "pip", "pip3", "aria2c"}:
                    continue
                after = ""
                for argument in command.arguments:
                    if _PLAIN.match(argument.text) and after not in {
                        "-x",
                        "--proxy",
                        "-e",
                        "--referer",
                        "-H",
                        "--header",
                        "config",
                    }:
                        yield Hit(script.span(argument.start, argument.end), "fetched without encryption")
                    after = argument.text


_CHECKED = pattern(
    r"\b(?:sha(?:1|224|256|384|512)sum|shasum|b2sum|cksum)\b[^;&|\n]*\s-(?:\w*c\w*|-check)\b|\bgpgv?\b[^;&|\n]*--verify|\bgpgv\b"
)
_PLAIN = pattern(r"(?:http|ftp)://(?!localhost|127\.|0\.0\.0\.0|\[::1\]|\$|[\w-]+(?::\d+)?(?:/|$))", re.IGNORECASE)
