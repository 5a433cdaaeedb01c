"""One process of a kind for a directory, as long as it lives."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

_log = logging.getLogger("dockc.daemon")


def hold(file: Path, folder: Path) -> tuple[int, ...]:
    """Lock a file, made where it is missing, and a directory beside it: the file may be removed while its holder runs,
    and another one of the same name be locked. To be held as long as what this returns is open.

    Raises:
        BlockingIOError: somebody else holds one of them.
        OSError: the file cannot be locked, or one of them not be opened.
    """
    held: list[int] = []
    try:
        held.append(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
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
