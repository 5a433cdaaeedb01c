"""The five actions of a file operation, on directories that are mounted.

Each takes the root it changes as a `Root`; paths of an action are paths in that root, whatever links are
there. Messages are the reference's, with paths as seen in the root.
"""

from __future__ import annotations

import os
import posixpath
import stat
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dockc.grammar.globs import BadPattern, clean, match, split_wildcards
from dockc.runtime.fsutil import meta, modes, remarks
from dockc.runtime.fsutil.copy import copy
from dockc.runtime.fsutil.copyentry import CopyOptions
from dockc.runtime.fsutil.dirs import make_dirs, make_plain_dir
from dockc.runtime.fsutil.failure import FileError, check, failed
from dockc.runtime.fsutil.inroot import Root, entries, remove_tree
from dockc.runtime.fsutil.remarks import Remark
from dockc.runtime.fsutil.unpack import unpack
from dockc.runtime.fsutil.users import Owner

if TYPE_CHECKING:
    from dockc.llb.pb import ops_pb2


def _time(timestamp: int) -> int | None:
    """The nanoseconds of an action; -1 stands for none."""
    return None if timestamp == -1 else timestamp


def mkdir(root: Root, action: ops_pb2.FileActionMkDir, owner: Owner | None) -> None:
    """Make a directory, with its parents if asked; one that is there stays as it is."""
    path = root.resolve(action.path)
    mode = action.mode & 0o777
    time_ns = _time(action.timestamp)
    if action.makeParents:
        make_dirs(root, path, mode, owner, time_ns)
        return
    if root.lstat(path) is not None:
        return
    with root.parent(path, "mkdir") as (fd, name):
        make_plain_dir(fd, name, mode, path)
        _finish(fd, name, owner, time_ns, path)


