"""DL3021 copy-many-needs-slash."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Edit, Fix
from dockc.grammar.source import Span
from dockc.linter.context import Context, Entry
from dockc.linter.families import unquoted
from dockc.linter.rule import Hit, Rule, Severity


class CopyManyNeedsSlash(Rule):
    """Reports COPY with two or more sources and a destination that does not end with `/`.

    ## Why

    Several files need a directory to go to, and the build fails where the destination cannot be one.

    ## Fix

    Adds the `/`.
    """

    code = "DL3021"
    name = "copy-many-needs-slash"
    summary = "COPY of several sources to something that is not a directory"
    severity = Severity.ERROR
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3021",)
    fixable = "safe"
    changes = "destination gains a slash"
    bad = "FROM debian:12\nCOPY a b /app\n"
    good = "FROM debian:12\nCOPY a b /app/\n"
    fixed = "FROM debian:12\nCOPY a b /app/\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, copy in context.all(ast.Copy):
            dest = unquoted(copy.dest.text)
            if (
                len(copy.sources) + len(copy.contents) < 2
                or dest.endswith("/")
                or (not context.parity and (dest in {".", ".."} or dest.endswith("\\")))
            ):
                continue
            severity = None
            if not context.parity:
                known = context.values.word(copy.dest, entry)
                if known is not None and (known.endswith("/") or _is_directory(known, entry, context)):
                    continue
                if known is None or not _is_bare(entry, context):
                    severity = Severity.WARNING  # the base image may have such a directory
            end = copy.dest.span.end
            plain = context.source.text[copy.dest.span.start : end] == copy.dest.text
            fix = (
                Fix("Add /", (Edit(Span(end, end), "/"),))
                if plain and dest == copy.dest.text and "$" not in dest
                else None
            )
            message = "COPY with more than 2 arguments requires the last argument to end with /"
            yield Hit(copy.dest.span, message, entry.node.lines, fix, severity=severity)


#: Directories of every base image that has files at all.
_COMMON = frozenset(
    [f"{prefix}{name}" for prefix in ("/", "/usr/", "/usr/local/") for name in ("bin", "etc", "lib", "sbin", "include", "share", "src", "lib64")]
    + ["/", "/home", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/usr/local", "/var", "/var/lib", "/var/log", "/var/tmp", "/dev", "/proc", "/sys"]  # noqa: S108
)


def _is_directory(path: str, entry: Entry, context: Context) -> bool:
    """Whether a destination is a directory by then, as far as the file says."""
    base = context.bases[entry.stage] if 0 <= entry.stage < len(context.bases) else None
    if path in {".", ".."} or (path in _COMMON and base is not None and base.image != "scratch"):
        return True
    for stage in base.stages if base is not None else ():
        for earlier in context.stages[stage]:
            found = earlier.instruction
            if earlier.index >= entry.index or found is None:
                continue
            if isinstance(found, ast.Workdir):
                if _within(context.values.word(found.path, earlier), path):
                    return True
            elif isinstance(found, ast.SourcesAndDest):
                dest = context.values.word(found.dest, earlier) or ""
                if (dest.endswith("/") or any(unquoted(s.text).endswith(("/", "/.")) or unquoted(s.text) == "." for s in found.sources)) and _within(dest, path):
                    return True
            elif isinstance(found, ast.Volume):
                if any(_within(word.text, path) for word in found.volumes):
                    return True
            elif isinstance(found, ast.Run) and path in found.code:
                return True  # a script may make it
    return False


def _within(whole: str | None, path: str) -> bool:
    return whole is not None and (whole.rstrip("/") == path or whole.startswith(f"{path}/"))


def _is_bare(entry: Entry, context: Context) -> bool:
    """Whether the base image is one that surely has no directory of one's own."""
    return 0 <= entry.stage < len(context.bases) and context.users[context.stages[context.bases[entry.stage].stages[-1]][0].index] == "root"
