"""What a local context offers: the entries of a directory that pass include and exclude patterns.

Links are never followed on the way down. `follow` paths are worked out first, by name: a link that a wanted
path goes through is wanted too, and so is what it points to, as far as that lies inside the directory.
Directories that cannot hold anything wanted are not read.

Source of the rules: github.com/tonistiigi/fsutil (behaviour of its filter and of FollowLinks).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

from dockc.base.record import Mutable, Record
from dockc.errors import UnsafePath
from dockc.grammar.globs import (
    NO_PARENT,
    BadPattern,
    MatchInfo,
    Pattern,
    PatternMatcher,
    clean,
    contains_wildcards,
    match,
)
from dockc.runtime.fsutil.failure import FileError, check, failed
from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.fsutil.named import root_at

_SPECIAL = frozenset("*[]?^\\")
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""A directory that somebody removes, or puts a file or a link in the place of, while the walk is under way."""


class Entry(Record):
    """One entry to be transferred.

    Attributes:
        path: relative to the directory.
        status: its lstat.
        link: target of a symbolic link, or "".
        same_as: path of an earlier entry that is the same file (hard link), or "".
    """

    path: str
    status: os.stat_result
    link: str = ""
    same_as: str = ""


class Filter(Record):
    """Which entries are wanted.

    Attributes:
        include: patterns; with none, everything is.
        exclude: patterns of what is not.
        follow: paths, possibly with wildcards, whose links are followed; None where that was not asked for.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow: tuple[str, ...] | None = None


def walk(
    directory: Path, chosen: Filter, cancelled: threading.Event | None = None, *, avoid: Path | None = None
) -> Iterator[Entry]:
    """The wanted entries, each directory before its entries, names in byte order.

    Args:
        directory: on the host.
        chosen: what is wanted.
        cancelled: looked at for each directory.
        avoid: a directory that is never part of it, wherever it is met: the store, which would hold itself.

    Raises:
        FileError: a wanted directory cannot be read.
        BadPattern: a pattern cannot be read.
        Cancelled: `cancelled` was set.
    """
    with root_at(directory) as root:
        yield from _Walk(root, directory, chosen, cancelled, avoid).run()


class _Directory(Mutable):
    path: str
    status: os.stat_result
    include: MatchInfo = NO_PARENT
    exclude: MatchInfo = NO_PARENT
    given: bool = False


class _Walk:
    def __init__(
        self, root: Root, base: Path, chosen: Filter, cancelled: threading.Event | None, avoid: Path | None
    ) -> None:
        self.avoid = _identity(avoid) if avoid is not None else None
        self.root = root
        self.base = base
        self.cancelled = cancelled
        include = list(chosen.include)
        if chosen.follow is not None:
            targets = follow_links(root, chosen.follow)
            if targets is not None:
                include = without_nested(include + targets) or []
        self.include = _matcher(include, "includepatterns")
        self.exclude = _matcher(chosen.exclude, "excludepatterns")
        self.include_prefixes = _prefixes(self.include, exclusions=False)
        self.exclude_prefixes = _prefixes(self.exclude, exclusions=True)
        self.seen: dict[tuple[int, int], str] = {}

    def run(self) -> Iterator[Entry]:
        above: list[_Directory] = []
        pending = self._listing("", wanted=True)
        pending.reverse()
        while pending:
            path, status = pending.pop()
            while above and not path.startswith(above[-1].path + "/"):
                above.pop()
            here = _Directory(path, status)
            is_dir = stat.S_ISDIR(status.st_mode)
            if is_dir and (status.st_dev, status.st_ino) == self.avoid:
                continue
            wanted, enter = self._judge(here, above[-1] if above else None, is_dir=is_dir)
            if wanted:
                for directory in above:
                    if not directory.given:
                        directory.given = True
                        yield Entry(directory.path, directory.status)
                here.given = True
                entry = self._entry(path, status)
                if entry is not None:
                    yield entry
            if is_dir and enter:
                check(self.cancelled)
                pending.extend(reversed(self._listing(path, wanted=wanted)))
                above.append(here)

    def _judge(self, here: _Directory, parent: _Directory | None, *, is_dir: bool) -> tuple[bool, bool]:
        """Whether an entry is wanted, and whether something below it may be."""
        wanted = True
        if self.include is not None:
            hit, here.include = self.include.matches_under(here.path, parent.include if parent else NO_PARENT)
            if not hit:
                if is_dir and not _may_hold(self.include_prefixes, here.path):
                    return False, False
                wanted = False
        if self.exclude is not None:
            hit, here.exclude = self.exclude.matches_under(here.path, parent.exclude if parent else NO_PARENT)
            if hit:
                if is_dir and not _may_hold(self.exclude_prefixes, here.path):
                    return False, False
                wanted = False
        return wanted, True

    def _listing(self, path: str, *, wanted: bool) -> list[tuple[str, os.stat_result]]:
        """The entries of a directory with their status, in byte order."""
        shown = str(self.base / path)
        try:
            return [(f"{path}/{name}" if path else name, status) for name, status in self.root.listing("/" + path)]
        except FileError as error:
            if error.errno in _GONE or (error.errno == errno.EACCES and not wanted):
                return []
            if isinstance(error.__cause__, OSError):
                raise failed("open", shown, error.__cause__, wrap="error from sender") from error
            raise
        except UnsafePath:
            return []
        except OSError as error:
            raise failed("open", shown, error, wrap="error from sender") from error

    def _entry(self, path: str, status: os.stat_result) -> Entry | None:
        """The entry; None if it is gone meanwhile."""
        if stat.S_ISDIR(status.st_mode):
            return Entry(path, status)
        if stat.S_ISLNK(status.st_mode):
            try:
                link = self.root.link("/" + path)
            except FileError as error:
                if error.errno in _GONE:
                    return None
                raise
            except (UnsafePath, OSError):
                return None  # it is gone
            return Entry(path, status, link=link) if link else None  # or no link any more
        first = path
        if status.st_nlink > 1:
            first = self.seen.setdefault((status.st_dev, status.st_ino), path)
        return Entry(path, status, same_as="" if first == path else first)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _matcher(patterns: Sequence[str], label: str) -> PatternMatcher | None:
    if not patterns:
        return None
    try:
        return PatternMatcher(patterns)
    except BadPattern as error:
        raise BadPattern(f"invalid {label}: [{' '.join(patterns)}]: {error.message}") from error


def _prefixes(matcher: PatternMatcher | None, *, exclusions: bool) -> tuple[str, ...] | None:
    """The literal patterns with a slash at the end, sorted, or None if one of them has wildcards in the middle.

    With them it can be told that nothing below a directory can match. A trailing `/*` or `/**` does not
    count.
    """
    if matcher is None:
        return None
    found: list[str] = []
    for pattern in matcher.patterns:
        if pattern.exclusion != exclusions:
            continue
        text = _without_trailing_glob(pattern)
        if _SPECIAL.intersection(text):
            return None
        found.append(text + "/")
    return tuple(sorted(found))


def _without_trailing_glob(pattern: Pattern) -> str:
    return pattern.text.removesuffix("/**").removesuffix("/*")


def _may_hold(prefixes: tuple[str, ...] | None, path: str) -> bool:
    """Whether a pattern with one of these beginnings could match something below `path`."""
    if prefixes is None:
        return True
    at = bisect_left(prefixes, path + "/")  # the first that could start with it
    return at < len(prefixes) and prefixes[at].startswith(path + "/")


# --- followed paths -------------------------------------------------------------------------------


def follow_links(root: Root, paths: Sequence[str]) -> list[str] | None:
    """The paths to include so that `paths` can be read through all links inside `root`.

    Returns:
        Sorted paths, none of them below another; None if the root itself is among them, which includes
        everything.

    Raises:
        FileError: a directory cannot be read.
    """
    resolved: set[str] = set()
    pending = [clean(posixpath.join(".", path.lstrip("/"))) for path in reversed(paths)]
    while pending:
        found = _follow_one(root, pending.pop(), resolved)
        pending.extend(clean(posixpath.join(".", target.lstrip("/"))) for target in reversed(found))
    return without_nested(sorted(resolved, key=os.fsencode))


def _follow_one(root: Root, path: str, resolved: set[str]) -> list[str]:
    """Walk along `path` up to the first link; what is to be followed next, to be read from the root."""
    parts = path.split("/")
    current = ""
    for number, part in enumerate(parts):
        current = f"{current}/{part}" if current else part
        rest = "/".join(parts[number + 1 :])
        targets = _link_targets(root, current, wildcard=True)
        if (targets is not None or not rest) and current in resolved:
            return []
        if targets is not None:
            resolved.add(current)
            return [posixpath.join(target, rest) for target in targets]
    resolved.add(current)
    return []


def _link_targets(root: Root, path: str, *, wildcard: bool) -> list[str] | None:
    """Where the link or links at `path` point to, absolute in the root; None if there is no link."""
    if path == ".." or path.startswith("../"):
        return None
    directory, name = posixpath.split(path)
    if wildcard and contains_wildcards(name):
        found: list[str] = []
        for other in _names(root, directory):
            if _matches(name, other):
                found += _link_targets(root, posixpath.join(directory, other), wildcard=False) or []
        return found or None
    if path == ".":
        return None
    try:
        link = root.link("/" + path)
    except FileNotFoundError:
        return None
    except FileError as error:
        if error.errno in _GONE:
            return None
        raise
    if not link:
        return None
    link = clean(link)
    return [clean(link if link.startswith("/") else posixpath.join("/", directory, link))]


def _names(root: Root, directory: str) -> list[str]:
    try:
        return root.names("/" + directory)
    except FileError as error:
        if error.errno in _GONE:
            return []
        raise


def _matches(pattern: str, name: str) -> bool:
    try:
        return match(pattern, name)
    except BadPattern:
        return False


def without_nested(paths: Sequence[str]) -> list[str] | None:
    """Leave out each path that lies below the last one kept; None if the root (`.`) is among them."""
    kept: list[str] = []
    last = ""
    for path in paths:
        if path == ".":
            return None
        if path.startswith(last + "/"):
            continue
        kept.append(path)
        last = path
    return kept
