"""Receiving a tree of files in the format of the Go package fsutil.

The peer is not trusted. The list of entries is checked as it comes: order, clean relative names, parents that are
directories, hard links
to what was named before. What is written is written relative to open directories, and no link is followed.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from dockc.base.aside import aside
from dockc.base.record import replace
from dockc.errors import DockcError
from dockc.golang.modes import from_go
from dockc.protocol.sending import DATA, varint
from dockc.rpc.pb import session_pb2
from dockc.rpc.status import INTERNAL, RpcError
from dockc.runtime.fsutil.arriving import Item, Target

if TYPE_CHECKING:
    from dockc.rpc.calls import Call
    from dockc.runtime.fsutil.outline import Outline

MAX_ENTRIES = 4_000_000
MAX_PATH = 4095
"""Bytes of a path or of a link's target: no more can be named on Linux (`PATH_MAX`, with its zero byte)."""
MAX_LIST = 256 << 20
"""Bytes of all names, links and extended attributes together."""
MAX_OPEN = 256
"""Files whose content may come at the same time."""
_NONE: Mapping[str, bytes] = MappingProxyType({})
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_MANY = 100
_GATHER = 0.002
"""Seconds to let content gather where more than that many files are still to come: each time it is written a thread
has to be woken, which takes longer than to write a small file.
"""
_SLICE = 1000
"""Packets that are handled before the loop has its turn."""


class BadTree(DockcError):
    """A peer's list of files that cannot be taken."""


class Listing:
    """The entries that a peer names, checked one by one.

    Attributes:
        items: in the peer's order; the number of an item is how it is asked for.
    """

    def __init__(self, limit: int = MAX_ENTRIES) -> None:
        self.items: list[Item] = []
        self._limit = limit
        self._bytes = 0
        self._kinds: dict[str, bool] = {"": True}  # path -> whether it is a directory
        self._files: set[str] = set()
        self._last: list[bytes] = []

    def add(self, told: session_pb2.Stat) -> Item:
        """Take one more.

        Raises:
            BadTree: it cannot be.
        """
        raw, raw_link, xattrs = told.path, told.linkname, told.xattrs
        path, linkname = raw.decode(_ENCODING, _ERRORS), raw_link.decode(_ENCODING, _ERRORS) if raw_link else ""
        parts = raw.split(b"/")
        if b"" in parts or b"." in parts or b".." in parts or b"\0" in raw:
            raise BadTree(f"invalid path {path[:MAX_PATH]!r} from the sender")
        if len(raw) > MAX_PATH or len(raw_link) > MAX_PATH:
            raise BadTree(f"the sender has a path of more than {MAX_PATH} bytes: {path[:80]!r}...")
        attributes = dict(xattrs) if xattrs else _NONE
        if b"\0" in raw_link or any("\0" in key for key in attributes):
            raise BadTree(f"{path!r} has a link or an attribute with a zero byte in its name")
        self._bytes += len(raw) + len(raw_link)
        if attributes:
            self._bytes += sum(len(key) + len(one) for key, one in attributes.items())
        if self._bytes > MAX_LIST:
            raise BadTree(f"the names and attributes of the sender's files are larger than {MAX_LIST} bytes")
        if parts <= self._last:
            raise BadTree(f"the sender's files are out of order at {path!r}")
        if len(self.items) >= self._limit:
            raise BadTree(f"the sender has more than {self._limit} files")
        parent = path.rpartition("/")[0]
        if not self._kinds.get(parent, False):
            raise BadTree(f"the sender has {path!r} in something that is no directory")
        mode = from_go(told.mode)
        kind = stat.S_IFMT(mode)
        if not mode:
            raise BadTree(f"{path!r} is of an unknown type")
        link = same_as = ""
        if linkname:
            if kind == stat.S_IFLNK:
                link = linkname
            else:
                same_as = linkname.lstrip("/")
                if same_as not in self._files:
                    raise BadTree(f"{path!r} is a link to {linkname!r}, which is not there")
        elif kind == stat.S_IFLNK:
            raise BadTree(f"{path!r} is a link to nothing")
        device = _device_of(told, path) if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
        item = Item(path, mode, told.uid, told.gid, told.size, told.modTime, link, same_as, device, attributes)
        self._last = parts
        self._kinds[path] = kind == stat.S_IFDIR
        if kind not in (stat.S_IFDIR, stat.S_IFLNK):
            self._files.add(path)
        self.items.append(item)
        return item


def _device_of(told: session_pb2.Stat, path: str) -> int:
    if not (0 <= told.devmajor < 1 << 12 and 0 <= told.devminor < 1 << 20):
        raise BadTree(f"{path!r} has a device number that there is not: {told.devmajor}:{told.devminor}")
    return os.makedev(told.devmajor, told.devminor)


Choose = Callable[[list[Item]], tuple[list[int], Target]]
"""Told all items; which of them, by number, are wanted, and where they go. Runs in a thread."""


def outlined(outline: Outline, choose: Choose) -> Choose:
    """Have an outline hear of everything, and only what it chooses taken."""

    def some(items: list[Item]) -> tuple[list[int], Target]:
        outline.take(items)
        numbers = [number for number, item in enumerate(items) if item.path in outline.chosen]
        taken = [items[number] for number in numbers]
        for at, item in enumerate(taken):
            first = outline.firsts.get(item.path, item.path)
            if item.same_as != ("" if first == item.path else first):  # the file that it is a link to does not come
                taken[at] = items[numbers[at]] = replace(item, same_as="" if first == item.path else first)
        wanted, target = choose(taken)
        return [numbers[at] for at in wanted], target

    return some


