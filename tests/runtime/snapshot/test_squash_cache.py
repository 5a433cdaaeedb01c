"""Squashed stacks that several use and others clean away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockc.runtime.content.locks import lock_file
from dockc.runtime.snapshot import squash
from dockc.runtime.snapshot.squash import SquashCache

OPAQUE = "user.overlay.opaque"


@pytest.fixture
def layers(tmp_path: Path) -> Iterator[list[Path]]:
    made = []
    for number in range(3):
        layer = tmp_path / f"layer-{number}"
        layer.mkdir()
        (layer / f"file-{number}").write_text(str(number))
        made.append(layer)
    yield made


def test_what_is_cleaned_leaves_nothing(tmp_path: Path, layers: list[Path]) -> None:
    cache = SquashCache(tmp_path / "squashed", OPAQUE)
    with cache.squashed(layers, plain=True) as place:
        assert sorted(one.name for one in place.iterdir()) == ["file-0", "file-1", "file-2"]
        assert cache.clean(everything=True) == 0, "it is in use"
    assert cache.clean() == 0, "its layers are there"
    assert cache.clean(everything=True) == 1
    assert list((tmp_path / "squashed").iterdir()) == []


def test_the_lock_is_that_of_the_directory_which_is_there(
    tmp_path: Path, layers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one waits for the lock, the directory is cleaned away with it and made anew by another one."""
    root = tmp_path / "squashed"
    cache = SquashCache(root, OPAQUE)
    with cache.squashed(layers, plain=True):
        pass
    meanwhile = [True]

    def late(path: Path, *, shared: bool = False) -> int:
        taken = lock_file(path, shared=shared)
        if meanwhile.pop():
            meanwhile.append(False)
            os.close(taken)  # whoever cleans has it now; we have opened its file
            taken = os.open(path, os.O_RDWR)
            assert cache.clean(everything=True) == 1
            meanwhile.append(False)
            with SquashCache(root, OPAQUE).squashed(layers, plain=True):
                pass
        meanwhile.append(False)
        return taken

    monkeypatch.setattr(squash, "lock_file", late)
    with cache.squashed(layers, plain=True) as place:
        monkeypatch.undo()
        assert cache.clean(everything=True) == 0
        assert len(list(place.iterdir())) == 3


def test_nothing_is_cleaned_away_under_who_uses_it(tmp_path: Path, layers: list[Path]) -> None:
    """Who waits for the lock of what another one removes takes none that nobody else looks at."""
    root = tmp_path / "squashed"

    def use(number: int) -> list[int]:
        cache, seen = SquashCache(root, OPAQUE), []
        for turn in range(100):
            if number % 2:
                cache.clean(everything=True)
                continue
            with cache.squashed(layers[turn % 2 :], plain=True) as place:
                seen += [len(list(place.iterdir())) - (3 - turn % 2) for _ in range(3)]
        return seen

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(use, range(6)))
    assert [set(seen) for seen in found[::2]] == [{0}] * 3
    SquashCache(root, OPAQUE).clean(everything=True)
    assert list(root.iterdir()) == []
