"""DK0201 missing-digest."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import image
from dockc.linter.rule import Hit, Rule
from dockc.linter.words import alias, mounts, unquoted


class MissingDigest(Rule):
    """Reports images in FROM, `COPY --from` and mounts without `@sha256:…`. Stages of the file and `scratch` are not
    meant.

    ## Why

    A tag moves. Only a digest gives the same image tomorrow, and the one that was reviewed. `dockc lock` writes digests
    into a file of their own and `--locked` builds with them; that does without digests in the Dockerfile.
    """

    code = "DK0201"
    name = "missing-digest"
    summary = "An image is not pinned by digest"
    severity = None
    equivalents = (
        "semgrep:dockerfile-source-not-pinned",
        "sonar:S8431",
    )
    bad = "FROM debian:12\n"
    good = "FROM debian:12@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        names = {"scratch", "context"}
        for entry in context.entries:
            found = entry.instruction
            words: list[ast.Word] = []
            if isinstance(found, ast.From):
                words = [found.base]
            elif isinstance(found, ast.Copy) and found.from_.text:
                words = [found.from_]
            elif isinstance(found, ast.Run):
                words = [
                    ast.Word(m["from"], found.mounts[i].span) for i, m in enumerate(mounts(found)) if m.get("from")
                ]
            for word in words:
                text = unquoted(word.text)
                if text.lower() not in names and not text.isdigit() and "$" not in text and not image(text).digest:
                    yield Hit(word.span, f"{text} is not pinned by digest", entry.node.lines)
            if isinstance(found, ast.From):
                names.add(alias(found).lower())
