"""What a foreign archive may ask for: bombs are refused by what they say, before the disk is full of them."""

from __future__ import annotations

import errno
import os

from dockc.base.record import Record

_WORTH_A_LOOK = 64 << 20


class Limits(Record):
    """What one layer or archive may ask for; more raises InvalidTar.

    Attributes:
        total: bytes of all files together, holes included.
        entries: members of the archive.
        header: bytes of one extended header.
    """

    total: int = 256 << 30
    entries: int = 8_000_000
    header: int = 1 << 20


def check_room(descriptor: int, size: int) -> None:
    """Refuse a file that its disk cannot take, before a byte of it is written.

    Raises:
        OSError: ENOSPC, as the kernel would say when all is lost.
    """
    if size < _WORTH_A_LOOK:
        return
    state = os.fstatvfs(descriptor)
    free = state.f_bfree if os.geteuid() == 0 else state.f_bavail
    if size > free * state.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
