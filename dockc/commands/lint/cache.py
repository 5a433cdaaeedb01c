"""Findings of files that have not changed, kept from run to run.

One small file for each linted path and set of options, below `$XDG_CACHE_HOME/dockc/lint` (`~/.cache/dockc/lint`). An
entry holds for
exactly the bytes, options, ShellCheck program, Python and dockc code that it was made with, so it is never out of date;
whatever else it may be
(damaged, somebody else's, of another version) it is as good as missing. Nothing depends on the cache: where it cannot
be written, lint works
without. Entries are written under another name first and renamed, so that processes may share them.

Rules of third parties may look at what they like; where any are installed, nothing is kept.
"""

from __future__ import annotations

import marshal
import os
import sys
import time

from dockc.base import cachefiles
from dockc.base.hashing import sha256
from dockc.base.record import Record, fields_of
from dockc.base.version import VERSION
from dockc.grammar.diagnostic import Applicability, Edit
from dockc.grammar.source import Source, Span
from dockc.linter.finding import FileReport, Finding, Fix, Severity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from dockc.linter.options import LintOptions

_FORMAT = "1"
#: An entry that nobody has asked for this long is removed.
_KEPT = 30 * cachefiles.DAY
#: The rooms whose code decides what is found.
_ROOMS = ("", "base", "commands/lint", "compiler", "golang", "grammar", "linter", "llb", "oci")


def opened(environ: Mapping[str, str]) -> Cache | None:
    """The user's cache; None where there is no place for one, or rules of third parties are installed."""
    from dockc.linter.announced import announced

    folder = cachefiles.place(environ)
    return None if folder is None or announced(tuple(sys.path)) else Cache(f"{folder}/lint")


class Cache:
    """Entries in one directory."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._code = f"{_FORMAT} {VERSION} {sys.version} {_stamp()}"
        self._readable = cachefiles.ours(root)
        #: Unknown until something is to be written.
        self._writable: bool | None = None
        self._prints: dict[int, tuple[LintOptions, str | None]] = {}

    def look_up(self, source: Source, options: LintOptions) -> FileReport | None:
        """The report of a file as it was found before; None where it must be linted."""
        key = self._key(source, options) if self._readable else None
        data = cachefiles.read(f"{self._root}/{key[0]}") if key is not None else None
        if key is None or data is None:
            return None
        try:
            identity, found = marshal.loads(data)  # noqa: S302  our own file, and whole
            if identity != key[1]:
                return None
            return FileReport(path=source.name, source=source, findings=unpacked(found))
        except (ValueError, TypeError, EOFError, KeyError):
            return None

    def keep(self, report: FileReport, options: LintOptions) -> None:
        """Remember a report. Does nothing where that is not possible."""
        if report.failed or self._writable is False:
            return
        key = self._key(report.source, options)
        if key is None or not self._prepared():
            return
        self._writable = cachefiles.write(f"{self._root}/{key[0]}", marshal.dumps((key[1], packed(report.findings))))

    def _key(self, source: Source, options: LintOptions) -> tuple[str, str] | None:
        """Name of an entry, and what it must say it is of; None for options that cannot be told apart."""
        known = self._prints.get(id(options))
        if known is None or known[0] is not options:
            parts = list(_print(options))
            known = self._prints[id(options)] = options, None if None in parts else "\0".join(map(str, parts))
        if known[1] is None:
            return None
        name = sha256(f"{os.path.abspath(source.name)}\0{known[1]}".encode("utf-8", "surrogatepass"))
        return name, f"{self._code} {sha256(source.data)} {sha256(source.name.encode('utf-8', 'surrogatepass'))}"

    def _prepared(self) -> bool:
        """Whether the directory is there and ours; makes it, and now and then removes what nobody asks for any more."""
        if self._writable is None:
            self._writable = self._readable = cachefiles.made(self._root)
            if self._writable:
                self._sweep()
        return self._writable

    def _sweep(self) -> None:
        stamp = f"{self._root}/.swept"
        now = time.time()
        try:
            if os.stat(stamp).st_mtime > now - cachefiles.DAY:
                return
        except OSError:
            pass
        try:
            with open(stamp, "wb", opener=cachefiles.private):
                os.utime(stamp)
            with os.scandir(self._root) as entries:
                old = [e.path for e in entries if e.stat(follow_symlinks=False).st_mtime < now - _KEPT]
        except OSError:
            return
        for path in old:
            cachefiles.remove(path)


# --- findings as plain values


def packed(findings: Iterable[Finding]) -> tuple[tuple[Any, ...], ...]:
    """Findings as tuples of numbers and text."""
    return tuple(
        (
            f.code,
            f.message,
            f.severity.value,
            *f.span,
            *f.lines,
            f.name,
            f.column,
            f.url,
            f.help,
            f.description,
            _packed_fix(f.fix),
        )
        for f in findings
    )


def _packed_fix(fix: Fix | None) -> tuple[Any, ...] | None:
    if fix is None:
        return None
    return fix.title, fix.applicability.value, tuple((*edit.span, edit.text) for edit in fix.edits)


def unpacked(found: Iterable[tuple[Any, ...]]) -> tuple[Finding, ...]:
    """What `packed` made, as findings again."""
    return tuple(
        Finding(
            code=code,
            message=message,
            severity=Severity(severity),
            span=Span(start, end),
            lines=(first, last),
            name=name,
            column=column,
            url=url,
            help=help_,
            description=description,
            fix=None if fix is None else _unpacked_fix(fix),
        )
        for code, message, severity, start, end, first, last, name, column, url, help_, description, fix in found
    )


def _unpacked_fix(fix: tuple[Any, ...]) -> Fix:
    title, applicability, edits = fix
    return Fix(title, tuple(Edit(Span(start, end), text) for start, end, text in edits), Applicability(applicability))


# --- what an entry is of


def _print(value: object) -> Iterator[str | None]:
    """A value as text, equal for equal values only; None within for what has no such text."""
    if value is None or isinstance(value, (str, int, float, bytes)):
        yield repr(value)
    elif isinstance(value, Severity):
        yield str(value)
    elif isinstance(value, Record):
        yield f"{type(value).__name__}("
        for name in fields_of(value):
            yield name
            yield from _print(getattr(value, name))
        yield ")"
    elif isinstance(value, (tuple, list)):
        yield "["
        for item in value:
            yield from _print(item)
        yield "]"
    elif isinstance(value, (set, frozenset)):
        yield from ("{", *sorted(map(repr, value)), "}")
    elif hasattr(value, "keys"):
        yield "{"
        for key in sorted(value.keys()):
            yield repr(key)
            yield from _print(value[key])  # type: ignore[index]
        yield "}"
    else:
        yield getattr(value, "identity", None)


def _stamp() -> str:
    """Changes whenever code does that decides what is found: names, sizes and times of its files, or when a package was
    installed.
    """
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:  # an installed package: what its files are stands in one
        status = os.stat(f"{os.path.dirname(top)}/dockc-{VERSION}.dist-info/RECORD")
    except OSError:
        pass
    else:
        return f"{status.st_mtime_ns} {status.st_size}"
    found: list[tuple[str, int, int]] = []
    folders = [f"{top}/{room}" if room else top for room in _ROOMS]
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    found.append((entry.path, status.st_mtime_ns, status.st_size))
                elif folder != top and entry.is_dir() and entry.name != "__pycache__":
                    folders.append(entry.path)
    return sha256(repr(sorted(found)).encode("utf-8", "surrogatepass"))
