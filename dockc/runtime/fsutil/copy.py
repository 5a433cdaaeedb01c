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

import posixpath
import stat

from dockc.runtime.fsutil import meta
from dockc.runtime.fsutil.copier import Copier
from dockc.runtime.fsutil.copyentry import CopyOptions
from dockc.runtime.fsutil.dirs import make_dirs
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.fsutil.inroot import Root

DEFAULT_DIR_MODE = 0o755
_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


def copy(source: Root, src: str, target: Root, dst: str, options: CopyOptions) -> tuple[str, list[str]]:
    """Copy `src` in `source` to `dst` in `target`; missing directories on the way to `dst` are made.

    Args:
        source: root of the source.
        src: absolute path in it, without wildcards.
        target: root of the destination; may be the same.
        dst: absolute path in it; a trailing slash says that it is a directory.
        options: how.

    Returns:
        Where it went, and the directories that were made on the way, outermost first.

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
    copier = Copier(source, target, options)
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
    if into_itself and resolved in made and options.mode is not None and options.mode & _SPECIAL:
        # The reference drops these bits here and keeps them on all that lies below: a /tmp that is not sticky.
        with target.parent(resolved) as (fd, entry):
            meta.chmod(fd, entry, options.mode & 0o7777, resolved)
    copier.run(origin, resolved)
    if options.time_ns is not None:
        for path in reversed(made):
            with target.parent(path) as (fd, entry):
                meta.utime(fd, entry, (options.time_ns, options.time_ns), path)
    return resolved, made
