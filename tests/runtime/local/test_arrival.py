"""A directory that comes over a wire: the snapshot is that of the same files on this machine."""

from __future__ import annotations

import os
import random
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockc.errors import DockcError
from dockc.runtime.cancel import Cancelled
from dockc.runtime.fsutil import filehash, hashtree
from dockc.runtime.fsutil.arriving import Item, Taker
from dockc.runtime.fsutil.walk import Filter, walk
from dockc.runtime.refs import contenthash
from dockc.runtime.refs.contenthash import Selector
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.ref import ImmutableRef
from dockc.runtime.source import local, localsync
from dockc.runtime.source.local import parse_options, received, snapshot
from tests.runtime.store_helpers import need_mounts
from tests.tools import need_root

OLD = 1_600_000_000_000_000_000


class Client:
    """Sends a directory. State: what was asked for, and how often the list came."""

    def __init__(self, root: Path, spoil: Callable[[Taker, Item], None] | None = None) -> None:
        self.root, self.asked, self.lists, self.spoil = root, list[str](), 0, spoil

    def send(self, target: Taker) -> int:
        items = [self.item(entry.path, entry.status, entry.link, entry.same_as) for entry in walk(self.root, Filter())]
        self.lists += 1
        size = 0
        for number in target.choose(items):
            item = items[number]
            self.asked.append(item.path)
            if self.spoil is None and item.size < 7000 and number % 3:
                data = (self.root / item.path).read_bytes()
                target.whole(item, data)
                size += len(data)
                continue
            target.begin(item)
            if self.spoil is not None:
                self.spoil(target, item)
            data = (self.root / item.path).read_bytes()
            for at in range(0, len(data), 7000):
                target.write(item, data[at : at + 7000])
            target.end(item)
            size += len(data)
        return size

    def item(self, path: str, status: os.stat_result, link: str, same_as: str) -> Item:
        xattrs = {}
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            xattrs = {name: os.getxattr(self.root / path, name) for name in os.listxattr(self.root / path) if name.startswith("user.")}
        return Item(path, status.st_mode, 7, 8, status.st_size, status.st_mtime_ns, link, same_as, status.st_rdev, xattrs)


@pytest.fixture(params=["overlay", "native"])
def refs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RefManager]:
    need_mounts()
    with RefManager(tmp_path / "store", snapshotter_name=request.param) as manager:
        yield manager


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localsync, "_RACY_NS", -(10**18))


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return filled(tmp_path / "context")


def filled(root: Path) -> Path:
    (root / "src" / "deep").mkdir(parents=True)
    for number in range(8):
        (root / "src" / f"f{number}").write_bytes(bytes([number]) * number * 3000)
    (root / "src" / "deep" / "set").write_bytes(b"#!")
    (root / "src" / "deep" / "set").chmod(0o4755)
    (root / "src" / "deep").chmod(0o3775)
    os.link(root / "src" / "f3", root / "src" / "same")
    (root / "link").symlink_to("src/f1")
    os.mkfifo(root / "pipe")
    for path in [*root.rglob("*"), root]:
        os.utime(path, ns=(OLD, OLD), follow_symlinks=False)
    return root


def bring(refs: RefManager, client: Client) -> ImmutableRef:
    return received(refs, client, parse_options("context", {}), place="client")


def shown(ref: ImmutableRef) -> dict[str, object]:
    found: dict[str, object] = {}
    firsts: dict[int, str] = {}
    with ref.mount() as root:
        for path in sorted(root.rglob("*")):
            status = path.lstat()
            data = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            names = [] if path.is_symlink() or path.is_fifo() else [name for name in os.listxattr(path) if name.startswith("user.")]
            found[str(path.relative_to(root))] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, data, firsts.setdefault(status.st_ino, path.name),
                {name: os.getxattr(path, name) for name in names if "overlay" not in name},
            )  # fmt: skip
    return found


def is_as_if_it_were_here(refs: RefManager, ref: ImmutableRef, context: Path) -> None:
    with snapshot(refs, context, parse_options("context", {}), place=f"here {random.random()}") as here:
        assert shown(ref) == shown(here)
        assert contenthash.checksum(ref, Selector()) == contenthash.checksum(here, Selector())
        assert ref.get_meta(local._TIMES) == here.get_meta(local._TIMES)
    with ref.mount() as root:  # what is remembered is what is there
        below = contenthash.checksum_directory(root, Selector(path="/src"))
    assert contenthash.checksum(ref, Selector(path="/src")) == below


