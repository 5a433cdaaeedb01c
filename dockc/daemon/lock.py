"""One process of a kind for a directory, as long as it lives."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

_log = logging.getLogger("dockc.daemon")


_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def take(file: Path) -> int | None:
    """Lock a file, made where it is missing, for a process that is to be started: it inherits what this returns. None
    where somebody holds it.

    Raises:
        OSError: it cannot be locked.
    """
    handle = os.open(file, _FLAGS, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return handle


def hold(file: Path, folder: Path, taken: int = -1) -> tuple[int, ...]:
    """Lock a file, made where it is missing, and a directory beside it: the file may be removed while its holder runs,
    and another one of the same name be locked. To be held as long as what this returns is open.

    Args:
        file: what is locked, and made where it is missing.
        folder: the directory.
        taken: the file as whoever started this process has locked it (`take`); -1 where nobody has.

    Raises:
        BlockingIOError: somebody else holds one of them.
        OSError: the file cannot be locked, or one of them not be opened.
    """
    held: list[int] = []
    try:
        if taken >= 0 and os.path.samestat(os.fstat(taken), os.lstat(file)):
            os.set_inheritable(taken, False)
            held.append(taken)
        else:
            held.append(os.open(file, _FLAGS, 0o600))
        fcntl.flock(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW))
        try:
            fcntl.flock(held[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            _log.info("%s is on a file system whose directories cannot be locked", folder)
    except OSError:
        for handle in held:
            os.close(handle)
        raise
    return tuple(held)
