"""Layers as blobs: of many refs each layer is made and looked for once, several at a time, with the same bytes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dockc.errors import StoreError
from dockc.oci.descriptor import CREATED_AT
from dockc.runtime.cancel import Cancelled
from dockc.runtime.content.store import ContentStore
from dockc.runtime.refs import blobs, packing
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.ref import ImmutableRef
from tests.runtime.store_helpers import need_mounts


def chain(refs: RefManager, stack: ExitStack, count: int) -> list[ImmutableRef]:
    """Refs that stand one on the other."""
    found: list[ImmutableRef] = []
    for number in range(count):
        with refs.new_mutable(found[-1] if found else None) as made:
            with made.mount() as root:
                (root / f"f{number}").write_bytes(bytes([number]) * 3000)
            found.append(stack.enter_context(made.commit()))
    return found


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """The layers for which a function of the module is called."""
    found: list[str] = []
    inner: Callable[..., Any] = getattr(packing, name)

    def counted(core: object, layer: str, *rest: object) -> object:
        found.append(layer)
        return inner(core, layer, *rest)

    monkeypatch.setattr(packing, name, counted)
    return found


def test_each_layer_is_made_and_looked_for_once(store: RefManager, monkeypatch: pytest.MonkeyPatch) -> None:
    made, looked = count_calls(monkeypatch, "blob_of"), count_calls(monkeypatch, "blob_at_hand")
    with ExitStack() as stack:
        refs = chain(store, stack, 8)
        packed = store.packing(dated=True)
        packed.prepare([ref.id for ref in refs])
        remotes = [packed.remote(ref.id) for ref in refs]
        assert [len(one.layers) for one in remotes] == list(range(1, 9))
        assert len(made) == len(set(made)) == len(looked) == 8
        assert all(remotes[-1].layers[: len(one.layers)] == one.layers for one in remotes)
        assert all(CREATED_AT in layer.descriptor.annotations for layer in remotes[-1].layers)
        assert [ref.remote().diff_ids for ref in refs] == [one.diff_ids for one in remotes]
        assert len(made) == 8, "what is known to be sound is not made again"


def test_layers_are_made_at_the_same_time(store: RefManager, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2)
    inner = blobs.blob_of

    def waiting(*arguments: Any) -> Any:
        together.wait(30)
        return inner(*arguments)

    monkeypatch.setattr(packing, "blob_of", waiting)
    with ExitStack() as stack:
        assert len(chain(store, stack, 2)[-1].remote().layers) == 2


def test_bytes_do_not_depend_on_how_many_are_made_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_mounts()
    found = []
    for threads in (1, 4):
        monkeypatch.setattr(packing, "workers", lambda threads=threads: threads)
        with RefManager(tmp_path / f"store{threads}") as refs, ExitStack() as stack:
            below = stack.enter_context(refs.scratch())
            for number in range(6):
                with refs.new_mutable(below) as made:
                    with made.mount() as root:
                        (root / "f").write_bytes(bytes([number]) * 5000)

                        os.utime(root / "f", (number, number))
                        os.utime(root, (1, 1))
                    below = stack.enter_context(made.commit())
            found.append([one.digest for one in below.remote().descriptors])
    assert found[0] == found[1]
    assert len(set(found[0])) == 6


def test_one_layer_that_cannot_be_made_is_told(store: RefManager, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = blobs.blob_of
    with ExitStack() as stack:
        refs = chain(store, stack, 5)

        def broken(core: Any, layer: str, *rest: Any) -> Any:
            if layer == refs[2].id:
                raise StoreError("no room")
            return inner(core, layer, *rest)

        monkeypatch.setattr(packing, "blob_of", broken)
        with pytest.raises(StoreError, match="no room"):
            refs[-1].remote()
        cancelled = threading.Event()
        cancelled.set()
        with pytest.raises(Cancelled):
            refs[-1].remote(cancelled=cancelled)


def test_blobs_that_were_not_read_yet_are_verified_once(store: RefManager, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    verify = ContentStore.verify

    def counted(self: ContentStore, digest: str, cancelled: threading.Event | None = None) -> int:
        verified.append(digest)
        return verify(self, digest, cancelled)

    with ExitStack() as stack:
        top = chain(store, stack, 4)[-1]
        remote = top.remote()
        store.content._checked.clear()  # as another process would find it
        monkeypatch.setattr(ContentStore, "verify", counted)
        store.ensure_blobs(remote)
        store.ensure_blobs(top.remote())
    assert sorted(verified) == sorted(one.digest for one in remote.descriptors)