def mkfile(root: Root, action: ops_pb2.FileActionMkFile, owner: Owner | None) -> None:
    """Write a file. One that is there keeps its mode; a link is followed, inside the root."""
    path = root.resolve(action.path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with root.parent(path, "open") as (fd, name):
        fresh = root.lstat(path) is None
        try:
            file = os.open(name, flags, action.mode & 0o777, dir_fd=fd)
        except OSError as error:
            raise failed("open", path, error) from error
        try:
            with os.fdopen(file, "wb") as stream:
                stream.write(action.data)
        except OSError as error:
            raise failed("write", path, error) from error
        if fresh:
            meta.chmod(fd, name, action.mode & 0o777, path)
        _finish(fd, name, owner, _time(action.timestamp), path)


def symlink(root: Root, action: ops_pb2.FileActionSymlink, owner: Owner | None) -> None:
    """Make a symbolic link; its target is text and is not looked at."""
    path = root.resolve(action.newpath)
    with root.parent(path, f"symlink {action.oldpath}") as (fd, name):
        try:
            os.symlink(action.oldpath, name, dir_fd=fd)
        except OSError as error:
            raise failed("symlink", f"{action.oldpath} {path}", error) from error
        _finish(fd, name, owner, _time(action.timestamp), path)


def _finish(fd: int, name: str, owner: Owner | None, time_ns: int | None, path: str) -> None:
    if owner is not None:
        meta.chown(fd, name, owner, path)
    if time_ns is not None:
        meta.utime(fd, name, (time_ns, time_ns), path)


def rm(root: Root, action: ops_pb2.FileActionRm, cancelled: threading.Event | None = None) -> None:
    """Remove a path and all below it, or everything that a wildcard matches."""
    paths = [action.path]
    if action.allowWildcard:
        paths = resolve_wildcards(root, clean_path(action.path), follow_links=False, cancelled=cancelled)
    for path in paths:
        _remove(root, path, allow_missing=action.allowNotFound)


def _remove(root: Root, path: str, *, allow_missing: bool) -> None:
    path = clean(posixpath.join("/", path.lstrip("/")))
    if path == "/":
        raise FileError("rmPath: invalid empty path")
    path = root.resolve_parent(path)
    if path == "/":
        raise FileError("rmPath: invalid empty path")
    # A link to nothing counts as nothing here, although it would be removed.
    if not allow_missing and root.lstat(root.resolve(path)) is None:
        raise FileError(f"stat {path}: no such file or directory")
    if root.lstat(posixpath.dirname(path)) is None:
        return
    with root.parent(path) as (fd, name):
        remove_tree(fd, name, path)


def copy_action(
    source: Root,
    target: Root,
    action: ops_pb2.FileActionCopy,
    owner: Owner | None,
    cancelled: threading.Event | None = None,
    remark: Remark | None = None,
    *,
    fresh: bool = False,
) -> None:
    """Copy what the action names, unpacking archives if it says so.

    `remark` is told what hardly anybody means; `fresh`: the target was empty, and will be put over something
    (`--link`).
    """
    src, dst = clean_path(action.src), clean_path(action.dest)
    if not action.createDestPath:
        parent = posixpath.dirname(target.resolve(action.dest))
        if target.lstat(parent) is None:
            raise FileError(f"failed to stat {action.dest}: lstat {parent}: no such file or directory")
    options = CopyOptions(
        owner=owner,
        time_ns=_time(action.timestamp),
        mode=None if action.modeStr or action.mode == -1 else action.mode,
        mode_set=modes.parse(action.modeStr) if action.modeStr else None,
        include=tuple(action.include_patterns),
        exclude=tuple(action.exclude_patterns),
        dir_contents=action.dirCopyContents,
        follow_links=action.followSymlink,
        replace=action.alwaysReplaceExistingDestPaths,
        cancelled=cancelled,
    )
    paths = [src]
    if action.allowWildcard:
        paths = resolve_wildcards(source, src, follow_links=action.followSymlink, cancelled=cancelled)
        if not paths and not action.allowEmptyWildcard:
            raise FileError(f"{src} not found")
    places: dict[str, list[str]] = {}
    made: list[str] = []
    for path in paths:
        check(cancelled)
        if action.attemptUnpackDockerCompatibility and unpack(source, path, target, dst, options):
            continue
        place, on_the_way = copy(source, path, target, dst, options)
        places.setdefault(place, []).append(path)
        made += on_the_way
    if remark is not None:
        _look_back(target, action, places, made, owner, remark, fresh=fresh)


def _look_back(
    target: Root,
    action: ops_pb2.FileActionCopy,
    places: Mapping[str, Sequence[str]],
    made: Sequence[str],
    owner: Owner | None,
    remark: Remark,
    *,
    fresh: bool,
) -> None:
    said = []
    for place, names in places.items():
        there = target.lstat(place) if len(names) > 1 else None
        if there is not None and not stat.S_ISDIR(there.st_mode):
            said.append(remarks.written_over(action.src.removeprefix("/"), place, names))
    if owner is not None and fresh:
        said.append(remarks.taken_over(made, owner))
    if not action.modeStr and action.mode != -1:
        said.append(remarks.closed(made, action.mode))
    for text in filter(None, said):
        remark(text)


def clean_path(path: str) -> str:
    """An absolute clean path that keeps what its end says: a trailing slash, or `/.`."""
    cleaned = clean(posixpath.join("/", path.lstrip("/")))
    if path.endswith("/."):
        return posixpath.join(cleaned, ".")
    if path.endswith("/") and cleaned != "/":
        return cleaned + "/"
    return cleaned


def resolve_wildcards(
    root: Root, path: str, *, follow_links: bool, cancelled: threading.Event | None = None
) -> list[str]:
    """The paths that match a pattern, in order; the path itself if it has no wildcard.

    A directory that matches is not looked into. Links below the literal part of the pattern are not followed.

    Raises:
        FileError: the literal part does not exist, or a directory cannot be read.
    """
    literal, pattern = split_wildcards(path)
    if not pattern:
        return [literal]
    base = root.resolve(literal) if follow_links else root.resolve_parent(literal)
    status = root.lstat(base)
    if status is None:
        raise FileError(f"lstat {base}: no such file or directory")
    if not stat.S_ISDIR(status.st_mode):
        return []
    found: list[str] = []
    depth = pattern.count("/") + 1
    _search(root, base, pattern, depth, found, cancelled)
    return found


def _matches(pattern: str, path: str) -> bool:
    try:
        return match(pattern, path)
    except BadPattern:  # such a pattern matches nothing
        return False


def _search(
    root: Root, base: str, pattern: str, depth: int, found: list[str], cancelled: threading.Event | None
) -> None:
    pending: list[tuple[str, int]] = [("", 1)]  # directories below base still to read, and their entries' depth
    while pending:
        check(cancelled)
        here, level = pending.pop()
        shown = posixpath.join(base, here) if here else base
        fd = root.open_dir(shown, read=True)
        try:
            names = sorted(entries(fd), key=os.fsencode)
            below: list[tuple[str, int]] = []
            for name in names:
                relative = f"{here}/{name}" if here else name
                if _matches(pattern, relative):
                    found.append(posixpath.join(base, relative))
                    continue
                # A class in brackets may match a slash, so its depth says nothing.
                if level < depth or "[" in pattern:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        below.append((relative, level + 1))
        except OSError as error:
            raise failed("open", shown, error) from error
        finally:
            os.close(fd)
        pending.extend(reversed(below))
    found.sort(key=lambda path: os.fsencode(path).split(b"/"))