async def receive(
    call: Call, choose: Choose, *, report: Callable[[int, bool], None] | None = None, limit: int = MAX_ENTRIES
) -> int:
    """Take a tree, and say goodbye; bytes that came, those of the list with them: they are what `report` is told.

    Raises:
        DockcError: the peer's files cannot be taken, or its words say that it failed.
        RpcError: the call failed.
    """
    listing = Listing(limit)
    exchange = _Exchange(call, listing, choose, report)
    try:
        while not exchange.finished:
            if exchange.wanting > _MANY:
                await asyncio.sleep(_GATHER)
            messages = await call.receive_all()
            if messages is None:
                raise RpcError("the sender ended before its files had come", code=INTERNAL)
            for at in range(0, len(messages), _SLICE):
                if at:
                    await asyncio.sleep(0)  # others have their turn
                await exchange.take(messages[at : at + _SLICE])
    except DockcError as exc:
        if not isinstance(exc, RpcError):
            with suppress(RpcError):
                text = exc.message.encode("utf-8", "replace")
                await call.send(session_pb2.Packet(type=session_pb2.Packet.PACKET_ERR, data=text).SerializeToString())
        raise
    return exchange.bytes


class _Exchange:
    def __init__(
        self, call: Call, listing: Listing, choose: Choose, report: Callable[[int, bool], None] | None
    ) -> None:
        self._call, self._listing, self._choose, self._report = call, listing, choose, report
        self._target: Target | None = None
        self._open: dict[int, Item] = {}
        self._begun: set[int] = set()
        self.bytes = 0
        self.finished = False
        self._said_fin = False

    @property
    def wanting(self) -> int:
        """How many files are still to come."""
        return len(self._open)

    async def take(self, messages: list[bytes]) -> None:
        """Take some packets: names on the loop, content in a thread."""
        contents: list[tuple[int, bytes]] = []
        self.bytes += sum(map(len, messages))
        listing = self._listing
        for message in messages:
            found = data_of(message)
            if found is not None:
                contents.append(found)
                continue
            packet = _packet(message)
            match packet.type:
                case 0:  # STAT
                    if self._target is not None:
                        raise BadTree("the sender names files after the end of its list")
                    if packet.HasField("stat"):
                        listing.add(packet.stat)
                    else:
                        await self._listed()
                case 3:  # FIN, which answers ours
                    if not self._said_fin:
                        raise BadTree("the sender says that it is done before its files have come")
                    self.finished = True
                case 4:  # ERR
                    raise DockcError(f"error from sender: {packet.data.decode('utf-8', 'replace')}")
                case _:
                    raise BadTree(f"unexpected packet {packet.type} from the sender")
        if contents:
            await aside(self._write, contents)
        if self._report is not None:
            self._report(self.bytes, False)
        if self._target is not None and not self._open and not self._said_fin:
            self._said_fin = True
            await self._call.send(b"\x08\x03")

    async def _listed(self) -> None:
        wanted, self._target = await aside(self._choose, self._listing.items)
        self._open.update((number, self._listing.items[number]) for number in wanted)
        for count, number in enumerate(wanted, 1):
            if not count % _SLICE:
                await asyncio.sleep(0)
            packet = b"\x08\x01" + (b"\x18" + varint(number) if number else b"")
            if not self._call.send_now(packet):
                await self._call.send(packet)

    def _write(self, contents: list[tuple[int, bytes]]) -> None:
        target = self._target
        if target is None:
            raise BadTree("the sender sends content before the end of its list")
        wanted, begun = self._open, self._begun
        firsts: dict[int, bytes] = {}  # of files that have not begun and may be whole before these packets end
        for number, data in contents:
            item = wanted.get(number)
            if item is None:
                raise BadTree(f"the sender sends content of file {number}, which was not asked for")
            if number in begun:
                if data:
                    target.write(item, data)
                else:
                    target.end(item)
                    begun.remove(number)
                    del wanted[number]
            elif not data:
                target.whole(item, firsts.pop(number, b""))
                del wanted[number]
            elif number in firsts:
                self._begin(target, number, firsts.pop(number), data)
            elif len(begun) + len(firsts) >= MAX_OPEN:
                raise BadTree(f"the sender sends more than {MAX_OPEN} files at once")
            else:
                firsts[number] = data
        for number, data in firsts.items():
            self._begin(target, number, data)

    def _begin(self, target: Target, number: int, *pieces: bytes) -> None:
        item = self._open[number]
        self._begun.add(number)
        target.begin(item)
        for data in pieces:
            target.write(item, data)


def _packet(message: bytes) -> session_pb2.Packet:
    try:
        return session_pb2.Packet.FromString(message)
    except DecodeError:
        raise BadTree("broken packet") from None


def data_of(message: bytes) -> tuple[int, bytes] | None:
    """Number and content of a DATA packet; None for others. Read by hand, because they are the bulk."""
    if message[:2] != b"\x08\x02":
        return None
    number, at, size = 0, 2, len(message)
    if at < size and message[at] == 0x18:
        number, at = _number(message, at + 1)
    if at == size:
        return number, b""
    if message[at] == 0x22:
        length, at = _number(message, at + 1)
        if at + length == size:
            return number, message[at:]
    packet = _packet(message)
    return (packet.ID, packet.data) if packet.type == DATA else None


def _number(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 63:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise BadTree("broken packet: a number without an end")
