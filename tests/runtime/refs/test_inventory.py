"""What is written down of a layer: all of it is read again, in this version's form and in the one before."""

from __future__ import annotations

import gzip
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from dockc.runtime.refs import inventory
from tests.tools import calls, need_root

if TYPE_CHECKING:
    from dockc.runtime.refs.core import Core
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.ref import ImmutableRef

ABOUT = {"kind": "layer"}


@pytest.fixture
def layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(inventory, "describe", lambda *_: ABOUT)
    tree = tmp_path / "fs"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").write_text("content")
    (tree / os.fsdecode(b"odd \xff], [")).write_bytes(b"")
    (tree / "link").symlink_to("a/b")
    os.mkfifo(tree / "pipe")
    return tmp_path


def write(layer: Path) -> None:
    inventory.write(cast("Core", None), "id", layer)


def listed(layer: Path) -> inventory.Inventory:
    found = inventory.read(layer)
    assert found is not None
    return found


def test_what_is_written_is_read(layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "_LINE", 4)  # the last line is not full
    write(layer)
    found = listed(layer)
    assert found.whole
    assert {item.path for item in found.items} == {
        "",
        "a",
        "a/b",
        "a/b/file",
        os.fsdecode(b"odd \xff], ["),
        "link",
        "pipe",
    }
    assert {item.path: item.more for item in found.items}["link"] == "a/b"
    assert list(inventory.compare(found, layer / "fs", full=True)) == []
    (layer / "fs" / "a" / "b" / "file").write_text("Content")
    os.utime(layer / "fs" / "a" / "b" / "file", ns=(1, {item.path: item.mtime for item in found.items}["a/b/file"]))
    assert list(inventory.compare(found, layer / "fs", full=True)) == [("a/b/file", "its content has changed")]


def test_one_that_an_earlier_version_wrote_is_read(layer: Path) -> None:
    write(layer)
    now = listed(layer)
    names = ("path", "mode", "uid", "gid", "size", "mtime", "device", "more")
    head: dict[str, Any] = {"version": 1, "about": dict(now.about), "whole": True, "ids": now.ids}
    with gzip.open(layer / "inventory", "wb") as out:
        for one in (head, *([getattr(item, name) for name in names] for item in now.items)):
            out.write(json.dumps(one).encode() + b"\n")
    assert listed(layer) == now


def test_one_of_a_later_version_or_that_is_cut_short_is_none(layer: Path) -> None:
    write(layer)
    whole = (layer / "inventory").read_bytes()
    (layer / "inventory").write_bytes(whole[:-9])
    assert inventory.read(layer) is None
    (layer / "inventory").write_bytes(gzip.compress(b'{"version": 3, "about": {}, "whole": true, "ids": ""}\n'))
    assert inventory.read(layer) is None


def test_an_entry_more_is_a_few_calls_more(layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "_FILES", 0)  # content is read of a bounded number
    write(layer)  # what is loaded once is loaded
    few = calls(lambda: write(layer))
    for number in range(1000):
        (layer / "fs" / "a" / str(number)).touch()
    assert calls(lambda: write(layer)) - few < 5 * 1000


# --- reading a layer where it lies ------------------------------------------------------------------


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def made(refs: RefManager, parent: ImmutableRef | None, fill: Callable[[Path], object]) -> ImmutableRef:
    ref = refs.new_mutable(parent, description="made")
    with ref.mount() as root:
        fill(root)
    return ref.commit()


def test_a_layer_that_stands_alone_is_read_where_it_lies(refs: RefManager, tmp_path: Path) -> None:
    with made(refs, None, lambda root: (root / "file").write_text("one")) as ref:
        with ref.reading() as root:
            assert root == tmp_path / "store" / "snapshots" / ref.id / "fs"
            assert (root / "file").read_text() == "one"
        (tmp_path / "store" / "snapshots" / ref.id / "inventory").unlink()
        with ref.reading() as root:
            assert root != tmp_path / "store" / "snapshots" / ref.id / "fs", "nothing is known of it"
            assert (root / "file").read_text() == "one"


def test_layers_on_top_of_others_are_read_together(refs: RefManager) -> None:
    with (
        made(refs, None, lambda root: (root / "file").write_text("one")) as below,
        made(refs, below, lambda root: (root / "file").unlink()) as above,
    ):
        with above.reading() as root:
            assert names(root) == set()
        with below.reading() as root:
            assert names(root) == {"file"}


@pytest.mark.parametrize("form", ["device", "mark"])
def test_what_hides_something_is_never_read_as_a_file(refs: RefManager, form: str) -> None:
    """A step may make a device without a number, which overlayfs takes for a removal."""
    need_root()

    def fill(root: Path) -> None:
        (root / "file").write_text("one")
        if form == "device":
            os.mknod(root / "gone", stat.S_IFCHR | 0o600, 0)
        else:
            (root / "gone").touch(0)
            (root / "gone").chmod(0)
            os.setxattr(root / "gone", "trusted.dockc.whiteout", b"y")

    with made(refs, None, fill) as ref:
        with ref.mount() as root:
            seen = names(root)
        with ref.reading() as root:
            assert names(root) == seen
        if form == "device":
            assert seen == {"file"}
