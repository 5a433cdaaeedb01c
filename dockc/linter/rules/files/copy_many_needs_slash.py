"""DL3021 copy-many-needs-slash."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Edit, Fix
from dockc.grammar.source import Span
from dockc.linter.bases import chain
from dockc.linter.context import Context, Entry
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import unquoted


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
        places: _Directories | None = None
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
                places = places or _Directories(context)
                known = context.values.word(copy.dest, entry)
                if known is not None and (known.endswith("/") or places.has(known, entry)):
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
    [
        f"{prefix}{name}"
        for prefix in ("/", "/usr/", "/usr/local/")
        for name in ("bin", "etc", "lib", "sbin", "include", "share", "src", "lib64")
    ]
    + [
        "/",
        "/home",
        "/mnt",
        "/opt",
        "/root",
        "/run",
        "/srv",
        "/tmp",  # noqa: S108
        "/usr",
        "/usr/local",
        "/var",
        "/var/lib",
        "/var/log",
        "/var/tmp",  # noqa: S108
        "/dev",
        "/proc",
        "/sys",
    ]
)


class _Directories:
    """Directories that the file makes, in order: each instruction is looked at once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        #: By stage and path, the first instruction behind which it is a directory.
        self._made: dict[tuple[int, str], int] = {}
        self._paths: set[str] = set()
        self._told: dict[tuple[int, str], bool] = {}
        for entry in context.entries:
            found = entry.instruction
            if isinstance(found, ast.Workdir):
                self._add(entry, context.values.word(found.path, entry))
            elif isinstance(found, ast.SourcesAndDest):
                dest = context.values.word(found.dest, entry) or ""
                whole = any(unquoted(s.text).endswith(("/", "/.")) or unquoted(s.text) == "." for s in found.sources)
                self._add(entry, dest if dest.endswith("/") or whole else dest.rpartition("/")[0])
            elif isinstance(found, ast.Volume):
                for word in found.volumes:
                    self._add(entry, word.text)
            elif isinstance(found, ast.Run):  # a script may make what it names
                for match in _PATH.finditer(found.code):
                    self._add(entry, match[0])

    def _add(self, entry: Entry, path: str | None) -> None:
        path = (path or "").rstrip("/")
        while path and (entry.stage, path) not in self._made:
            self._made[entry.stage, path] = entry.index
            self._paths.add(path)
            path = path.rpartition("/")[0]

    def has(self, path: str, entry: Entry) -> bool:
        """Whether a path is a directory at an instruction, as far as the file says."""
        base = self._context.bases[entry.stage] if 0 <= entry.stage < len(self._context.bases) else None
        if path in {".", ".."} or (path in _COMMON and base is not None and base.image != "scratch"):
            return True
        path = path.rstrip("/")
        if path not in self._paths:
            return False
        found = self._made.get((entry.stage, path), entry.index) < entry.index
        for stage in chain(self._context.bases, entry.stage) if not found else ():
            # Questions come in order: what was answered for a stage below holds for this one.
            found = ((stage, path) in self._made and stage != entry.stage) or self._told.get((stage, path), False)
            if found or (stage, path) in self._told:
                break
        self._told[entry.stage, path] = found
        return found


_PATH = pattern(r"/[\w.+@/-]+")


def _is_bare(entry: Entry, context: Context) -> bool:
    """Whether the base image is one that surely has no directory of one's own."""
    return (
        0 <= entry.stage < len(context.bases)
        and context.users[context.stages[context.bases[entry.stage].bottom][0].index] == "root"
    )
