"""One execution at a time of equal work, across all processes that share a store.

A lock is a byte range of one file, at an offset that follows from the name of the work. The kernel frees it when
the process ends, however it ends. Two names that fall on the same byte wait for each other needlessly and come
to no harm: whoever holds a lock waits for no other.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from dockc.errors import StoreError
from dockc.solver.core.cachekey import derived_key, root_key
from dockc.solver.core.events import Execute

_FLOCK = "hhqqi4x"
"""struct flock on 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid, padding to 32 bytes."""


_MOMENT = 0.5
_SPARE = 4
"""Descriptors that are kept open for the next ones, however many there were at once."""


class Flights:
    """The locks of one store. Each lock is held on an open file description of its own, which serves again for the
    next.

    Mutable: `_free`, descriptors that hold no lock; on the loop's thread.
    """

    def __init__(self, path: Path) -> None:
        """Use the lock file `path`; it is made if missing and stays empty."""
        self._path = path
        self._free: list[int] = []

    async def take(self, name: str, on_wait: Callable[[], None] | None = None) -> Flight:
        """Wait until no other process does the work called `name`, and hold it.

        Args:
            name: see `flight_name`.
            on_wait: called once when it takes longer than a moment.

        Raises:
            StoreError: the lock file cannot be opened, or the file system has no locks.
        """
        offset = int.from_bytes(sha256(name.encode()).digest()[:7], "big")
        fd = await self._descriptor()
        flight = Flight(self, fd, offset)
        wait, waited = 0.002, 0.0
        try:
            while not self._try(fd, offset):
                await asyncio.sleep(wait)
                if waited < _MOMENT <= waited + wait and on_wait is not None:
                    on_wait()
                waited += wait
                wait = min(wait * 1.5, 0.2)
        except BaseException:
            flight.land()
            raise
        return flight

    async def _descriptor(self) -> int:
        """One that holds no lock. Opening is a matter for a thread: the file may lie on a slow disk."""
        if self._free:
            return self._free.pop()
        opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._unwanted)
            raise

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open the lock file {self._path}: {error.strerror}") from error

    def _unwanted(self, opening: asyncio.Future[int]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._free.append(opening.result())

    def give_back(self, fd: int, offset: int) -> None:
        """Take a descriptor back, and end the lock that it holds."""
        if len(self._free) >= _SPARE:
            os.close(fd)  # which ends the lock too
            return
        request = struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, offset, 1, 0)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, request)
        except OSError:
            os.close(fd)  # which ends the lock too
        else:
            self._free.append(fd)

    def close(self) -> None:
        """Close what is open and holds no lock."""
        while self._free:
            os.close(self._free.pop())

    def _try(self, fd: int, offset: int) -> bool:
        request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, request)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise StoreError(f"cannot lock {self._path}: {error.strerror}") from error
        return True


class Flight:
    """A held lock; `land()` gives it up."""

    __slots__ = ("_fd", "_flights", "_offset")

    def __init__(self, flights: Flights, fd: int, offset: int) -> None:
        self._flights = flights
        self._fd = fd
        self._offset = offset

    def land(self) -> None:
        """Give the lock up; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._flights.give_back(fd, self._offset)


def flight_name(command: Execute) -> str:
    """What equal work is called in every process: its digest and, of each input, the most telling name."""
    for _, specs in command.saves:
        for spec in specs:
            return derived_key(spec) if spec.deps else root_key(spec.digest, spec.output)
    return command.vertex
