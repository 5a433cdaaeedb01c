"""The copy of file operations: `COPY` and `ADD` of files that are already there.

Semantics are those of the reference's copy, which are its own (neither cp's nor rsync's):

- A directory is merged into an existing directory; `dir_contents` decides whether it goes beside or into
it. The
  metadata of the directory that was named is copied only when it is made new; that of directories below
  always is.
- A file replaces a file or link; a file never replaces a directory and a directory never a file, unless
`replace`. - With include patterns, directories are made only once something in them is copied. - Files that
are hard links of each other within one copy stay so.

The walk holds open directories, a bounded number of them, and never follows a link below the two starting
points.
"""

from __future__ import annotations

import os
import posixpath
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dockc.errors import UnsafePath
from dockc.grammar.globs import NO_PARENT, BadPattern, MatchInfo, PatternMatcher
from dockc.runtime.fsutil import meta
from dockc.runtime.fsutil.data import copy_data
from dockc.runtime.fsutil.failure import FileError, check, explain, failed
from dockc.runtime.fsutil.inroot import Root, entries, open_entry, open_subdir, remove_tree
from dockc.runtime.fsutil.modes import ModeSet
from dockc.runtime.fsutil.users import Owner

DEFAULT_DIR_MODE = 0o755
_OPEN_FRAMES = 64
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How to copy.

    Attributes:
        owner: of everything that is made; None keeps the source's.
        time_ns: modification time of everything that is made; None keeps the source's.
        mode: permission bits of everything that is made, directories too; None keeps the source's.
        mode_set: a symbolic mode, which goes before `mode`.
        include: only what matches one of these (relative to the source directory).
        exclude: all but what matches these.
        dir_contents: copy the entries of a source directory, not the directory.
        follow_links: the source itself may be a link to what is meant.
        replace: whatever is in the way is removed (directories are still merged with directories).
        cancelled: looked at for each entry.
    """

    owner: Owner | None = None
    time_ns: int | None = None
    mode: int | None = None
    mode_set: ModeSet | None = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    dir_contents: bool = False
    follow_links: bool = False
    replace: bool = False
    cancelled: threading.Event | None = field(default=None, compare=False)


def copy(source: Root, src: str, target: Root, dst: str, options: CopyOptions) -> None:
    """Copy `src` in `source` to `dst` in `target`; missing directories on the way to `dst` are made.

    Args:
        source: root of the source.
        src: absolute path in it, without wildcards.
        target: root of the destination; may be the same.
        dst: absolute path in it; a trailing slash says that it is a directory.
        options: how.

    Raises:
        FileError: in the words of the reference.
        BadPattern: an include or exclude pattern cannot be read.
        Cancelled: `options.cancelled` was set.
    """
    made: list[str] = []
    directory, name = posixpath.split(dst)
    start = directory if name and name != "." else dst
    mode = (DEFAULT_DIR_MODE if options.mode is None else options.mode) & 0o777
    if start:
        made += make_dirs(target, target.resolve(start), mode, options.owner, options.time_ns)
    resolved = target.resolve(dst)
    copier = _Copier(source, target, options)
    origin = source.resolve(src) if options.follow_links else source.resolve_parent(src)
    status = source.lstat(origin)
    if status is None:
        raise FileError(f"lstat {origin}: no such file or directory")
    there = target.lstat(resolved)
    directory_source = stat.S_ISDIR(status.st_mode)
    into_itself = directory_source and options.dir_contents
    if there is not None and not into_itself and (directory_source or stat.S_ISDIR(there.st_mode)):
        resolved = posixpath.normpath(posixpath.join(resolved, posixpath.basename(src.rstrip("/"))))
    holder = resolved if into_itself and there is None else posixpath.dirname(resolved)
    made += make_dirs(target, holder, mode, options.owner, options.time_ns)
    copier.run(origin, resolved)
    if options.time_ns is not None:
        for path in reversed(made):
            with target.parent(path) as (fd, entry):
                meta.utime(fd, entry, (options.time_ns, options.time_ns), path)


def make_dirs(root: Root, path: str, mode: int, owner: Owner | None, time_ns: int | None) -> list[str]:
    """Make a directory and those above it that are missing; those that are there stay as they are.

    Args:
        root: where.
        path: resolved by `root`.
        mode: permission bits of new directories.
        owner: of new directories; None is the owner of this process.
        time_ns: modification time of new directories.

    Returns:
        The paths that were made, outermost first.

    Raises:
        FileError: something on the way is not a directory, or the system refused.
    """
    parts = [part for part in path.split("/") if part]
    made: list[str] = []
    here = "/"
    for part in parts:
        here = posixpath.join(here, part)
        status = root.lstat(here)
        if status is not None:
            if not stat.S_ISDIR(status.st_mode):
                raise FileError(f"mkdir {here}: not a directory")
            continue
        with root.parent(here) as (fd, name):
            make_plain_dir(fd, name, mode, here)
            if owner is not None:
                meta.chown(fd, name, owner, here)
            if time_ns is not None:
                meta.utime(fd, name, (time_ns, time_ns), here)
        made.append(here)
    return made


def make_dir(fd: int, name: str, mode: int, shown: str, *, wrap: str = "") -> None:
    """Make one directory; it must not be there."""
    try:
        os.mkdir(name, mode, dir_fd=fd)
    except OSError as error:
        raise failed("mkdir", shown, error, wrap=wrap) from error


def make_plain_dir(fd: int, name: str, mode: int, shown: str) -> None:
    """Make one directory with exactly this mode.

    The umask of this process plays no part; the setgid bit that a directory hands down does.
    """
    make_dir(fd, name, mode, shown)
    inherited = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode & stat.S_ISGID
    meta.chmod(fd, name, mode | inherited, shown)


class _Frame:
    """A directory that is being copied.

    Mutable state: `source_fd` and `target_fd` (-1 while put aside, `target_fd` also while not made yet),
    `made` (the target is there and open), `created` (it was made by this copy).
    """

    __slots__ = (
        "created", "exclude", "identity", "include", "included", "made", "name", "names", "path", "source_fd",
        "status", "target_fd", "target_identity", "there",
    )  # fmt: skip

    def __init__(
        self, name: str, path: str, status: os.stat_result, include: MatchInfo, exclude: MatchInfo, *, included: bool
    ) -> None:
        self.name = name
        self.path = path
        self.status = status
        self.include = include
        self.exclude = exclude
        self.included = included
        self.names: Iterator[str] = iter(())
        self.source_fd = -1
        self.target_fd = -1
        self.identity = (0, 0)
        self.target_identity = (0, 0)
        self.made = False
        self.created = False
        self.there: os.stat_result | None = None


class _Copier:
    def __init__(self, source: Root, target: Root, options: CopyOptions) -> None:
        self.source = source
        self.target = target
        self.options = options
        self.include = _matcher(options.include, "includepatterns")
        self.exclude = _matcher(options.exclude, "excludepatterns")
        self.links: dict[tuple[int, int], str] = {}
        self.frames: list[_Frame] = []
        self.top_source = "/"
        self.top_target = "/"

    # --- names ----------------------------------------------------------------------------------

    def source_path(self, path: str) -> str:
        return posixpath.join(self.top_source, path) if path else self.top_source

    def target_path(self, path: str) -> str:
        return posixpath.join(self.top_target, path) if path else self.top_target

    # --- the walk -------------------------------------------------------------------------------

    def run(self, src: str, dst: str) -> None:
        self.top_source, self.top_target = src, dst
        with self.source.parent(src) as (source_fd, source_name), self.target.parent(dst) as (target_fd, name):
            status = _status(source_fd, source_name, src)
            there = _status_or_none(target_fd, name, dst)
            there = self._clear_way(target_fd, name, status, there, dst)
            if not stat.S_ISDIR(status.st_mode):
                self._entry(source_fd, source_name, status, target_fd, name, "", there)
                return
            frame = _Frame(name, "", status, NO_PARENT, NO_PARENT, included=True)
            frame.there = there
            self._open_source(frame, source_fd, source_name)
            self.frames.append(frame)
            try:
                self._make_target(frame, target_fd, below=False)
                self._walk()
                self._finish_top(frame, source_fd, source_name, target_fd, name)
            finally:
                for open_frame in self.frames:
                    _close(open_frame)
                self.frames.clear()
                _close(frame)

    def _walk(self) -> None:
        """Copy everything below the top frame; the top frame stays open."""
        frames = self.frames
        while True:
            frame = frames[-1]
            name = next(frame.names, None)
            if name is not None:
                check(self.options.cancelled)
                self._visit(frame, name)
            elif len(frames) == 1:
                return
            else:
                self._leave()

    def _visit(self, frame: _Frame, name: str) -> None:
        path = f"{frame.path}/{name}" if frame.path else name
        included = True
        include_info = exclude_info = NO_PARENT
        if self.include is not None:
            included, include_info = self.include.matches_under(path, frame.include)
        if self.exclude is not None:
            excluded, exclude_info = self.exclude.matches_under(path, frame.exclude)
            if excluded:
                included = False
                # Nothing below can come back either: do not even look at it.
                if not self.exclude.exclusions and self.include is None:
                    return
        else:
            excluded = False
        status = _status(frame.source_fd, name, self.source_path(path), wrap="failed to stat")
        directory = stat.S_ISDIR(status.st_mode)
        if not included and not directory:
            return
        if included:
            self._make_parents()
        there = None
        if frame.made and not frame.created:
            there = _status_or_none(frame.target_fd, name, self.target_path(path))
            if included:
                there = self._clear_way(frame.target_fd, name, status, there, self.target_path(path))
        if not directory:
            self._entry(frame.source_fd, name, status, frame.target_fd, name, path, there)
            return
        if excluded and self.exclude is not None and not self.exclude.exclusions:
            return
        inner = _Frame(name, path, status, include_info, exclude_info, included=included)
        inner.there = there
        self._open_source(inner, frame.source_fd, name)
        self.frames.append(inner)
        if included:
            self._make_target(inner, frame.target_fd, below=True)
        self._put_aside()

    def _leave(self) -> None:
        """The deepest directory is done; its metadata comes last, since its entries change its times."""
        frame = self.frames.pop()
        parent = self.frames[-1]
        try:
            if parent.source_fd < 0:
                self._take_up(parent, frame)
            if frame.included:
                self._metadata(parent.source_fd, frame.name, frame.status, parent.target_fd, frame.name, frame.path)
            elif frame.created:
                self._times(frame.status, parent.target_fd, frame.name, frame.path)
        finally:
            _close(frame)

    def _finish_top(self, frame: _Frame, source_fd: int, source_name: str, target_fd: int, name: str) -> None:
        if frame.created:
            self._metadata(source_fd, source_name, frame.status, target_fd, name, "")
        elif frame.there is not None:
            try:
                self._times(frame.status, target_fd, name, "")
            except FileError as error:
                message = f"failed to restore file timestamp: {error.message}"
                raise FileError(message, number=error.errno) from error

    # --- open directories -----------------------------------------------------------------------

    def _open_source(self, frame: _Frame, parent_fd: int, name: str) -> None:
        shown = self.source_path(frame.path)
        frame.source_fd = open_subdir(parent_fd, name, shown, read=True)
        status = os.fstat(frame.source_fd)
        frame.identity = (status.st_dev, status.st_ino)
        try:
            frame.names = iter(sorted(entries(frame.source_fd)))
        except OSError as error:
            raise failed("open", shown, error, wrap=f"failed to read {shown}") from error

    def _make_parents(self) -> None:
        """Make the directories on the way that were put off until something in them is copied."""
        for number, frame in enumerate(self.frames):
            if not frame.made:
                self._make_target(frame, self._target_of(number - 1), below=True)

    def _target_of(self, number: int) -> int:
        frame = self.frames[number]
        if frame.target_fd < 0:
            frame.target_fd = self.target.open_dir(self.target_path(frame.path))
        return frame.target_fd

    def _make_target(self, frame: _Frame, parent_fd: int, *, below: bool) -> None:
        """Make the target directory or accept the one that is there; open it.

        Args:
            frame: the directory.
            parent_fd: where it is made.
            below: it is below the directory that was named, so an existing one takes over the mode.
        """
        name, shown = frame.name, self.target_path(frame.path)
        there = _status_or_none(parent_fd, name, shown)
        mode = stat.S_IMODE(frame.status.st_mode)
        if there is None:
            # Entries must be writable until the end even where the mode, which is set then, says otherwise.
            make_dir(parent_fd, name, mode & 0o777 | 0o700, shown, wrap=f"failed to mkdir {shown}")
            frame.created = True
        elif not stat.S_ISDIR(there.st_mode):
            raise FileError(f"cannot copy to non-directory: {shown}")
        elif below and not frame.included:
            meta.chmod(parent_fd, name, mode, shown, wrap=f"failed to chmod on {shown}")
        frame.target_fd = open_subdir(parent_fd, name, shown)
        status = os.fstat(frame.target_fd)
        frame.target_identity = (status.st_dev, status.st_ino)
        frame.made = True
        if frame.created and not frame.included:
            number = self.frames.index(frame)
            source = self.frames[number - 1].source_fd
            if source < 0:
                source = frame.source_fd
                self._metadata(source, ".", frame.status, parent_fd, name, frame.path)
            else:
                self._metadata(source, name, frame.status, parent_fd, name, frame.path)

    def _put_aside(self) -> None:
        """Close the directories far above, so that depth does not cost descriptors."""
        number = len(self.frames) - 1 - _OPEN_FRAMES
        if number > 0:
            _close(self.frames[number])

    def _take_up(self, frame: _Frame, inner: _Frame) -> None:
        """Open again what was put aside, from the directory below it, and make sure that it is the same."""
        frame.source_fd = open_entry(
            inner.source_fd, "..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, self.source_path(frame.path)
        )
        status = os.fstat(frame.source_fd)
        if (status.st_dev, status.st_ino) != frame.identity:
            raise UnsafePath(f"{self.source_path(frame.path)}: moved while it was copied")
        if not frame.made:
            return
        if frame.target_fd < 0:
            if inner.target_fd >= 0:
                frame.target_fd = open_entry(
                    inner.target_fd, "..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, self.target_path(frame.path)
                )
            else:
                frame.target_fd = self.target.open_dir(self.target_path(frame.path))
        status = os.fstat(frame.target_fd)
        if (status.st_dev, status.st_ino) != frame.target_identity:
            raise UnsafePath(f"{self.target_path(frame.path)}: moved while it was written")

    # --- entries --------------------------------------------------------------------------------

    def _clear_way(
        self, fd: int, name: str, status: os.stat_result, there: os.stat_result | None, shown: str
    ) -> os.stat_result | None:
        """Remove what is in the way if that is asked for; what is there afterwards."""
        if there is None or not self.options.replace:
            return there
        if stat.S_ISDIR(status.st_mode) and stat.S_ISDIR(there.st_mode):
            return there
        remove_tree(fd, name, shown)
        return None

    def _entry(
        self,
        source_fd: int,
        source_name: str,
        status: os.stat_result,
        target_fd: int,
        name: str,
        path: str,
        there: os.stat_result | None,
    ) -> None:
        """Copy anything that is not a directory."""
        shown = self.target_path(path)
        if there is not None:
            if stat.S_ISDIR(there.st_mode):
                raise FileError(f"cannot replace to directory {shown} with file")
            try:
                os.unlink(name, dir_fd=target_fd)
            except OSError as error:
                raise failed("remove", shown, error) from error
        kind = stat.S_IFMT(status.st_mode)
        node = meta.node_of(source_fd, source_name, status) if kind == stat.S_IFREG and not status.st_size else None
        if node is not None:
            meta.make_node(target_fd, name, *node, stat.S_IMODE(status.st_mode), shown)
        elif kind == stat.S_IFREG:
            if status.st_nlink == 1 or not self._link(status, target_fd, name, shown):
                self._file(source_fd, source_name, status, target_fd, name, path)
        elif kind == stat.S_IFLNK:
            self._symlink(source_fd, source_name, target_fd, name, path)
        else:
            mode = stat.S_IMODE(status.st_mode)
            meta.make_node(target_fd, name, kind, status.st_rdev, mode, shown)
        self._metadata(source_fd, source_name, status, target_fd, name, path)

    def _link(self, status: os.stat_result, target_fd: int, name: str, shown: str) -> bool:
        """Link to an earlier copy of the same file; False if this is the first."""
        key = (status.st_dev, status.st_ino)
        first = self.links.setdefault(key, shown)
        if first == shown:
            return False
        with self.target.parent(first) as (fd, first_name):
            try:
                os.link(first_name, name, src_dir_fd=fd, dst_dir_fd=target_fd, follow_symlinks=False)
            except OSError as error:
                raise FileError(
                    f"failed to create hard link: link {first} {shown}: {explain(error)}", number=error.errno or 0
                ) from error
        return True

    def _file(
        self, source_fd: int, source_name: str, status: os.stat_result, target_fd: int, name: str, path: str
    ) -> None:
        shown_source, shown = self.source_path(path), self.target_path(path)
        source = _open(source_fd, source_name, _READ, shown_source, "source")
        try:
            target = _open(target_fd, name, _CREATE, shown, "target")
            try:
                if status.st_size:
                    copy_data(source, target, os.fstat(source), self.options.cancelled)
            except OSError as error:
                raise failed("copy_file_range", shown, error, wrap="failed to copy files") from error
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _symlink(self, source_fd: int, source_name: str, target_fd: int, name: str, path: str) -> None:
        try:
            link = os.readlink(source_name, dir_fd=source_fd)
        except OSError as error:
            shown = self.source_path(path)
            raise failed("readlink", shown, error, wrap=f"failed to read link: {shown}") from error
        try:
            os.symlink(link, name, dir_fd=target_fd)
        except OSError as error:
            shown = self.target_path(path)
            raise FileError(
                f"failed to create symlink: {shown}: symlink {link} {shown}: {explain(error)}",
                number=error.errno or 0,
            ) from error

    def _metadata(
        self, source_fd: int, source_name: str, status: os.stat_result, target_fd: int, name: str, path: str
    ) -> None:
        options = self.options
        shown = self.target_path(path)
        doing = "failed to copy file info: failed to"
        try:
            facts = meta.read_facts(source_fd, source_name, status)
        except OSError as error:
            raise failed("listxattr", self.source_path(path), error, wrap="failed to copy xattrs") from error
        owner = options.owner or facts.owner
        meta.chown(target_fd, name, owner, shown, wrap=f"{doing} chown {shown}")
        if not stat.S_ISLNK(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            if options.mode_set is not None:
                mode = options.mode_set.apply(mode, directory=stat.S_ISDIR(status.st_mode))
            elif options.mode is not None:
                mode = options.mode & 0o7777
            meta.chmod(target_fd, name, mode, shown, wrap=f"{doing} chmod {shown}")
        self._times(status, target_fd, name, path)
        if facts.xattrs:
            meta.write_xattrs(target_fd, name, facts.xattrs)

    def _times(self, status: os.stat_result, target_fd: int, name: str, path: str) -> None:
        time = self.options.time_ns
        times = (status.st_atime_ns, status.st_mtime_ns) if time is None else (time, time)
        meta.utime(target_fd, name, times, self.target_path(path))


def _matcher(patterns: Sequence[str], label: str) -> PatternMatcher | None:
    if not patterns:
        return None
    try:
        return PatternMatcher(patterns)
    except BadPattern as error:
        raise BadPattern(f"invalid {label}: [{' '.join(patterns)}]: {error.message}") from error


def _open(fd: int, name: str, flags: int, shown: str, which: str) -> int:
    try:
        return os.open(name, flags, 0o600, dir_fd=fd)
    except OSError as error:
        wrap = f"failed to copy files: failed to open {which} {shown}"
        raise failed("open", shown, error, wrap=wrap) from error


def _close(frame: _Frame) -> None:
    if frame.source_fd >= 0:
        os.close(frame.source_fd)
        frame.source_fd = -1
    if frame.target_fd >= 0:
        os.close(frame.target_fd)
        frame.target_fd = -1


def _status(fd: int, name: str, shown: str, *, wrap: str = "") -> os.stat_result:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        raise failed("lstat", shown, error, wrap=f"{wrap} {shown}" if wrap else "") from error


def _status_or_none(fd: int, name: str, shown: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failed("lstat", shown, error, wrap=f"failed to stat {shown}") from error
