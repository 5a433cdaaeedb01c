"""Trees of files from one end to the other, and senders that lie."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dockc.errors import DockcError
from dockc.golang.modes import from_go, to_go
from dockc.protocol import receiving
from dockc.protocol.receiving import BadTree, Listing, data_of, outlined, receive
from dockc.protocol.sending import Sender
from dockc.protocol.trees import TreeWriter
from dockc.rpc.calls import Call, Handler
from dockc.rpc.pb import session_pb2
from dockc.rpc.status import RpcError
from dockc.runtime.fsutil.arriving import Item, Target
from dockc.runtime.fsutil.outline import Here, Outline
from dockc.runtime.fsutil.walk import Entry, Filter, walk
from tests.rpc.pairs import pair
from tests.tools import calls

P = session_pb2.Packet


async def _talk(handler: Handler, client: Callable[[Call], object]) -> object:
    """One call over a socket pair."""
    async with pair({"/t/x": handler}) as (channel, _):
        call = channel.call("/t/x")
        try:
            result = client(call)
            return await result if asyncio.iscoroutine(result) else result
        finally:
            call.cancel()


def transfer(
    source: Path, dest: Path, chosen: Filter | None = None, *, delete: bool = False, outline: Outline | None = None
) -> tuple[int, int]:
    """Send a tree into a directory; entries named and bytes of content."""
    counts = [0, 0]

    async def serve(call: Call) -> None:
        sender = Sender(call, source, lambda: walk(source, chosen or Filter()), root_owned=True)
        await sender.run()
        counts[:] = [sender.named, sender.sent]

    async def take(call: Call) -> None:
        writer = TreeWriter(dest, delete=delete)
        try:
            await receive(call, outlined(outline, writer.choose) if outline is not None else writer.choose)
            call.end()
            await call.drained()
            writer.finish()
        finally:
            writer.close()

    asyncio.run(_talk(serve, take))
    return counts[0], counts[1]


def tree(root: Path) -> dict[str, tuple[int, bytes, int]]:
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (status.st_mode, content, status.st_mtime_ns)
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "c.txt").write_bytes(b"content")
    (root / "a-1").write_bytes(b"")
    (root / "big").write_bytes(bytes(range(256)) * 20_000)
    (root / "run").write_bytes(b"#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "link").symlink_to("a/b/c.txt")
    (root / "dangling").symlink_to("../../nowhere")
    (root / os.fsdecode(b"no\xff utf-8 \xe9")).mkdir()
    (root / os.fsdecode(b"no\xff utf-8 \xe9/\xfe")).write_bytes(b"n")
    (root / "to").symlink_to(os.fsdecode(b"no\xff utf-8 \xe9"))
    os.link(root / "run", root / "same")
    os.mkfifo(root / "pipe")
    os.utime(root / "a" / "b", ns=(1_000_000_007, 1_000_000_007))
    return root


def test_a_tree_arrives_as_it_is(tmp_path: Path, source: Path) -> None:
    named, sent = transfer(source, tmp_path / "dest")
    there, here = tree(tmp_path / "dest"), tree(source)
    assert there.keys() == here.keys()
    for name, (mode, content, mtime) in here.items():
        assert there[name][:2] == (mode, content), name
        if not stat.S_ISFIFO(mode):
            assert there[name][2] == mtime, name
    assert (tmp_path / "dest" / "same").stat().st_ino == (tmp_path / "dest" / "run").stat().st_ino
    assert named == len(here)
    assert sent == sum(len(c) for n, (m, c, _) in here.items() if stat.S_ISREG(m) and n != "same")


def test_many_small_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in range(20):
        (source / f"d{folder:02}").mkdir(parents=True)
        for number in range(100):
            (source / f"d{folder:02}" / f"f{number:03}").write_text(f"{folder} {number}")
    assert transfer(source, tmp_path / "dest")[0] == 2020
    assert tree(source) == tree(tmp_path / "dest")


def test_only_what_is_wanted_is_named(tmp_path: Path, source: Path) -> None:
    assert transfer(source, tmp_path / "dest", Filter(include=("a", "big"), exclude=("**/c.txt",)))[0] == 3
    assert set(tree(tmp_path / "dest")) == {"a", "a/b", "big"}


def test_the_other_end_outlines_as_this_one_does(tmp_path: Path, source: Path) -> None:
    patterns = ("a/b", "same", "to")  # a directory, the second name of a file, a link
    here, there = Outline(patterns), Outline(patterns)
    here.take(Here.of(entry) for entry in walk(source, Filter()))
    named, sent = transfer(source, tmp_path / "dest", outline=there)
    assert named == len(tree(source))
    assert (there.chosen, there.firsts, there.mtime) == (here.chosen, here.firsts, here.mtime)
    assert there.data == here.data
    assert set(tree(tmp_path / "dest")) == there.chosen
    assert (tmp_path / "dest" / "same").read_bytes() == (source / "same").read_bytes()
    files = tree(tmp_path / "dest").values()
    assert sent == sum(len(content) for mode, content, _ in files if stat.S_ISREG(mode))


def test_the_list_counts_as_moved(tmp_path: Path, source: Path) -> None:
    """As with BuildKit: a context of which nothing has changed is told with the bytes of its list, not as nothing."""
    told: list[int] = []
    for _ in range(2):

        async def serve(call: Call) -> None:
            await Sender(call, source, lambda: walk(source, Filter()), root_owned=True).run()

        async def take(call: Call) -> None:
            writer = TreeWriter(tmp_path / "dest", delete=True, compare=True)
            moved = await receive(call, writer.choose, report=lambda size, _: told.append(size))
            assert told[-1] == moved
            call.end()
            await call.drained()
            writer.finish()
            writer.close()
            told.append(-moved)

        asyncio.run(_talk(serve, take))
    first, second = (-one for one in told if one < 0)
    assert 100 < second < 2000
    content = sum(len(data) for mode, data, _ in tree(source).values() if stat.S_ISREG(mode))
    assert first > content - len(b"#!/bin/sh\n") + second - 100  # but for the second name of a file


def test_what_is_there_stays_unless_it_shall_go(tmp_path: Path, source: Path) -> None:
    dest = tmp_path / "dest"
    (dest / "a").mkdir(parents=True)
    (dest / "a" / "mine").write_text("mine")
    (dest / "big").mkdir()  # in the way
    (dest / "link").write_text("in the way")
    transfer(source, dest)
    assert (dest / "a" / "mine").read_text() == "mine"
    assert (dest / "big").is_file()
    assert (dest / "link").is_symlink()
    transfer(source, dest, delete=True)
    assert set(tree(dest)) == set(tree(source))


def test_links_in_the_destination_lead_nowhere(tmp_path: Path, source: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "a").symlink_to(outside)
    (dest / "run").symlink_to(outside / "run")
    transfer(source, dest)
    assert list(outside.iterdir()) == []
    assert (dest / "a" / "b" / "c.txt").read_bytes() == b"content"
    assert not (dest / "a").is_symlink()


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()

    def broken() -> object:
        raise DockcError("open x: permission denied")
        yield

    async def serve(call: Call) -> None:
        await Sender(call, source, broken, root_owned=True).run()  # type: ignore[arg-type]

    async def take(call: Call) -> None:
        with pytest.raises(DockcError, match="permission denied"):
            await receive(call, TreeWriter(tmp_path / "dest").choose)

    asyncio.run(_talk(serve, take))


# --- lies ------------------------------------------------------------------------------------------------


def named(path: str, mode: int = 0o644, **more: object) -> P:
    return P(type=P.PACKET_STAT, stat=session_pb2.Stat(path=os.fsencode(path), mode=mode, **more))  # type: ignore[arg-type]


END = P()
DIR, LINK, IRREGULAR = 1 << 31, 1 << 27, 1 << 19
LIES = {
    "a path that leads out": [named("../x")],
    "an absolute path": [named("/etc/passwd")],
    "a path that is not clean": [named("a//b")],
    "dots": [named(".")],
    "no path": [named("")],
    "a zero byte": [named("a\0b")],
    "out of order": [named("b"), named("a")],
    "twice": [named("a"), named("a")],
    "order of bytes instead of names": [named("a-b"), named("a", DIR | 0o755), named("a/b")],
    "below a file": [named("a"), named("a/b")],
    "below a link": [named("a", LINK | 0o777, linkname=b"/"), named("a/b")],
    "below nothing": [named("a/b")],
    "a hard link to what is not there": [named("a", linkname=b"/etc/passwd")],
    "a hard link to a directory": [named("a", DIR | 0o755), named("b", linkname=b"a")],
    "a link to nothing": [named("a", LINK | 0o777)],
    "an unknown type": [named("a", IRREGULAR)],
    "content that nobody asked for": [named("a", DIR), END, P(type=P.PACKET_DATA, ID=0, data=b"x")],
    "content of a number that there is not": [named("a"), END, P(type=P.PACKET_DATA, ID=7, data=b"x")],
    "content after its end": [named("a"), named("b"), END, P(type=P.PACKET_DATA), P(type=P.PACKET_DATA, data=b"x")],
    "names after the end": [named("a"), END, named("b")],
    "done before its list has ended": [named("a", DIR | 0o755), P(type=P.PACKET_FIN)],
    "done before its files have come": [named("a"), named("b"), END, P(type=P.PACKET_FIN)],
    "done in the middle of a file": [named("a"), END, P(type=P.PACKET_DATA, data=b"x"), P(type=P.PACKET_FIN)],
    "a device without a number": [named("a", 1 << 26 | 0o666, devmajor=-1, devminor=-1)],
    "a device beyond all numbers": [named("a", 1 << 26 | 0o666, devmajor=1 << 40)],
    "a zero byte in a link": [named("a", LINK | 0o777, linkname=b"x\0y")],
    "a zero byte in an attribute": [named("a", xattrs={"user.a\0b": b""})],
    "a path that nobody can name": [named("x" * 5000)],
    "a link that nobody can make": [named("a", LINK | 0o777, linkname=b"x" * 9000)],
    "a request": [P(type=P.PACKET_REQ, ID=1)],
    "an error": [P(type=P.PACKET_ERR, data=b"no")],
}


@pytest.mark.parametrize("name", LIES)
def test_lies_are_errors_and_write_nothing_outside(tmp_path: Path, name: str) -> None:
    async def serve(call: Call) -> None:
        for packet in LIES[name]:
            await call.send(packet.SerializeToString())
        while await call.receive_all() is not None:
            pass

    async def take(call: Call) -> None:
        writer = TreeWriter(tmp_path / "in" / "dest")
        try:
            with pytest.raises(DockcError):
                await receive(call, writer.choose)
        finally:
            writer.close()

    asyncio.run(_talk(serve, take))
    assert {path.name for path in tmp_path.iterdir()} <= {"in"}
    assert list(tmp_path.rglob("*.new")) == []


def test_a_sender_that_ends_early_is_told_so(tmp_path: Path) -> None:
    async def serve(call: Call) -> None:
        await call.send(named("a").SerializeToString())

    async def take(call: Call) -> None:
        with pytest.raises(RpcError, match="before its files had come"):
            await receive(call, TreeWriter(tmp_path / "dest").choose)

    asyncio.run(_talk(serve, take))


def test_a_list_without_end_is_cut_off() -> None:
    listing = Listing(limit=10)
    with pytest.raises(BadTree, match="more than 10"):
        for number in range(11):
            listing.add(session_pb2.Stat(path=f"{number:02}".encode(), mode=0o644))


def test_names_and_attributes_without_end_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "MAX_LIST", 10_000)
    listing = Listing()
    with pytest.raises(BadTree, match="larger than 10000 bytes"):
        for number in range(20):
            listing.add(session_pb2.Stat(path=f"{number:02}".encode(), mode=0o644, xattrs={"user.x": b"v" * 1000}))


def test_a_deep_tree_is_replaced(tmp_path: Path) -> None:
    deep = [named("/".join(["d"] * depth), DIR | 0o755) for depth in range(1, 1200)]

    def take(packets: list[P]) -> None:
        async def serve(call: Call) -> None:
            for packet in (*packets, END):
                await call.send(packet.SerializeToString())
            while await call.receive_all() is None:
                pass
            await call.send(P(type=P.PACKET_FIN).SerializeToString())

        async def receiving_them(call: Call) -> None:
            writer = TreeWriter(tmp_path / "dest", delete=True)
            try:
                await receive(call, writer.choose)
                writer.finish()
            finally:
                writer.close()

        asyncio.run(_talk(serve, receiving_them))

    take(deep)
    take([named("d", DIR | 0o755), named("d/d", DIR | 0o755)])
    assert [path.name for path in (tmp_path / "dest").rglob("*")] == ["d", "d"]


def test_a_receiver_that_asks_for_more_than_there_is(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()

    async def serve(call: Call) -> None:
        await Sender(call, tmp_path / "source", lambda: walk(tmp_path / "source", Filter()), root_owned=True).run()

    async def ask(call: Call) -> None:
        for number in range(1000):
            await call.send(P(type=P.PACKET_REQ, ID=number).SerializeToString())
        with pytest.raises(RpcError, match=r"more files than there are|invalid file id"):
            while await call.receive() is not None:
                pass

    asyncio.run(_talk(serve, ask))


def test_too_many_files_at_once(tmp_path: Path) -> None:
    class Nowhere(Target):
        def begin(self, item: Item) -> None: ...
        def write(self, item: Item, data: bytes) -> None: ...
        def end(self, item: Item) -> None: ...

    async def serve(call: Call) -> None:
        for number in range(300):
            await call.send(named(f"{number:03}").SerializeToString())
        await call.send(b"")
        for number in range(300):
            await call.send(P(type=P.PACKET_DATA, ID=number, data=b"x").SerializeToString())
        while await call.receive_all() is not None:
            pass

    async def take(call: Call) -> None:
        with pytest.raises(BadTree, match="at once"):
            await receive(call, lambda items: (list(range(len(items))), Nowhere()))

    asyncio.run(_talk(serve, take))


@pytest.mark.parametrize(
    ("number", "data"), [(0, b""), (0, b"abc"), (1, b""), (127, b"x"), (128, b"y" * 200), (1 << 31, b"z")]
)
def test_content_is_read_as_the_messages_have_it(number: int, data: bytes) -> None:
    packet = P(type=P.PACKET_DATA, ID=number, data=data)
    assert data_of(packet.SerializeToString()) == (number, data)
    assert data_of(P(type=P.PACKET_FIN).SerializeToString()) is None


@pytest.mark.parametrize(
    "mode", [0o100644, 0o100755, 0o104755, 0o102755, 0o041777, 0o040700, 0o120777, 0o010600, 0o020666, 0o060660]
)
def test_modes_come_back(mode: int) -> None:
    assert from_go(to_go(mode)) == mode


def test_modes_are_gos() -> None:
    assert to_go(0o040755) == 0x800001ED
    assert to_go(0o120777) == (1 << 27) | 0o777
    assert to_go(0o104755) == (1 << 23) | 0o755
    assert from_go(1 << 19) == 0


WORDS = st.sampled_from(["a", "a/b", "a/b/c", "b", "../a", "/a", "a\0", "a\udcff", ".", ""])
NUMBERS = st.one_of(st.integers(0, 300), st.integers(-(1 << 63), (1 << 63) - 1))
STATS = st.builds(
    lambda path, link, xattrs, **rest: session_pb2.Stat(
        path=os.fsencode(path), linkname=os.fsencode(link), xattrs=xattrs, **rest
    ),
    path=WORDS,
    link=WORDS,
    mode=st.one_of(
        st.sampled_from([stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO]).map(to_go),
        st.integers(0, 2**32 - 1),
    ),
    size=NUMBERS,
    modTime=NUMBERS,
    devmajor=NUMBERS,
    devminor=NUMBERS,
    xattrs=st.dictionaries(st.sampled_from(["user.a", "user.\0", ""]), st.binary(max_size=3), max_size=1),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(STATS, max_size=5))
@example([session_pb2.Stat(path=b"a", mode=to_go(stat.S_IFCHR), devmajor=1 << 40)])
@example([session_pb2.Stat(path=b"a", mode=to_go(stat.S_IFREG), size=-1)])
@example([session_pb2.Stat(path=b"a", mode=to_go(stat.S_IFLNK), linkname=b"b\0c")])
@example([session_pb2.Stat(path=b"a", mode=to_go(stat.S_IFREG), xattrs={"user.\0": b""})])
def test_whatever_is_listed_is_refused_or_can_be_made(
    tmp_path_factory: pytest.TempPathFactory, told: list[session_pb2.Stat]
) -> None:
    listing = Listing()
    for one in told:
        try:
            listing.add(one)
        except BadTree:
            return
    dest = tmp_path_factory.mktemp("listed")
    writer = TreeWriter(dest / "inside")
    items = [
        item for item in listing.items if os.geteuid() == 0 or not (stat.S_ISCHR(item.mode) or stat.S_ISBLK(item.mode))
    ]
    try:
        wanted, target = writer.choose(items)
        for number in wanted:
            target.begin(items[number])
            target.end(items[number])
        writer.finish()
    except DockcError:
        return  # the system refuses it, which is told
    finally:
        writer.close()
        assert [path.name for path in dest.iterdir()] == ["inside"]
    assert {item.path for item in items} == {
        str(path.relative_to(dest / "inside")) for path in (dest / "inside").rglob("*")
    }


class Notes(Target):
    """What is told of files: how they came, and how many were open at most."""

    def __init__(self) -> None:
        self.open: dict[str, bytes] = {}
        self.done: dict[str, bytes] = {}
        self.at_once: list[str] = []
        self.most = 0

    def begin(self, item: Item) -> None:
        assert item.path not in self.open
        self.open[item.path] = b""
        self.most = max(self.most, len(self.open))

    def write(self, item: Item, data: bytes) -> None:
        self.open[item.path] += data

    def end(self, item: Item) -> None:
        self.done[item.path] = self.open.pop(item.path)

    def whole(self, item: Item, data: bytes) -> None:
        assert item.path not in self.open
        self.at_once.append(item.path)
        self.done[item.path] = data


def _exchange(count: int) -> tuple[receiving._Exchange, Notes]:
    """One that has asked for so many files."""
    notes = Notes()
    exchange = receiving._Exchange(None, Listing(), lambda _: ([], notes), None)  # type: ignore[arg-type]
    exchange._target = notes
    exchange._open.update((number, Item(str(number), stat.S_IFREG | 0o644)) for number in range(count))
    return exchange, notes


@given(st.lists(st.lists(st.binary(min_size=1, max_size=4), max_size=3), max_size=8), st.randoms(use_true_random=False))
def test_pieces_of_files_come_in_any_mixture(files: list[list[bytes]], dice: object) -> None:
    import random

    assert isinstance(dice, random.Random)
    left = {number: [*pieces, b""] for number, pieces in enumerate(files)}
    packets: list[tuple[int, bytes]] = []
    while left:
        number = dice.choice(sorted(left))
        packets.append((number, left[number].pop(0)))
        if not left[number]:
            del left[number]
    exchange, notes = _exchange(len(files))
    while packets:
        size = dice.randint(1, len(packets))
        exchange._write(packets[:size])
        del packets[:size]
    assert notes.done == {str(number): b"".join(pieces) for number, pieces in enumerate(files)}
    assert not notes.open
    assert not exchange.wanting


def test_small_files_come_at_once() -> None:
    exchange, notes = _exchange(500)
    exchange._write([packet for number in range(500) for packet in ((number, b"x"), (number, b""))])
    assert len(notes.at_once) == 500
    assert notes.most == 0


def test_too_many_files_at_once_whether_begun_or_not() -> None:
    exchange, _ = _exchange(receiving.MAX_OPEN + 1)
    exchange._write([(number, b"x") for number in range(200)])
    with pytest.raises(BadTree, match="at once"):
        exchange._write([(number, b"x") for number in range(200, receiving.MAX_OPEN + 1)])


def test_content_of_a_file_twice() -> None:
    exchange, _ = _exchange(1)
    with pytest.raises(BadTree, match="not asked for"):
        exchange._write([(0, b"x"), (0, b""), (0, b"y")])


def test_an_entry_of_a_list_takes_a_few_calls() -> None:
    def listed(count: int) -> int:
        told = [session_pb2.Stat(path=b"f%06d" % n, mode=0o644, size=5) for n in range(count)]
        listing = Listing()
        return calls(lambda: [listing.add(one) for one in told] and None)

    listed(10)
    assert listed(1010) - listed(10) <= 6 * 1000


def test_a_small_file_is_read_with_one_call_and_one_that_changes_as_far_as_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = os.read

    def spy(fd: int, size: int) -> bytes:
        sizes.append(size)
        return real(fd, size)

    monkeypatch.setattr(os, "read", spy)
    sender = Sender(None, tmp_path, lambda: iter(()), root_owned=True)  # type: ignore[arg-type]
    (tmp_path / "small").write_bytes(b"small")
    assert list(sender._content("small")) == [b"small"]
    assert sizes == [6]
    (tmp_path / "large").write_bytes(bytes(300_000))
    assert b"".join(sender._content("large")) == bytes(300_000)
    content = sender._content("small")
    (tmp_path / "small").write_bytes(b"larger than it was")
    assert b"".join(content) == b"larger than it was"
    content = sender._content("large")
    assert len(next(content)) == 128 << 10
    os.truncate(tmp_path / "large", 200_000)
    assert sum(map(len, content)) == 200_000 - (128 << 10)


def test_a_file_that_is_handed_out_in_less_than_was_asked_for_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    real = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: real(fd, min(size, 3)))
    sender = Sender(None, tmp_path, lambda: iter(()), root_owned=True)  # type: ignore[arg-type]
    assert b"".join(sender._content("file")) == b"0123456789"


def test_nothing_is_written_once_receiving_was_cancelled(tmp_path: Path, source: Path) -> None:
    """Who closes the files when this has ended closes them all, and no number of theirs is written to afterwards."""
    begun, let = threading.Event(), threading.Event()

    class Slow(TreeWriter):
        def begin(self, item: Item) -> None:
            begun.set()
            assert let.wait(10)
            super().begin(item)

        def whole(self, item: Item, data: bytes) -> None:
            self.begin(item)
            self.write(item, data)
            self.end(item)

    async def serve(call: Call) -> None:
        await Sender(call, source, lambda: walk(source, Filter()), root_owned=False).run()

    async def take(call: Call) -> None:
        writer = Slow(tmp_path / "dest")
        taking = asyncio.ensure_future(receive(call, writer.choose))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        taking.cancel()
        await asyncio.sleep(0.01)
        assert not taking.done()
        let.set()
        with pytest.raises(asyncio.CancelledError):
            await taking
        writer.close()

    before = len(list(Path("/proc/self/fd").iterdir()))
    asyncio.run(_talk(serve, take))
    assert not list((tmp_path / "dest").rglob(".*.new"))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_sender_that_was_cancelled_reads_no_more(tmp_path: Path, source: Path) -> None:
    """What is below it may be unmounted then."""
    begun, let = threading.Event(), threading.Event()
    read: list[str] = []

    def slow() -> Iterator[Entry]:
        for entry in walk(source, Filter()):
            begun.set()
            assert let.wait(10)
            read.append(entry.path)
            yield entry

    async def serve(call: Call) -> None:
        sending = asyncio.ensure_future(Sender(call, source, slow, root_owned=False).run())
        while not begun.is_set():
            await asyncio.sleep(0.001)
        sending.cancel()
        await asyncio.sleep(0.01)
        assert not sending.done()
        let.set()
        with pytest.raises(asyncio.CancelledError):
            await sending
        before = len(read)
        await asyncio.sleep(0.01)
        assert len(read) == before

    async def take(call: Call) -> None:
        await call.drained()

    asyncio.run(_talk(serve, take))
