"""DK0401 unused-arg."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import mentions
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.values import PLATFORM


class UnusedArg(Rule):
    """Reports an ARG before the first FROM that no FROM uses and no stage declares again, and an ARG of a stage that no
    later instruction mentions, where no RUN follows that could read it from its environment.

    ## Why

    It looks as if the build could be changed by it.
    """

    code = "DK0401"
    name = "unused-arg"
    summary = "An ARG that nothing uses"
    severity = Severity.WARNING
    equivalents = (
        "sonar:S7023",
        "tally:no-unused-arg",
    )
    bad = "ARG VERSION=1\nFROM debian:12\n"
    good = "ARG VERSION=12\nFROM debian:${VERSION}\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        source = context.source
        last: dict[str, int] = {}
        last_run: dict[int, int] = {}
        for entry in context.entries:
            if entry.keyword in {"RUN", "ONBUILD"}:
                last_run[entry.stage] = entry.index
        for entry, arg in context.all(ast.Arg):
            runs = entry.stage >= 0 and last_run.get(entry.stage, -1) > entry.index
            for pair in arg.pairs:
                name = pair.key.text
                if runs or name in _KNOWN or name in PLATFORM or (entry.stage >= 0 and _READ_BY_TOOLS.match(name)):
                    continue
                last = last or {match[0]: match.start() for match in _WORD.finditer(source.text)}
                own = source.text[pair.key.span.end : entry.node.span.end]
                if last.get(name, -1) >= entry.node.span.end or mentions(own, name):
                    continue
                yield Hit(pair.key.span, f"nothing uses {name}", entry.node.lines)


_WORD = pattern(r"\w+")
#: Programs look for these in their environment, also in stages that are built on this one.
_READ_BY_TOOLS = pattern(
    r"(?:CARGO|RUST|PIP|UV|POETRY|NPM|npm|YARN|PNPM|NODE|GO|CGO|MAKE|CMAKE|DEBIAN|LANG|LC|TZ|GIT|JAVA|MAVEN|GRADLE|BUNDLE|GEM|COMPOSER|DOTNET|NUGET|SSL|CURL)(?:_|$)|(?:C|CXX|LD|CPP)FLAGS$|GO\w+$|CC$|CXX$"
)
_KNOWN = frozenset(
    [*(prefix + "_PROXY" for prefix in ("HTTP", "HTTPS", "FTP", "ALL", "NO")), "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy",
     "SOURCE_DATE_EPOCH", "BUILDKIT_INLINE_CACHE", "BUILDKIT_SYNTAX", "BUILDKIT_CONTEXT_KEEP_GIT_DIR", "BUILDKIT_SANDBOX_HOSTNAME",
     "BUILDKIT_MULTI_PLATFORM", "BUILDKIT_DOCKERFILE_CHECK", "BUILDKIT_SBOM_SCAN_STAGE", "BUILDKIT_SBOM_SCAN_CONTEXT"]
)  # fmt: skip
