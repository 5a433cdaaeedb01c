"""What content digests were over: kept small, compared file by file, and never a reason to fail."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.engine import listings
from dockc.engine.listings import FileListings
from dockc.runtime.fsutil.filehash import Seen
from dockc.runtime.fsutil.hashtree import HashTree
from dockc.runtime.refs import contenthash
from dockc.runtime.refs.contenthash import Listed, Selector, checksum_directory
from dockc.solver.keydiff import FileChange

OLD, NEW = "sha256:" + "0" * 64, "sha256:" + "1" * 64
FILE = stat.S_IFREG | 0o644


def entry(path: str, mode: int = FILE, uid: int = 0, gid: int = 0, check: int = 0, own: bytes = b"o") -> Listed:
    return Listed(path, Seen(mode, uid, gid, check), own)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (entry("a"), entry("a"), None),
        (entry("a"), entry("a", check=1, own=b"p"), FileChange("a", "content")),
        (entry("a"), entry("a", FILE | 0o111, own=b"p"), FileChange("a", "mode", "0644", "0755")),
        (entry("a"), entry("a", uid=1, gid=2, own=b"p"), FileChange("a", "owner", "0:0", "1:2")),
        (entry("a"), entry("a", own=b"p"), FileChange("a", "attributes")),
        (entry("a"), entry("a", stat.S_IFDIR | 0o755, own=b"p"), FileChange("a", "kind", "file", "directory")),
        (entry("a"), entry("b"), FileChange("a", "removed")),
        (entry("a\udcff"), entry("a\udcff", check=1), FileChange("a�", "content")),
    ],
)
def test_how_an_entry_differs(tmp_path: Path, old: Listed, new: Listed, told: FileChange | None) -> None:
    kept = FileListings(tmp_path)
    kept.keep(OLD, iter([old, entry("z")]))
    kept.keep(NEW, iter([new, entry("z")]))
    found = kept.compare(OLD, NEW, limit=1)
    assert found is not None
    assert found[0] == (() if told is None else (told,))
    assert found[1] == int(old.path != new.path)


def test_a_listing_is_made_once_is_private_and_does_without_a_disk(tmp_path: Path) -> None:
    kept = FileListings(tmp_path)
    assert kept.wants(OLD)
    kept.keep(OLD, iter([entry("a")]))
    assert not kept.wants(OLD)
    (path,) = (tmp_path / "files").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"damaged")
    assert kept.compare(OLD, OLD, limit=1) is None
    (tmp_path / "file").write_text("")
    FileListings(tmp_path / "file").keep(OLD, iter([entry("a")]))  # no such directory can be made


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "ENTRIES", 10)
    kept = FileListings(tmp_path)
    taken = 0

    def endless() -> Iterator[Listed]:
        nonlocal taken
        while True:
            taken += 1
            yield entry(f"{taken:03}", check=taken)

    kept.keep(OLD, endless())
    assert taken == 10
    kept.keep(NEW, iter([entry(f"{i:03}") for i in range(1, 6)]))
    found = kept.compare(OLD, NEW, limit=3)
    assert found is not None
    assert ([one.path for one in found[0]], found[1]) == (["001", "002", "003"], 2), "beyond the bound nothing is told"
    monkeypatch.setattr(listings, "KEEP_BYTES", 100)
    kept._path(NEW).write_bytes(bytes(60))
    os.utime(kept._path(OLD), (1, 1))
    kept.collect()
    assert list((tmp_path / "files").iterdir()) == [kept._path(NEW)]


@pytest.mark.parametrize("selector", [Selector(), Selector("/d"), Selector("/d/l", follow_links=True), Selector("/*", wildcard=True), Selector(exclude=("d/x",))])
def test_what_is_listed_is_what_was_digested(tmp_path: Path, selector: Selector) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x").write_text("1")
    (tmp_path / "d/l").symlink_to("x")
    (tmp_path / "a").write_text("2")
    checksum_directory(tmp_path, selector)
    with HashTree(contenthash._open_path(tmp_path)) as tree:
        contenthash._checksum(tree, selector.path, selector)
        listed = list(contenthash._list_all(tree, (selector,)))
        tree_changed = tree.changed
    assert tree_changed
    assert all(len(one.own) == 32 for one in listed)
    names = {one.path for one in listed}
    assert names == {
        "/": {"", "a", "d", "d/x", "d/l"} if not selector.exclude else {"a", "d", "d/l"},
        "/d": {"d", "d/x", "d/l"},
        "/d/l": {"d/l"},
        "/*": {"a", "d", "d/x", "d/l"},
    }[selector.path]
