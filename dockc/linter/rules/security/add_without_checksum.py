"""DK0203 add-without-checksum."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Entry
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import unquoted


class AddWithoutChecksum(Rule):
    """Reports ADD of a URL without `--checksum`, and of a git repository that is not named by commit.

    ## Why

    What the server gives tomorrow is another build. With a checksum the build fails instead, and the cache needs no
    look at the server.

    ## Known problems

    A download that a later step of the stage checks, by its hash or its signature, is not reported; whether the step
    does it well is not looked at.
    """

    code = "DK0203"
    name = "add-without-checksum"
    summary = "ADD fetches something that can change"
    severity = Severity.INFO
    equivalents = ("kics:RetrieveRemoteResources",)
    bad = "FROM debian:12\nADD https://example.org/tool.tar.gz /opt/\n"
    good = "FROM debian:12\nADD --checksum=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef https://example.org/tool.tar.gz /opt/\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, add in context.all(ast.Add):
            for word in add.sources:
                text = context.values.word(word, entry) or unquoted(word.text)
                git = text.startswith(("git@", "git://", "ssh://")) or _GIT.match(text) is not None
                if git and not _COMMIT.search(text) and not add.checksum.text:
                    yield Hit(word.span, "a git repository that is not named by commit", entry.node.lines)
                elif (
                    not git
                    and text.startswith(("http://", "https://"))
                    and not add.checksum.text
                    and not _verified(context, entry, (text, context.values.word(add.dest, entry) or ""))
                ):
                    yield Hit(word.span, "a download without --checksum", entry.node.lines)


def _verified(context: Context, entry: Entry, places: tuple[str, ...]) -> bool:
    """Whether a later step of the stage checks a file, by the name of its source or of where it goes."""
    names = {place.partition("?")[0].rpartition("/")[2] for place in places} - {""}
    return any(context.verified.get((entry.stage, name), -1) > entry.index for name in names)


#: The path of a URL ends with `.git`; what follows says which commit and directory.
_GIT = pattern(r"https?://[^?#]+\.git(?:$|[?#])")
#: A whole commit in the fragment or the query, or one that a build argument brings.
_COMMIT = pattern(r"#(?:refs/)?[0-9a-f]{40}(?::|$)|[?&](?:commit|checksum|ref)=[0-9a-f]{7,}(?:&|#|$)|\$")
