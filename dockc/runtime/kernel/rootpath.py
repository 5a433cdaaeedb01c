"""Paths of a container resolved inside its root, whatever symbolic links the root holds.

`open_in_root` walks with descriptors, so that a link swapped in meanwhile cannot lead outside either;
`root_path` is the textual twin for trees that nobody else changes. Imported by the container's first
process: keep the imports small.
"""

from __future__ import annotations

import errno
import os
import stat

MAX_LINKS = 255
"""As in containerd's continuity, which the reference uses for the same job."""


def open_in_root(root_fd: int, path: str, *, make: str = "", mode: int = 0o755) -> int:
    """An O_PATH descriptor of `path` below the directory `root_fd`.

    Args:
        root_fd: descriptor of the root; absolute links and `..` stay inside it.
        path: absolute or relative, both mean below the root.
        make: "dir" or "file" creates what is missing (directories on the way with `mode`).
        mode: permissions of created directories.

    Raises:
        OSError: as of open(2), ELOOP after too many links.
    """
    stack = [os.dup(root_fd)]
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    try:
        while todo:
            part = todo.pop()
            if part == "..":
                if len(stack) > 1:
                    os.close(stack.pop())
                continue
            try:
                fd = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stack[-1])
            except FileNotFoundError:
                if not make:
                    raise
                _create(stack[-1], part, mode, directory=make == "dir" or bool(todo))
                fd = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stack[-1])
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                stack.append(fd)
                continue
            try:
                target = os.readlink("", dir_fd=fd)
            finally:
                os.close(fd)
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                while len(stack) > 1:
                    os.close(stack.pop())
            todo.extend(part for part in reversed(target.split("/")) if part not in ("", "."))
        return stack.pop()
    finally:
        for fd in stack:
            os.close(fd)


def _create(parent: int, name: str, mode: int, *, directory: bool) -> None:
    try:
        if directory:
            os.mkdir(name, mode, dir_fd=parent)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=parent))
    except FileExistsError:
        return  # somebody else was faster; the caller opens it without following a link


def root_path(root: str, path: str) -> str:
    """`path` as a path of the host: links followed inside `root`, missing parts kept as they are."""
    done: list[str] = []
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            if done:
                done.pop()
            continue
        here = "/".join([root.rstrip("/"), *done, part])
        try:
            target = os.readlink(here)  # noqa: PTH115 - no pathlib here
        except OSError:
            done.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            done.clear()
        todo.extend(part for part in reversed(target.split("/")) if part not in ("", "."))
    return "/".join([root.rstrip("/"), *done]) or "/"
