"""Files in the user's cache: read only where nobody else can have written them, written whole or not at all.

Nothing depends on them. What cannot be read is missing, and where nothing can be written nothing is.
"""

from __future__ import annotations

import os
import sys
import time

from dockc.base.hashing import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DAY = 86_400.0
_DIGEST = 64


def place(environ: Mapping[str, str]) -> str | None:
    """Dockc's directory in the user's cache, whether it is there or not; None where there is no place for one."""
    if sys.platform == "win32":  # nothing there says that a directory is ours alone
        return None
    base = environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):
        home = environ.get("HOME", "")
        if not home.startswith("/"):
            return None
        base = f"{home}/.cache"
    return f"{base}/dockc"


def ours(folder: str) -> bool:
    """Whether a directory is there, belongs to us, and nobody else may write into it."""
    try:
        status = os.stat(folder)
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def made(folder: str) -> bool:
    """Make a directory that is `ours`, but not in another user's home: that would lock the user out of it."""
    if os.path.isdir(folder):
        return ours(folder)
    above = folder
    while not os.path.exists(above):
        above = os.path.dirname(above)
    try:
        if os.stat(above).st_uid != os.geteuid():
            return False
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError:
        return False
    return ours(folder)


def read(path: str) -> bytes | None:
    """What `write` wrote into a directory that is `ours`; None where it is not there whole, or not ours."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with open(number, "rb") as file:
        status = os.fstat(number)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            return None
        try:
            data = file.read()
            if status.st_mtime < time.time() - DAY:
                os.utime(number)
        except OSError:
            return None
    body = data[_DIGEST:]
    return body if data[:_DIGEST] == sha256(body).encode() else None


def write(path: str, body: bytes) -> bool:
    """Write a file under another name and rename it, so that processes may share it; whether that was possible."""
    folder, _, name = path.rpartition("/")
    new = f"{folder}/.{os.getpid()}-{name}"
    try:
        with open(new, "xb", opener=private) as file:
            file.write(sha256(body).encode() + body)
        os.replace(new, path)
    except OSError:
        remove(new)
        return False
    return True


def private(path: str, flags: int) -> int:
    """Opens files that are for us alone."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def remove(path: str) -> None:
    """Remove a file, if that is possible."""
    try:
        os.unlink(path)
    except OSError:
        pass
