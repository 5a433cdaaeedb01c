"""The walk of a copy: one source, one target, everything below."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from dockc.errors import UnsafePath
from dockc.grammar.globs import NO_PARENT, BadPattern, MatchInfo, PatternMatcher
from dockc.runtime.fsutil import meta
from dockc.runtime.fsutil.copyentry import CopyOptions, EntryWriter, Item
from dockc.runtime.fsutil.dirs import make_dir
from dockc.runtime.fsutil.failure import FileError, check, failed
from dockc.runtime.fsutil.inroot import Root, entries, open_entry, open_subdir, remove_tree

_OPEN_FRAMES = 64


class _Frame:
    """A directory that is being copied.

    Mutable state: `source_fd` and `target_fd` (-1 while put aside, `target_fd` also while not made yet),
    `made` (the target is there and open), `created` (it was made by this copy).
    """

    __slots__ = (
        "created", "exclude", "identity", "include", "included", "made", "name", "names", "path", "source_fd",
        "status", "target_fd", "target_identity",
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


class Copier:
    """Copies one source to one target. Make a new one for each copy."""

    def __init__(self, source: Root, target: Root, options: CopyOptions) -> None:
        """Read the patterns.

        Raises:
            BadPattern: one cannot be read.
        """
        self._source = source
        self._target = target
        self._options = options
        self._include = _matcher(options.include, "includepatterns")
        self._exclude = _matcher(options.exclude, "excludepatterns")
        self._frames: list[_Frame] = []
        self._writer = EntryWriter(target, "/", "/", options)

    def run(self, src: str, dst: str) -> None:
        """Copy what is at `src` to `dst`, both resolved in their roots."""
        self._writer = EntryWriter(self._target, src, dst, self._options)
        with self._source.parent(src) as (source_fd, source_name), self._target.parent(dst) as (target_fd, name):
            item = Item(source_fd, source_name, _status(source_fd, source_name, src), target_fd, name, "")
            there = self._clear_way(item, _status_or_none(target_fd, name, dst))
            if not stat.S_ISDIR(item.status.st_mode):
                self._writer.write(item, there)
                return
            if _identity(self._source) == _identity(self._target) and f"{dst}/".startswith(f"{src.rstrip('/')}/"):
                raise FileError(f"cannot copy {src} into itself")
            frame = _Frame(name, "", item.status, NO_PARENT, NO_PARENT, included=True)
            try:
                self._frames.append(frame)
                self._open_source(frame, source_fd, source_name)
                self._make_target(frame, target_fd, below=False)
                self._walk()
                self._finish_top(frame, item, there)
            finally:
                for open_frame in self._frames:
                    _close(open_frame)

    def _walk(self) -> None:
        """Copy everything below the top frame; the top frame stays open."""
        frames = self._frames
        while True:
            frame = frames[-1]
            name = next(frame.names, None)
            if name is not None:
                check(self._options.cancelled)
                self._visit(frame, name)
            elif len(frames) == 1:
                return
            else:
                self._leave()

    def _visit(self, frame: _Frame, name: str) -> None:
        path = f"{frame.path}/{name}" if frame.path else name
        included = True
        include_info = exclude_info = NO_PARENT
        if self._include is not None:
            included, include_info = self._include.matches_under(path, frame.include)
        if self._exclude is not None:
            excluded, exclude_info = self._exclude.matches_under(path, frame.exclude)
            if excluded:
                included = False
                # Nothing below can come back either: do not even look at it.
                if not self._exclude.exclusions and self._include is None:
                    return
        else:
            excluded = False
        try:
            status = os.stat(name, dir_fd=frame.source_fd, follow_symlinks=False)
        except OSError as error:
            shown = self._writer.source_path(path)
            raise failed("lstat", shown, error, wrap=f"failed to stat {shown}") from error
        directory = stat.S_ISDIR(status.st_mode)
        if not included and not directory:
            return
        if included and not frame.made:
            self._make_parents()
        item = Item(frame.source_fd, name, status, frame.target_fd, name, path)
        there = None
        if frame.made and not frame.created:
            there = _status_or_none(frame.target_fd, name, self._writer.target_path(path))
            if included:
                there = self._clear_way(item, there)
        if not directory:
            self._writer.write(item, there)
            return
        if excluded and self._exclude is not None and not self._exclude.exclusions:
            return
        inner = _Frame(name, path, status, include_info, exclude_info, included=included)
        self._frames.append(inner)
        self._open_source(inner, frame.source_fd, name)
        if included:
            self._make_target(inner, frame.target_fd, below=True)
        self._put_aside()

    def _leave(self) -> None:
        """The deepest directory is done; its metadata comes last, since its entries change its times."""
        frame = self._frames.pop()
        parent = self._frames[-1]
        self._writer.elsewhere()
        try:
            if parent.source_fd < 0:
                self._take_up(parent, frame)
            item = Item(parent.source_fd, frame.name, frame.status, parent.target_fd, frame.name, frame.path)
            if frame.included:  # others have their metadata since they were made, and the time of their last entry
                self._writer.metadata(item)
        finally:
            _close(frame)

    def _finish_top(self, frame: _Frame, item: Item, there: os.stat_result | None) -> None:
        if frame.created:
            self._writer.metadata(item)
        elif there is not None:
            try:
                self._writer.times(item)
            except FileError as error:
                message = f"failed to restore file timestamp: {error.message}"
                raise FileError(message, number=error.errno) from error

    # --- open directories -----------------------------------------------------------------------

    def _open_source(self, frame: _Frame, parent_fd: int, name: str) -> None:
        self._writer.elsewhere()
        shown = self._writer.source_path(frame.path)
        frame.source_fd = open_subdir(parent_fd, name, shown, read=True)
        status = os.fstat(frame.source_fd)
        frame.identity = (status.st_dev, status.st_ino)
        try:
            frame.names = iter(sorted(entries(frame.source_fd)))
        except OSError as error:
            raise failed("open", shown, error, wrap=f"failed to read {shown}") from error

    def _make_parents(self) -> None:
        """Make the directories on the way that were put off until something in them is copied."""
        for number, frame in enumerate(self._frames):
            if not frame.made:
                self._make_target(frame, self._target_of(number - 1), below=True)

    def _target_of(self, number: int) -> int:
        frame = self._frames[number]
        if frame.target_fd < 0:
            frame.target_fd = self._target.open_dir(self._writer.target_path(frame.path))
        return frame.target_fd

    def _make_target(self, frame: _Frame, parent_fd: int, *, below: bool) -> None:
        """Make the target directory or accept the one that is there; open it.

        Args:
            frame: the directory.
            parent_fd: where it is made.
            below: it is below the directory that was named, so an existing one takes over the mode.
        """
        name, shown = frame.name, self._writer.target_path(frame.path)
        there = _status_or_none(parent_fd, name, shown)
        mode = stat.S_IMODE(frame.status.st_mode)
        if there is None:
            # Entries must be writable until the end even where the mode, which is set then, says otherwise.
            make_dir(parent_fd, name, mode & 0o777 | 0o700, shown, wrap=f"failed to mkdir {shown}")
            frame.created = True
        elif not stat.S_ISDIR(there.st_mode):
            hint = ""
            if stat.S_ISLNK(there.st_mode):
                points = os.readlink(name, dir_fd=parent_fd)
                hint = f"{shown} is a symbolic link to {points}. Copy into what it points to, or remove it first."
            raise FileError(f"cannot copy to non-directory: {shown}", hint=hint)
        elif below and not frame.included:
            meta.chmod(parent_fd, name, mode, shown, wrap=f"failed to chmod on {shown}")
        frame.target_fd = open_subdir(parent_fd, name, shown)
        status = os.fstat(frame.target_fd)
        frame.target_identity = (status.st_dev, status.st_ino)
        frame.made = True
        if frame.created and not frame.included:
            source_fd = frame.source_fd
            self._writer.metadata(Item(source_fd, ".", frame.status, parent_fd, name, frame.path))

    def _put_aside(self) -> None:
        """Close the directories far above, so that depth does not cost descriptors."""
        number = len(self._frames) - 1 - _OPEN_FRAMES
        if number > 0:
            _close(self._frames[number])

    def _take_up(self, frame: _Frame, inner: _Frame) -> None:
        """Open again what was put aside, from the directory below it, and make sure that it is the same."""
        frame.source_fd = open_entry(
            inner.source_fd, "..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, self._writer.source_path(frame.path)
        )
        status = os.fstat(frame.source_fd)
        if (status.st_dev, status.st_ino) != frame.identity:
            raise UnsafePath(f"{self._writer.source_path(frame.path)}: moved while it was copied")
        if not frame.made:
            return
        if frame.target_fd < 0:
            if inner.target_fd >= 0:
                frame.target_fd = open_entry(
                    inner.target_fd,
                    "..",
                    os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC,
                    self._writer.target_path(frame.path),
                )
            else:
                frame.target_fd = self._target.open_dir(self._writer.target_path(frame.path))
        status = os.fstat(frame.target_fd)
        if (status.st_dev, status.st_ino) != frame.target_identity:
            raise UnsafePath(f"{self._writer.target_path(frame.path)}: moved while it was written")

    def _clear_way(self, item: Item, there: os.stat_result | None) -> os.stat_result | None:
        """Remove what is in the way if that is asked for; what is there afterwards."""
        if there is None or not self._options.replace:
            return there
        if stat.S_ISDIR(item.status.st_mode) and stat.S_ISDIR(there.st_mode):
            return there
        remove_tree(item.target_fd, item.name, self._writer.target_path(item.path))
        return None


def _matcher(patterns: Sequence[str], label: str) -> PatternMatcher | None:
    if not patterns:
        return None
    try:
        return PatternMatcher(patterns)
    except BadPattern as error:
        raise BadPattern(f"invalid {label}: [{' '.join(patterns)}]: {error.message}") from error


def _identity(root: Root) -> tuple[int, int]:
    status = os.fstat(root.fd)
    return status.st_dev, status.st_ino


def _close(frame: _Frame) -> None:
    if frame.source_fd >= 0:
        os.close(frame.source_fd)
        frame.source_fd = -1
    if frame.target_fd >= 0:
        os.close(frame.target_fd)
        frame.target_fd = -1


def _status(fd: int, name: str, shown: str) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        raise failed("lstat", shown, error) from error


def _status_or_none(fd: int, name: str, shown: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failed("lstat", shown, error, wrap=f"failed to stat {shown}") from error
