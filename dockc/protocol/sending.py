"""Sending a tree of files in the format of the Go package fsutil: the context to a builder, a result to its client.

The sender names every entry in order (STAT), ends the list with an empty STAT, and meanwhile answers requests by number
(REQ) with
the content in pieces (DATA), an empty one last. The receiver ends with FIN, which is answered.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.aside import aside
from dockc.base.openflags import BINARY, CLOEXEC, NOFOLLOW, NONBLOCK
from dockc.errors import DockcError
from dockc.golang.modes import to_go
from dockc.rpc.calls import parsed
from dockc.rpc.pb import session_pb2
from dockc.rpc.status import INTERNAL, RpcError

if TYPE_CHECKING:
    from dockc.rpc.calls import Call
    from dockc.runtime.fsutil.walk import Entry

STAT, REQ, DATA, FIN, ERR = range(5)
_PIECE = 128 << 10
_BATCH = 256
_BATCH_BYTES = 1 << 20
_READ = os.O_RDONLY | NOFOLLOW | CLOEXEC | NONBLOCK | BINARY


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def stat_packet(
    entry: Entry, *, root_owned: bool, xattrs: dict[str, bytes] | None = None, time: int | None = None
) -> bytes:
    """The packet that names an entry."""
    status = entry.status
    mode = status.st_mode
    if stat.S_ISSOCK(mode):  # an empty file stands for it
        mode = stat.S_IFREG | stat.S_IMODE(mode)
    if sys.platform == "win32":  # whose permissions say nothing: as BuildKit's clients there, all can be run
        mode = stat.S_IFMT(mode) | ((stat.S_IMODE(mode) | 0o111) & 0o755)
    message = session_pb2.Stat(
        path=os.fsencode(entry.path),
        mode=to_go(mode),
        uid=0 if root_owned else status.st_uid,
        gid=0 if root_owned else status.st_gid,
        modTime=status.st_mtime_ns if time is None else time,
        linkname=os.fsencode(entry.same_as or entry.link),
    )
    if (stat.S_ISREG(mode) or stat.S_ISLNK(mode)) and not entry.same_as:
        message.size = status.st_size
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        message.devmajor, message.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    for key, value in (xattrs or {}).items():
        message.xattrs[key] = value
    return session_pb2.Packet(type=session_pb2.Packet.PACKET_STAT, stat=message).SerializeToString()


class Sender:
    """Sends one tree over a call.

    Args:
        call: the call, from either end.
        root: the directory.
        entries: walks it; runs in a thread.
        root_owned: everything belongs to root, whoever owns it here.
        xattrs: send extended attributes too.
        where: path of an entry's file, where it is not below `root` under its name.
        time: modification time of everything, nanoseconds, or None for the files' own.

    Attributes:
        sent: bytes of file content.
        named: entries.
    """

    def __init__(
        self,
        call: Call,
        root: Path,
        entries: Callable[[], Iterator[Entry]],
        *,
        root_owned: bool,
        xattrs: bool = False,
        where: Callable[[str], Path] | None = None,
        time: int | None = None,
    ) -> None:
        self._call, self._entries, self._root_owned, self._xattrs = call, entries, root_owned, xattrs
        self._where, self._start = where, f"{root}{os.sep}"
        self._time = time
        self._files: dict[int, str] = {}
        self._wanted: deque[int] = deque()
        self._news = asyncio.Event()
        self._over = False
        self._error: str | None = None
        self.sent = self.named = 0

    async def run(self) -> None:
        """Send everything that is asked for.

        Raises:
            DockcError: something cannot be read.
            RpcError: the call failed, or the receiver says that something is wrong.
        """
        walking = asyncio.create_task(self._walk())
        hearing = asyncio.create_task(self._hear())
        try:
            while True:
                self._news.clear()
                while self._wanted:
                    await self._answer()
                if self._error is not None:
                    raise RpcError(f"error from receiver: {self._error}", code=INTERNAL)
                if walking.done() and not walking.cancelled():
                    walking.result()
                if self._over:
                    break
                await self._news.wait()
            await walking
            with suppress(RpcError):  # it may have gone as soon as it had all
                await self._call.send(b"\x08\x03")
        except DockcError as exc:
            if not isinstance(exc, RpcError):
                with suppress(RpcError):
                    await self._call.send(
                        session_pb2.Packet(
                            type=session_pb2.Packet.PACKET_ERR, data=exc.message.encode("utf-8", "replace")
                        ).SerializeToString()
                    )
            raise
        finally:
            for task in (walking, hearing):
                task.cancel()
            await asyncio.gather(walking, hearing, return_exceptions=True)

    async def _hear(self) -> None:
        try:
            while (messages := await self._call.receive_all()) is not None:
                for data in messages:
                    packet = parsed(data, session_pb2.Packet)
                    if packet.type == REQ:
                        if len(self._wanted) >= self.named:
                            raise RpcError("the receiver asks for more files than there are", code=INTERNAL)
                        self._wanted.append(packet.ID)
                    elif packet.type == FIN:
                        self._over = True
                    elif packet.type == ERR:
                        self._error = packet.data.decode("utf-8", "replace")
                self._news.set()
        except RpcError as exc:
            self._error = exc.message
        except Exception as exc:  # no packet
            self._error = f"{exc}"
        finally:
            self._over = True
            self._news.set()

    async def _walk(self) -> None:
        try:
            entries = self._entries()
            while batch := await aside(self._batch, entries):
                for packet, path in batch:
                    if path is not None:
                        self._files[self.named] = path
                    self.named += 1
                    if not self._call.send_now(packet):
                        await self._call.send(packet)
            await self._call.send(b"")  # a STAT of nothing: all fields have their defaults
        finally:
            self._news.set()

    def _batch(self, entries: Iterator[Entry]) -> list[tuple[bytes, str | None]]:
        made = []
        for entry in islice(entries, _BATCH):
            xattrs = self._attributes(entry) if self._xattrs else None
            # A file that is the same as an earlier one too: who takes only some files may not have taken that one.
            regular = stat.S_ISREG(entry.status.st_mode) or stat.S_ISSOCK(entry.status.st_mode)
            made.append(
                (
                    stat_packet(entry, root_owned=self._root_owned, xattrs=xattrs, time=self._time),
                    entry.path if regular else None,
                )
            )
        return made

    def _attributes(self, entry: Entry) -> dict[str, bytes]:
        if sys.platform != "linux":  # those of other systems mean nothing to a builder
            return {}
        path = self._place(entry.path)
        try:
            names = os.listxattr(path, follow_symlinks=False)
            return {
                name: os.getxattr(path, name, follow_symlinks=False) for name in names if not name.startswith("system.")
            }
        except OSError:
            return {}

    async def _answer(self) -> None:
        """Send the content of what is wanted, some files at a time: threads read, the loop sends."""
        paths: list[tuple[int, str]] = []
        while self._wanted and len(paths) < _BATCH:
            number = self._wanted.popleft()
            path = self._files.pop(number, None)
            if path is None:
                raise RpcError(f"invalid file id {number}", code=INTERNAL)
            paths.append((number, path))
        reader = self._read(paths)
        with closing(reader):
            while packets := await aside(next, reader, None):
                for packet in packets:
                    if not self._call.send_now(packet):
                        await self._call.send(packet)

    def _read(self, paths: list[tuple[int, str]]) -> Generator[list[bytes]]:
        """Packets of these files, about a megabyte at a time."""
        packets: list[bytes] = []
        size = 0
        for number, path in paths:
            head = b"\x08\x02" + (b"\x18" + varint(number) if number else b"")
            for data in self._content(path):
                packets.append(head + b"\x22" + varint(len(data)) + data)
                size += len(data)
                self.sent += len(data)
                if size >= _BATCH_BYTES:
                    yield packets
                    packets, size = [], 0
            packets.append(head)
        if packets:
            yield packets

    def _content(self, path: str) -> Iterator[bytes]:
        place = self._place(path)
        try:
            fd = os.open(place, _READ)
        except OSError as exc:
            if exc.errno == 6:  # a socket
                return
            raise DockcError(f"open {Path(place)}: {(exc.strerror or str(exc)).lower()}") from exc
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return
            # One byte more than there is: where less comes that is the end, and a small file is read with one call.
            left = status.st_size
            wanted = min(left + 1, _PIECE)
            while data := os.read(fd, wanted):
                yield data
                left -= len(data)
                if not left and len(data) < wanted:
                    return
                wanted = _PIECE
        except OSError as exc:
            raise DockcError(f"read {Path(place)}: {(exc.strerror or str(exc)).lower()}") from exc
        finally:
            os.close(fd)

    def _place(self, path: str) -> str:
        """Where an entry's file is."""
        return self._start + path if self._where is None else str(self._where(path))
