"""Paths inside a root directory: symbolic links are read as if the root were `/`, and never lead out.

A path is first worked out by name (`resolve`): every link on the way is replaced by its target. It is then
opened directory by directory without following any link (`open_dir`), so that a link that appears in
between makes the operation fail instead of leading it elsewhere. All work on entries is relative to such an
open directory.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NoReturn, Self

from dockc.base.openflags import CLOEXEC, DIRECTORY, NOFOLLOW, NONBLOCK, PATH
from dockc.errors import UnsafePath
from dockc.grammar.globs import clean
from dockc.runtime.fsutil.failure import FileError, failed
from dockc.runtime.kernel.openat2 import NO_SYMLINKS, openat2

MAX_LINKS = 255
_PATH_MAX = 4000  # bytes handed to the kernel at once; PATH_MAX is 4096
_openat2_works = [sys.platform == "linux"]

_OPEN_PATH = PATH | DIRECTORY | NOFOLLOW | CLOEXEC
_OPEN_READ = os.O_RDONLY | DIRECTORY | NOFOLLOW | CLOEXEC
_REGULAR = os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC


class NotRegular(FileError):
    """Something else than a regular file: a directory, a pipe, a device."""


class Root:
    """An open root directory. Use as a context manager; any thread."""

    __slots__ = ("fd",)

    def __init__(self, path: Path) -> None:
        """Open `path`.

        Raises:
            FileError: it is not a directory that can be opened.
        """
        try:
            self.fd = os.open(path, PATH | DIRECTORY | CLOEXEC)
        except OSError as error:
            raise failed("open", str(path), error) from error

    @classmethod
    def at(cls, fd: int) -> Self:
        """The root at an open directory; the descriptor stays the caller's."""
        root = cls.__new__(cls)
        root.fd = fd
        return root

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)

    def lstat(self, path: str) -> os.stat_result | None:
        """Status of a path that has no links but perhaps the last component; None where nothing is.

        Raises:
            FileError: anything else than a missing entry.
        """
        try:
            return os.stat(path.strip("/") or ".", dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failed("lstat", path, error) from error

    def listing(self, path: str) -> list[tuple[str, os.stat_result]]:
        """What is in a directory, by its resolved path: names with their status, in byte order.

        Raises:
            FileError, UnsafePath: the directory cannot be opened (`open_dir`).
            OSError: it cannot be read.
        """
        fd = self.open_dir(path, read=True)
        found: list[tuple[str, os.stat_result]] = []
        try:
            for name in sorted(entries(fd), key=os.fsencode):
                try:
                    found.append((name, os.stat(name, dir_fd=fd, follow_symlinks=False)))
                except FileNotFoundError:  # gone meanwhile
                    continue
        finally:
            os.close(fd)
        return found

    def names(self, path: str) -> list[str]:
        """The names in a directory, as `listing`."""
        fd = self.open_dir(path, read=True)
        try:
            return sorted(entries(fd), key=os.fsencode)
        finally:
            os.close(fd)

    def link(self, path: str) -> str:
        """The target of a symbolic link, by a path that is resolved but for it; "" where something else is.

        Raises:
            FileError, UnsafePath: its directory cannot be opened (`open_dir`).
            OSError: it is gone, or cannot be read.
        """
        with self.parent(path) as (fd, name):
            if not stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                return ""
            return os.readlink(name, dir_fd=fd)

    def resolve(self, path: str) -> str:
        """`path` without links: absolute, clean. What does not exist stands as it is written.

        Raises:
            FileError: too many links, or a component that is not a directory.
        """
        _sound(path)
        todo = [part for part in posixpath.join("/", path).split("/") if part and part != "."]
        if self._is_plain(todo):
            return "/" + "/".join(todo)
        todo.reverse()
        done: list[str] = []
        links = 0
        missing = False
        while todo:
            part = todo.pop()
            if part == "..":
                if done:
                    done.pop()
                missing = False
                continue
            done.append(part)
            status = None if missing else self.lstat("/" + "/".join(done))
            missing = status is None
            if status is None or not stat.S_ISLNK(status.st_mode):
                continue
            links += 1
            if links > MAX_LINKS:
                raise FileError("too many links")
            target = self._readlink("/".join(done))
            done.pop()
            if todo or not target.startswith("/"):
                # `x/..` in such a target is dropped by name, whatever x is: so does the reference.
                target = clean(posixpath.join("/", *done, target))
            done.clear()
            todo.extend(part for part in reversed(target.split("/")) if part and part != ".")
        return "/" + "/".join(done)

    def _is_plain(self, parts: list[str]) -> bool:
        """Whether the kernel can say at once that there is no link on the way, or only nothing at its end."""
        if ".." in parts or not _openat2_works[0]:
            return False
        try:
            found = _open_plain(self.fd, "/".join(parts), PATH | NOFOLLOW | CLOEXEC)
            try:
                return not stat.S_ISLNK(os.fstat(found).st_mode)  # with O_PATH the link itself is opened
            finally:
                os.close(found)
        except FileNotFoundError:
            try:
                os.close(_open_plain(self.fd, "/".join(parts[:-1]), _OPEN_PATH))
            except OSError:
                return False
            return self.lstat("/".join(parts)) is None
        except OSError:
            return False

    def resolve_parent(self, path: str) -> str:
        """As `resolve`, but a link in the last component stays."""
        _sound(path)
        directory, name = posixpath.split(clean(posixpath.join("/", path)))
        return posixpath.join(self.resolve(directory), name) if name else "/"

    def _readlink(self, path: str) -> str:
        try:
            return os.readlink(path, dir_fd=self.fd)
        except OSError as error:
            raise failed("readlink", "/" + path, error) from error

    def open_dir(self, path: str, *, read: bool = False) -> int:
        """Open a directory by its resolved path, following nothing.

        Args:
            path: as `resolve` gave it.
            read: also for listing.

        Raises:
            UnsafePath: a component has become a link.
            FileError: a component is missing or not a directory.
        """
        plain = path.strip("/")
        if f"/{plain}/".find("/../") >= 0:
            raise UnsafePath(f"path {path} is not resolved")
        last = _OPEN_READ if read else _OPEN_PATH
        if "/" in plain and _openat2_works[0]:
            try:
                return _open_plain(self.fd, plain, last)
            except OSError:
                pass  # which component it was is found by walking
        parts = [part for part in plain.split("/") if part]
        fd = os.open(".", _OPEN_PATH if parts else last, dir_fd=self.fd)
        for number, part in enumerate(parts):
            try:
                inner = os.open(part, last if number == len(parts) - 1 else _OPEN_PATH, dir_fd=fd)
            except OSError as error:
                _refuse(error, fd, part, "/" + "/".join(parts[: number + 1]))
            finally:
                os.close(fd)
            fd = inner
        return fd

    def open_regular(self, path: str) -> BinaryIO | None:
        """Open a regular file for reading; links are followed inside the root. None where nothing is.

        Raises:
            NotRegular: it is something else; what takes its place meanwhile is not waited for either.
            UnsafePath: a component has become a link.
            FileError: it cannot be opened.
        """
        resolved = self.resolve(path)
        status = self.lstat(resolved)
        if status is None:
            return None
        if not stat.S_ISREG(status.st_mode):  # a device is not even opened
            raise NotRegular("not a regular file")
        with self.parent(resolved, "open") as (folder, name):
            return open_regular(folder, name, resolved)

    @contextmanager
    def parent(self, path: str, call: str = "") -> Iterator[tuple[int, str]]:
        """The open directory of a resolved path, and the name in it (`.` for the root itself).

        Args:
            path: as `resolve` gave it.
            call: what is to be done there, for the message if the directory cannot be opened.
        """
        directory, name = posixpath.split(path)
        try:
            fd = self.open_dir(directory)
        except FileError as error:
            if not call or not isinstance(error.__cause__, OSError):
                raise
            raise failed(call, path, error.__cause__) from error
        try:
            yield fd, name or "."
        finally:
            os.close(fd)


def _sound(path: str) -> None:
    """Refuse a name that the system cannot be told, in the words of Go's library."""
    if "\0" in path:
        raise FileError(f"open {path!r}: invalid argument", number=errno.EINVAL)


def _open_plain(root: int, path: str, flags: int) -> int:
    """Open a path on which there are no links, however long it is.

    Raises:
        OSError: as the kernel says; ELOOP for a link.
    """
    left = os.fsencode(path) or b"."
    here = root
    try:
        while True:
            cut = len(left) if len(left) <= _PATH_MAX else left.rfind(b"/", 0, _PATH_MAX)
            if cut < 0:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            piece, left = left[:cut], left[cut + 1 :]
            try:
                inner = openat2(here, piece, _OPEN_PATH if left else flags, NO_SYMLINKS)
            except OSError as error:
                if error.errno in (errno.ENOSYS, errno.EPERM):
                    _openat2_works[0] = False
                raise
            if here != root:
                os.close(here)
            here = inner
            if not left:
                return here
    except BaseException:
        if here != root:
            os.close(here)
        raise


def open_entry(fd: int, name: str, flags: int, shown: str) -> int:
    """Open an entry of an open directory; `flags` must hold O_NOFOLLOW.

    Raises:
        UnsafePath: it is a link.
        FileError: it cannot be opened.
    """
    try:
        return os.open(name, flags, dir_fd=fd)
    except OSError as error:
        _refuse(error, fd, name, shown)


def open_regular(fd: int, name: str, shown: str) -> BinaryIO:
    """Open a regular file of an open directory for reading, following nothing and waiting for nobody.

    Raises:
        NotRegular: it is something else.
        UnsafePath: it is a link.
        FileError: it cannot be opened.
    """
    handle = open_entry(fd, name, _REGULAR, shown)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotRegular("not a regular file")
    return open(handle, "rb")  # noqa: PTH123 - a descriptor


def _refuse(error: OSError, fd: int, name: str, shown: str) -> NoReturn:
    if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(fd, name):
        raise UnsafePath(f"{shown}: became a symbolic link") from error
    raise failed("open", shown, error) from error


def _is_link(fd: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
    except OSError:
        return False


def open_subdir(fd: int, name: str, shown: str, *, read: bool = False) -> int:
    """Open a directory in an open directory, following nothing."""
    return open_entry(fd, name, _OPEN_READ if read else _OPEN_PATH, shown)


def entries(fd: int) -> list[str]:
    """The names in a directory that is open for reading."""
    return os.listdir(fd)


def remove_tree(fd: int, name: str, shown: str) -> None:
    """Remove an entry and all below it; nothing there is fine. Links are removed, not followed."""
    pending: list[tuple[int, str, list[str]]] = []  # open directory, its name in the one before, entries left
    try:
        names = [name]
        here = fd
        while True:
            if names:
                entry = names.pop()
                if _unlink(here, entry, shown):
                    continue
                inner = open_subdir(here, entry, shown, read=True)
                pending.append((inner, entry, names))
                here, names = inner, entries(inner)
                if len(pending) > 512:
                    _remove_deep(here, names, shown)
                    names = []
            elif pending:
                inner, entry, names = pending.pop()
                os.close(inner)
                here = pending[-1][0] if pending else fd
                try:
                    os.rmdir(entry, dir_fd=here)
                except OSError as error:
                    raise failed("unlinkat", shown, error) from error
            else:
                return
    finally:
        for inner, _, _ in pending:
            os.close(inner)


def _unlink(fd: int, name: str, shown: str) -> bool:
    """Remove what is not a directory; False for a directory."""
    try:
        os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.EPERM) and stat.S_ISDIR(
            os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
        ):
            return False
        raise failed("unlinkat", shown, error) from error
    return True


def _remove_deep(fd: int, names: list[str], shown: str) -> None:
    """Flatten what lies very deep: move each directory's entries up one level until nothing is left below.

    Keeps the number of open directories bounded for a tree of any depth.
    """
    serial = 0
    while names:
        entry = names.pop()
        if _unlink(fd, entry, shown):
            continue
        inner = open_subdir(fd, entry, shown, read=True)
        try:
            for child in entries(inner):
                serial += 1
                flat = f".dockc-removed-{serial}"
                os.rename(child, flat, src_dir_fd=inner, dst_dir_fd=fd)
                names.append(flat)
        finally:
            os.close(inner)
        os.rmdir(entry, dir_fd=fd)
