"""Reading files of which nobody knows what they are."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys

from dockc.base.openflags import BINARY, CLOEXEC, NOFOLLOW, NONBLOCK
from dockc.errors import DockcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from typing import BinaryIO, TypeVar

    from _typeshed import WriteableBuffer

    T = TypeVar("T")

_GIVEN = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
#: So many entries of a directory are looked at for what else may have been meant.
_LOOKED_AT = 1000
#: A Dockerfile or ignore file is not larger than this, bytes.
FILE_LIMIT = 64 << 20


def read_file(path: str | PathLike[str]) -> bytes:
    """A file of limited size.

    Raises:
        DockcError: it is missing, unreadable, not a regular file, or too large.
    """
    try:
        # A pipe that somebody left in the place of a file would keep us waiting; one that a shell hands over is meant.
        given = os.fspath(path).startswith(_GIVEN)
        with open(path, "rb", opener=None if given else _open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISDIR(mode):
                raise DockcError(f"failed to read dockerfile: {path} is a directory")
            if not stat.S_ISREG(mode) and not given:
                raise DockcError(f"failed to read dockerfile: {path} is not a regular file")
            data = _read(file)
    except OSError as exc:
        if not isinstance(exc, FileNotFoundError):
            raise DockcError(f"failed to read dockerfile: open {path}: {(exc.strerror or str(exc)).lower()}") from exc
        if not os.path.isabs(path):
            need_directory()
        message = f"failed to read dockerfile: open {path}: no such file or directory"
        raise DockcError(message, hint=_instead_of(os.fspath(path))) from exc
    if len(data) > FILE_LIMIT:
        raise DockcError(f"failed to read dockerfile: {path} is larger than {FILE_LIMIT} bytes")
    return data


def dockerfiles_beside(path: str) -> list[str]:
    """Dockerfiles in the directory of one that is not there, in order.

    Raises:
        OSError: the directory cannot be read.
    """
    folder = os.path.dirname(path)
    with os.scandir(folder or os.curdir) as entries:
        names = [entry.name for _, entry in zip(range(_LOOKED_AT), entries, strict=False) if entry.is_file()]
    return sorted(os.path.join(folder, name) for name in names if _is_dockerfile(name))


def _instead_of(path: str) -> str:
    """What may have been meant by a Dockerfile that is not there."""
    try:
        found = dockerfiles_beside(path)
    except OSError:
        return f"There is no directory {os.path.dirname(path)}."
    if not found:
        return "The argument is the directory; `-f FILE` names a Dockerfile that is called otherwise."
    return f"{there_are(found)}: `-f` names {'it' if len(found) == 1 else 'one'}."


def there_are(names: list[str]) -> str:
    """A few of what is there instead, without the end of the sentence; at least one."""
    if len(names) == 1:
        return f"There is {names[0]}"
    if len(names) < 4:
        return f"There are {', '.join(names[:-1])} and {names[-1]}"
    return f"There are {len(names)} others, such as {names[0]}"


def _is_dockerfile(name: str) -> bool:
    folded = name.lower()
    return not folded.endswith((".dockerignore", "~")) and (
        folded.startswith(("dockerfile", "containerfile")) or folded.endswith((".dockerfile", ".containerfile"))
    )


def need_directory() -> None:
    """Without the current directory no path that begins in it means anything.

    Raises:
        DockcError: it is gone.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise DockcError("the current directory is gone", hint="Go to one that is there.") from None


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | NONBLOCK)


def open_regular(path: str | PathLike[str], *, follow: bool = True) -> BinaryIO:
    """Open a regular file. What else may stand in its place, such as a pipe, keeps nobody waiting and is refused; one
    that a shell hands over (`<(command)`) is meant.

    Args:
        path: the file.
        follow: a link at its end too.

    Raises:
        OSError: it is missing, cannot be opened, or is no regular file (EINVAL).
    """
    given = os.fspath(path).startswith(_GIVEN)
    flags = os.O_RDONLY | CLOEXEC | BINARY | (0 if given else NONBLOCK) | (0 if follow else NOFOLLOW)
    handle = os.open(path, flags)
    status = os.fstat(handle)
    if given:
        return open(handle, "rb")
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        text = os.strerror(number) if number == errno.EISDIR else "not a regular file"
        raise OSError(number, text, os.fspath(path))
    # What the kernel makes up as one reads has no size, and may have nothing to say yet.
    return open(handle, "rb") if status.st_size else io.BufferedReader(_Ready(handle, "rb"))