def test_what_came_is_what_it_would_be_here(refs: RefManager, context: Path) -> None:
    need_root()
    os.setxattr(context / "src" / "f2", "user.note", b"x")
    os.setxattr(context / "src" / "deep", "user.note", b"y")
    with bring(refs, Client(context)) as ref:
        is_as_if_it_were_here(refs, ref, context)


def test_each_file_is_opened_once_and_hashed_as_it_comes(refs: RefManager, context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    read: list[str] = []

    def read_again(_fd: int, name: str, *_: object) -> int:
        read.append(name)
        return 0

    monkeypatch.setattr(filehash, "_hash_data", read_again)
    with bring(refs, Client(context)) as ref:
        contenthash.checksum(ref, Selector())
    assert read == []


def test_an_equal_list_touches_nothing(refs: RefManager, context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    client = Client(context)
    with bring(refs, client) as first:
        client.asked.clear()
        monkeypatch.setattr(RefManager, "new_mutable", None)
        monkeypatch.setattr(hashtree.HashTree, "_compute", None)
        with bring(refs, client) as again:
            assert again.id == first.id
        assert (client.asked, client.lists) == ([], 2)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32))
def test_after_any_changes_it_is_what_it_would_be_here(refs: RefManager, tmp_path: Path, seed: int) -> None:
    need_root()
    dice = random.Random(seed)
    context = filled(Path(tempfile.mkdtemp(dir=tmp_path)) / "context")
    client = Client(context)
    bring(refs, client).release()
    for _ in range(dice.randrange(1, 4)):
        names = [path for path in sorted(context.rglob("*")) if path.parent != context or path.name != "src"]
        for path in dice.sample(names, dice.randrange(0, min(len(names), 9))):
            if not os.path.lexists(path):
                continue
            match dice.randrange(6):
                case 0 if not path.is_dir() or path.is_symlink():
                    path.unlink()
                case 1 if path.is_file() and not path.is_symlink():
                    path.write_bytes(dice.randbytes(dice.randrange(20_000)))
                case 2 if not path.is_symlink():
                    path.chmod(dice.choice((0o600, 0o755, 0o2711)))
                case 3 if path.is_dir() and not path.is_symlink():
                    (path / f"new{dice.randrange(100)}").write_bytes(dice.randbytes(100))
                case 4 if not path.is_dir() and not path.is_symlink():
                    path.unlink()
                    path.mkdir()
                    (path / "inner").write_bytes(b"i")
                case _:
                    other = path.parent / f"link{dice.randrange(100)}"
                    if not os.path.lexists(other):
                        other.symlink_to("somewhere")
        with bring(refs, client) as ref:
            is_as_if_it_were_here(refs, ref, context)


def test_many_changes_one_after_the_other_do_not_pile_up(refs: RefManager, context: Path) -> None:
    need_root()
    client = Client(context)
    for number in range(15):
        (context / "src" / "f1").write_text(str(number) * (number + 1))
        with bring(refs, client) as ref:
            assert len(ref.layers()) <= 12
            with ref.mount() as root:
                assert (root / "src" / "f1").read_text() == str(number) * (number + 1)
    assert client.asked.count("src/f7") == 1, "what stays is taken from the snapshot before"


def test_a_file_that_grows_while_it_comes_is_asked_for_again(refs: RefManager, context: Path) -> None:
    need_root()
    client = Client(context, lambda target, item: target.write(item, b"more") if item.path == "src/f5" else None)
    with bring(refs, client) as ref, ref.mount() as root:
        assert (root / "src" / "f5").read_bytes()[:4] == b"more"
        whole = contenthash.checksum_directory(root, Selector(path="/src"))
        assert contenthash.checksum(ref, Selector(path="/src")) == whole
    client.asked.clear()
    client.spoil = None
    with bring(refs, client) as ref:
        is_as_if_it_were_here(refs, ref, context)
    assert client.asked == ["src/f5"]


@pytest.mark.parametrize("how", ["fails", "is given up"])
def test_nothing_is_left_of_what_did_not_arrive(refs: RefManager, context: Path, how: str) -> None:
    need_root()
    before = len(refs.usage())
    event = threading.Event()

    def spoil(target: Taker, item: Item) -> None:
        if item.path == "src/f5":
            if how == "fails":
                raise DockcError("gone")
            event.set()

    with pytest.raises((DockcError, Cancelled)):
        received(refs, Client(context, spoil), parse_options("context", {}), place="client", cancelled=event)
    assert len(refs.usage()) == before
    with bring(refs, Client(context)) as ref:
        is_as_if_it_were_here(refs, ref, context)
