"""Opening directories below a root that symbolic links and `..` cannot leave.

openat2(2) with RESOLVE_IN_ROOT lets the kernel do it in one call (Linux 5.6); where it is missing or forbidden,
the same walk is done component by component with O_NOFOLLOW.
"""

from __future__ import annotations

import errno
import os
import stat

from dockc.errors import UnsafePath
from dockc.runtime.kernel.openat2 import IN_ROOT, MISSING, NO_MAGICLINKS, openat2

PATH_MAX = 4096
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_LINKS = 40  # as the kernel's own limit
_available = [True]


def open_directory(root: int, path: str) -> int:
    """Open the directory `path` (relative) below the directory descriptor `root`, with O_PATH.

    Symbolic links on the way are followed as if `root` were `/`.

    Raises:
        FileNotFoundError, NotADirectoryError: as the kernel says.
        UnsafePath: too many symbolic links.
    """
    if not path:
        path = "."
    if _available[0]:
        try:
            return openat2(root, os.fsencode(path), _DIRECTORY, IN_ROOT | NO_MAGICLINKS)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnsafePath(f"too many levels of symbolic links in {path!r}") from None
            if error.errno not in MISSING and error.errno != errno.EAGAIN:
                raise
            _available[0] = error.errno in (errno.EINVAL, errno.EAGAIN)
    return _walk(root, path)


def _walk(root: int, path: str) -> int:
    """`open_directory` without openat2: every component is opened on its own, links are read and expanded."""
    todo = path.split("/")[::-1]
    opened = [os.dup(root)]
    links = 0
    try:
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(opened) > 1:
                    os.close(opened.pop())
                continue
            status = os.stat(name, dir_fd=opened[-1], follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > _MAX_LINKS:
                    raise UnsafePath(f"too many levels of symbolic links in {path!r}")
                target = os.readlink(name, dir_fd=opened[-1])
                if target.startswith("/"):
                    while len(opened) > 1:
                        os.close(opened.pop())
                todo.extend(target.split("/")[::-1])
                continue
            opened.append(os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=opened[-1]))
        return os.dup(opened[-1])
    finally:
        for descriptor in opened:
            os.close(descriptor)


def clean_name(name: str) -> str:
    """An archive's member name as a relative path without `.`, `..` and double slashes; "" is the root.

    Raises:
        UnsafePath: `..` would leave the root, or the path is longer than the kernel takes.
    """
    if "\0" in name:
        raise UnsafePath(f"the path {name!r} holds a NUL byte")
    parts: list[str] = []
    for part in name.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            if not parts:
                raise UnsafePath(f"the path {name!r} leads out of its root")
            parts.pop()
            continue
        parts.append(part)
    cleaned = "/".join(parts)
    if len(os.fsencode(cleaned)) >= PATH_MAX:
        raise UnsafePath(f"the path {name[:64]!r}... is longer than {PATH_MAX} bytes")
    return cleaned