class _Ready(io.FileIO):
    """A file that is read as far as there is something: where there is nothing, it is said, and nobody waits."""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count: int | None = super().readinto(buffer)
        return self._said(count)

    def readall(self) -> bytes:
        return self._said(super().readall())

    def _said(self, what: T | None) -> T:
        if what is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return what


def open_stream(path: str | PathLike[str]) -> BinaryIO:
    """Open what is read from its beginning to its end: a file or a pipe, for whose writer one waits. Not a device,
    which may never end.

    Raises:
        OSError: it cannot be opened, or is neither (EINVAL).
    """
    file = open(path, "rb")  # noqa: SIM115  the caller closes it
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "neither a file nor a pipe", os.fspath(path))


def read_regular(path: str | PathLike[str], limit: int) -> bytes:
    """All of a file that somebody has named, as `open_regular` opens it.

    Raises:
        OSError: as of `open_regular`, or it is larger than `limit` bytes (EFBIG).
    """
    with open_regular(path) as file:
        data = _read(file, limit)
    if len(data) > limit:
        raise _too_large(path, limit)
    return data


def need_regular(path: str | PathLike[str], limit: int) -> None:
    """Look at a file before somebody else reads it (a library of C) who would wait for a pipe, and read a device for
    ever.

    Raises:
        OSError: as of `read_regular`, or it is empty (EINVAL).
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size > limit:
        raise _too_large(path, limit)
    if not size and not is_given(path):  # what the kernel makes up has none either, and may keep its reader waiting
        raise OSError(errno.EINVAL, "the file is empty", os.fspath(path))


def _too_large(path: str | PathLike[str], limit: int) -> OSError:
    return OSError(errno.EFBIG, f"larger than {limit} bytes", os.fspath(path))


def is_given(path: str | PathLike[str]) -> bool:
    """Whether a path is a descriptor that a shell hands over."""
    return os.fspath(path).startswith(_GIVEN)


def store_root() -> str:
    """Where the user's store is: `$DOCKC_STORE`, else `/var/lib/dockc` for root, `$XDG_DATA_HOME/dockc` for others.

    Must be called before the builder enters its user namespace, in which everybody is root.

    Raises:
        UsageError: `$DOCKC_STORE` is not an absolute path.
    """
    if chosen := os.environ.get("DOCKC_STORE"):
        if not os.path.isabs(chosen):
            raise UsageError(f"DOCKC_STORE={chosen} is not an absolute path")
        return chosen
    if sys.platform != "win32" and os.geteuid() == 0 and _is_initial_namespace():
        return "/var/lib/dockc"
    data = os.environ.get("XDG_DATA_HOME", "")
    if not data.startswith("/"):
        data = os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(data, "dockc")


def _is_initial_namespace() -> bool:
    try:
        with open("/proc/self/uid_map", "rb") as file:
            return file.read().split() == [b"0", b"0", b"4294967295"]
    except OSError:
        return True


def docker_folder(environ: Mapping[str, str]) -> str:
    """Where Docker's configuration is: `$DOCKER_CONFIG`, else `.docker` in the user's home.

    The list of users knows the home where `$HOME` does not say; who has none there has `/`, never the current directory,
    in which anybody's files may be.
    """
    if chosen := environ.get("DOCKER_CONFIG"):
        return os.path.expanduser(chosen)
    home = environ.get("HOME") or os.path.expanduser("~")
    return os.path.join(home if os.path.isabs(home) else "/", ".docker")


def builders_file() -> str:
    """Where the user's builders are kept: `$XDG_CONFIG_HOME/dockc/builders.json`, whether the file exists or not."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    return os.path.join(
        home if home.startswith("/") else os.path.join(os.environ.get("HOME", "/"), ".config"), "dockc", "builders.json"
    )


def _read(file: BinaryIO, limit: int = FILE_LIMIT) -> bytes:
    """All of a file, a byte more than it may have at most; what is read at once is set aside beforehand."""
    parts: list[bytes] = []
    left = limit + 1
    while left and (part := file.read(min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def read_inside(root: str | PathLike[str] | None, name: str) -> bytes | None:
    """A small regular file below `root`, or None; a link that leads outside is not followed.

    Raises:
        DockcError: the file is too large.
    """
    if root is None:
        return None
    try:
        top = os.path.realpath(root)
        real = os.path.realpath(os.path.join(top, name), strict=True)
        if os.path.commonpath((top, real)) != top:
            return None
        with open_regular(real, follow=False) as file:
            data = _read(file)
    except (OSError, RuntimeError, ValueError):
        return None
    if len(data) > FILE_LIMIT:
        raise DockcError(f"{root}/{name} is larger than {FILE_LIMIT} bytes")
    return data
