"""Where an output goes: a file that appears whole or not at all, or standard output."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dockc.base.openflags import BINARY, CLOEXEC, NOFOLLOW
from dockc.errors import StoreError, UsageError
from dockc.runtime.kernel import proc

STDOUT = "-"
_OWN_STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Names of this process's standard output, which it may not be allowed to open again."""
_MAX_LINKS = 40  # as the kernel
#: What file systems answer that know no files without a name.
_NO_UNNAMED = frozenset((errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT))


def is_stdout(dest: str) -> bool:
    """Whether a destination is this process's standard output, whatever it is called."""
    return dest == STDOUT or os.path.abspath(dest) in _OWN_STDOUT  # noqa: PTH100 - links are not to be followed


def check_destination(kind: str, dest: str, *, directory: bool) -> None:
    """Refuse a destination that cannot work, before anything is built.

    Raises:
        UsageError: with buildx's message.
    """
    if dest == STDOUT:
        if sys.stdout.isatty():
            raise UsageError(f"dest file is required for {kind} exporter. refusing to write to console")
        return
    path = Path(dest)
    try:
        present = path.exists()
    except OSError as error:
        noun = "directory" if directory else "file"
        raise UsageError(f"invalid destination {noun}: {dest}: {error.strerror}") from None
    if present and directory and not path.is_dir():
        raise UsageError(f"destination directory {dest} is a file")
    if present and not directory and path.is_dir():
        raise UsageError(f"destination file {dest} is a directory")


@contextmanager
def open_output(dest: str) -> Iterator[BinaryIO]:
    """A stream to write an archive to. A file appears under its name when the block ends well.

    Raises:
        StoreError: it cannot be written (full disk, no permission).
    """
    if is_stdout(dest):
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise StoreError("the reader of the output is gone") from None
        except OSError as error:
            raise StoreError(f"cannot write to standard output: {error.strerror}") from error
        return
    target = _behind_links(Path(dest))
    if target.is_symlink() or (
        target.exists() and not target.is_file()
    ):  # a pipe, a device, an open file: written to as it is
        with _telling(dest), target.open("wb") as file:
            yield file
        return
    with _telling(dest):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.new")
        handle, named = _create(temporary)
        try:
            with os.fdopen(handle, "wb") as file:
                if sys.platform != "win32":
                    os.fchmod(file.fileno(), 0o666 & ~current_umask())
                yield file
                file.flush()
                os.fsync(file.fileno())
                if not named:
                    os.link(
                        f"/proc/self/fd/{file.fileno()}", temporary, src_dir_fd=file.fileno()
                    )  # a descriptor makes it follow the link
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _behind_links(path: Path) -> Path:
    """What is written where a destination is a symbolic link: the file that it leads to, which need not be there yet.

    A link of the kernel's own (/dev/stdout, /proc/self/fd/1) leads to an open file and not to a name: it stays, to be
    opened.
    """
    seen = 0
    while path.is_symlink():
        if os.path.realpath(path.parent).startswith("/proc/"):
            return path
        seen += 1
        if seen > _MAX_LINKS:
            raise StoreError(f"cannot write {path}: {os.strerror(errno.ELOOP)}")
        path = path.parent / path.readlink()
    return path


def _create(path: Path) -> tuple[int, bool]:
    """A new file to write, which goes with its process as long as it has no name; whether it had to be given one."""
    if sys.platform == "linux":
        try:
            return os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | CLOEXEC, 0o600), False
        except OSError as error:
            if error.errno not in _NO_UNNAMED:
                raise
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW | CLOEXEC | BINARY, 0o600), True


@contextmanager
def _telling(dest: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write {dest}: {error.strerror}") from error


def current_umask() -> int:
    """The process's umask; on Linux it is read without changing it."""
    if sys.platform != "linux":
        umask = os.umask(0o077)  # for a moment: there is no other way
        os.umask(umask)
        return umask
    return int(proc.status("Umask") or "022", 8)
