"""Many layers and deep directories cost what they are, not their square: calls are counted."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dockc.errors import StoreError
from dockc.runtime.cancel import Cancelled
from dockc.runtime.fsutil import inroot
from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.kernel.openat2 import openat2
from dockc.runtime.refs.blobs import blob_of
from dockc.runtime.refs.chains import RECORD, Chains
from dockc.runtime.refs.core import Core
from dockc.runtime.refs.database import Database
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.types import RemoteOptions
from dockc.runtime.snapshot import lookup, mounts, overlay, tarread
from dockc.runtime.snapshot.rooted import open_directory
from tests.runtime.refs.test_refs import names, step
from tests.runtime.store_helpers import Row, folder, layer, make_tar, names_in, write
from tests.tools import calls, deepen


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return function(*args, **kwargs)

        return counted


def layered(tmp_path: Path, count: int) -> None:
    with RefManager(tmp_path / f"s{count}", snapshotter_name="native") as refs:
        chain = [layer(refs, make_tar([Row(f"d{n % 3}/f", str(n).encode())])) for n in range(count)]
        with refs.from_layers(chain) as image:
            image.prefetch()
            assert len(image.layers()) == count


def test_layers_are_linear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, directories = Counter(), Counter()
    monkeypatch.setattr(Database, "_all", queries.around(Database._all))
    looked = Core.directories

    def counted(self: Core, layers: Any) -> Any:
        directories.calls += len(layers)
        return looked(self, layers)

    monkeypatch.setattr(Core, "directories", counted)
    seen = []
    for count in (30, 60):
        queries.calls = directories.calls = 0
        layered(tmp_path, count)
        seen.append((queries.calls, directories.calls))
    assert seen[1][0] <= 2 * seen[0][0]
    assert seen[1][1] <= 2 * seen[0][1] + 2


def test_the_memory_of_stacks_does_not_hold_a_tuple_for_each_layer(refs: RefManager) -> None:
    chain = [layer(refs, make_tar([Row("f", str(n).encode())])) for n in range(40)]
    image = refs.from_layers(chain)
    assert len(image.layers()) == 40
    assert refs.core.stacks.size <= 41 + 2 * RECORD


def test_stacks_of_layers_on_merges(refs: RefManager) -> None:
    one = refs.from_layers([layer(refs, make_tar([Row(f"a{n}")])) for n in range(3)])
    two = refs.from_layers([layer(refs, make_tar([Row(f"b{n}")])) for n in range(3)])
    merged = refs.merge([one, two])
    with refs.new_mutable(merged) as made:
        with made.mount() as root:
            (root / "c").touch()
        top = made.commit()
    expected = (*refs.core.stack(one.id), *refs.core.stack(two.id), top.id)
    refs.core.stacks.clear()
    assert refs.core.stack(top.id) == expected
    with refs.diff(one, top) as difference:
        assert refs.core.stack(difference.id) == expected[3:]
    assert names(top) == ["a0", "a1", "a2", "b0", "b1", "b2", "c"]


def test_a_chain_of_layers_listens(refs: RefManager) -> None:
    class Soon:
        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return self.asked > 3

    chain = [layer(refs, make_tar([Row("f", str(n).encode())])) for n in range(9)]
    stop: Any = Soon()
    with pytest.raises(Cancelled):
        refs.from_layers(chain, cancelled=stop)
    assert stop.asked == 4


@pytest.mark.parametrize("way", ["openat2", "walk"])
def test_deep_directories_are_walked_in_one_call_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(inroot, "_openat2_works", [way == "openat2"])
    opened = Counter()
    monkeypatch.setattr(inroot, "openat2", opened.around(openat2))
    os.close(deepen(tmp_path, 80, name="d" * 60))
    deep = "/".join(["d" * 60] * 80)
    assert len(deep) > 4096, "longer than the kernel takes at once"
    with Root(tmp_path) as root:
        os.close(root.open_dir("/" + deep, read=True))
        assert opened.calls == (2 if way == "openat2" else 0)
        opened.calls = 0
        assert root.resolve("/" + "/".join(["d" * 60] * 40)) == "/" + "/".join(["d" * 60] * 40)
        assert opened.calls == (1 if way == "openat2" else 0)


def test_resolving_is_the_same_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/l").symlink_to("b")
    (tmp_path / "a/dangling").symlink_to("/nowhere/at/all")
    (tmp_path / "f").touch()
    paths = [
        "",
        "/",
        "a",
        "a/b",
        "a/l",
        "a/l/x",
        "a/x",
        "a/x/y",
        "a/dangling",
        "a/dangling/z",
        "a/../a/l/..",
        "f",
        "a/b/new",
    ]
    found = []
    for works in (True, False):
        monkeypatch.setattr(inroot, "_openat2_works", [works])
        with Root(tmp_path) as root:
            found.append([root.resolve(path) for path in paths])
    assert found[0] == found[1]


def test_missing_parents_are_found_by_halving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Counter()
    monkeypatch.setattr(tarread, "open_directory", opened.around(open_directory))
    looks = Counter()
    monkeypatch.setattr(lookup, "_look", looks.around(lookup._look))
    below = tmp_path / "below"
    below.mkdir()
    depth = 500
    rows = [Row("/".join(["a"] * depth) + "/f"), Row("/".join(["b"] * depth) + "/f"), folder("b"), Row("a/a/x/y/z")]
    target = tmp_path / "layer"
    target.mkdir()
    before = len(names_in(Path("/proc/self/fd")))
    tarread.apply_layer(io.BytesIO(make_tar(rows)), target, lowers=[below])
    assert opened.calls < 60
    assert looks.calls <= 4, "where a directory is not there below, nothing in it is"
    assert len(names_in(Path("/proc/self/fd"))) == before
    assert (target / "/".join(["b"] * depth) / "f").exists() and (target / "a/a/x/y/z").exists()


def steps_on_steps(refs: RefManager, counts: tuple[int, ...]) -> list[int]:
    """What eight steps more on a chain of so many cost, each time: fetched, mounted, written, committed and packed."""
    spent: list[int] = []
    top, height = step(refs, None, write(f="0")), 1

    def next_step() -> None:
        nonlocal top, height
        top.prefetch()
        below, top, height = top, step(refs, top, write(f=str(height))), height + 1
        blob_of(refs.core, top.id, RemoteOptions(), None)
        below.release()

    def eight_steps() -> None:
        for _ in range(8):
            next_step()

    for count in counts:
        while height < count:
            next_step()
        spent.append(calls(eight_steps))
    top.release()
    return spent


def test_a_step_on_many_costs_as_much_as_one_on_few(store: RefManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "_RUN", 8)
    monkeypatch.setattr(mounts, "MAX_LOWERS", 24)
    few, many = steps_on_steps(store, (32, 256))
    assert many <= 2 * few, "eight times as many below"
    assert len(list((store.root / "squashed").glob("*.layers"))) <= 264 / 8 + 264 / 64


def test_a_directory_that_goes_while_the_store_is_open(refs: RefManager) -> None:
    """What a process has seen once it does not look at again, but where it is missed: then it is made again."""
    tars = [make_tar([Row(f"f{n}", str(n).encode())]) for n in range(4)]
    image = refs.from_layers([layer(refs, tar) for tar in tars])
    top = step(refs, image, write(top="x"))
    assert names(top) == ["f0", "f1", "f2", "f3", "top"]
    for lost in refs.core.stack(image.id):
        shutil.rmtree(refs.root / "snapshots" / lost)
        if refs.snapshotter.name == "native":
            refs.core.squashed.clean(everything=True)
        assert names(top) == ["f0", "f1", "f2", "f3", "top"]
        with step(refs, top, write(more="y")) as more:
            assert names(more) == ["f0", "f1", "f2", "f3", "more", "top"]
    shutil.rmtree(refs.root / "snapshots" / top.id)
    if refs.snapshotter.name == "native":
        refs.core.squashed.clean(everything=True)
    with pytest.raises(StoreError, match="nothing is known that has it"):
        step(refs, top, write(more="y"))


def test_what_is_known_of_records_is_bounded() -> None:
    chains = Chains(most=10 + RECORD)
    for n in range(8):
        chains[str(n)] = [f"layer {i}" for i in range(n)]
        chains.trim()
        assert chains.get(str(n)) == tuple(f"layer {i}" for i in range(n)), "never the latest"
        assert chains.size <= 10 + RECORD
    chains["long"] = ["x"] * 20
    assert chains.trim() == ["7"]
    assert "long" in chains and chains.get("6") is None

    chains = Chains(most=100 * RECORD)
    for n in range(1000):
        chains[str(n)] = [str(n)]
        chains.trim()
    assert "999" in chains and "910" in chains and "890" not in chains, "a record with one name takes room, too"

    chains = Chains(most=10 + 3 * RECORD)
    chains["a"], chains["b"], chains["c"] = "x" * 4, "y" * 4, "z"
    assert chains["a"] == tuple("xxxx")
    chains["d"] = "1234"
    assert chains.trim() == ["b"], "the one that was used least lately"
    chains.drop("a")
    assert "a" not in chains and chains.size == 5 + 2 * RECORD
