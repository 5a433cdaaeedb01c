"""What one image says of itself, and what a disk does to a blob, never reaches another image or a later build."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from dockc.errors import DigestMismatch, StoreError
from dockc.oci import digest as digests
from dockc.oci.config import chain_id
from dockc.oci.descriptor import Descriptor
from dockc.runtime.archive.compress import Compression, compress_bytes
from dockc.runtime.refs import database
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.ref import ImmutableRef
from dockc.runtime.refs.types import LayerDescriptor, RemoteOptions, blob_chains
from tests.runtime.refs.test_refs import Far, far_layer, names, step
from tests.runtime.store_helpers import Row, layer, make_tar, write

GZIP = Compression("gzip", 1)


def claimed(refs: RefManager, tar: bytes, blob: bytes) -> LayerDescriptor:
    """A layer whose image says that `blob` holds `tar`."""
    digest = refs.content.put(blob)
    return LayerDescriptor(digests.from_bytes(tar), Descriptor(GZIP.media_type, digest, len(blob)))


def is_proven(refs: RefManager, layers: list[LayerDescriptor]) -> bool:
    return refs.is_proven(blob_chains(layers)[-1], chain_id(layer.diff_id for layer in layers))


def damage(refs: RefManager, digest: str) -> Path:
    """Change one byte in the middle of a blob, as a disk does."""
    path = refs.content.path(digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("lie", ["cut off", "other content"])
def test_a_bad_image_leaves_a_good_one_with_the_same_diff_ids_alone(refs: RefManager, lie: str) -> None:
    tar = make_tar([Row("f", b"good")])
    packed = compress_bytes(tar, GZIP)
    bad = claimed(refs, tar, packed[:-20] if lie == "cut off" else compress_bytes(make_tar([Row("f", b"evil")]), GZIP))
    evil = refs.from_layers([bad])
    good = refs.from_layers([claimed(refs, tar, packed)])
    assert evil.id != good.id
    assert not is_proven(refs, [bad]), "nobody has looked yet"
    with pytest.raises(StoreError), evil.mount():
        pass
    assert not refs.exists(evil.id), "what failed is nothing to come back to"
    assert names(good) == ["f"]
    with good.mount() as root:
        assert (root / "f").read_bytes() == b"good"
    assert is_proven(refs, [claimed(refs, tar, packed)]) and not is_proven(refs, [bad])


def test_an_unproved_blob_is_never_exported_for_another_image(refs: RefManager) -> None:
    tar = make_tar([Row("f", b"good")])
    other = claimed(refs, tar, compress_bytes(make_tar([Row("f", b"evil")]), GZIP))
    refs.from_layers([other])
    true = claimed(refs, tar, compress_bytes(tar, GZIP))
    assert refs.from_layers([true]).remote(RemoteOptions(GZIP)).descriptors == (true.descriptor,)


def test_proved_layers_are_shared_whatever_their_compression(refs: RefManager) -> None:
    tars = [make_tar([Row("a", b"1")]), make_tar([Row("b", b"2")])]
    one = refs.from_layers([layer(refs, tar, GZIP) for tar in tars])
    names(one)
    two = [layer(refs, tar, Compression("zstd")) for tar in tars]
    other = refs.from_layers(two, description="pulled from somewhere")
    assert other.description == "pulled from somewhere"
    assert refs.core.stack(other.id) == refs.core.stack(one.id)
    assert not is_proven(refs, two), "these blobs have not been looked into"
    assert refs.from_layers(two[:1]).id != one.id
    assert refs.from_layers(two).id == other.id


def test_layers_that_are_shared_go_out_as_their_image_calls_them(refs: RefManager) -> None:
    """What is built on an image has its layers, whatever else the store has seen unpacked."""
    tars = [make_tar([Row(name, b"1")]) for name in "abcd"]
    one = [layer(refs, tar, GZIP) for tar in tars]
    two = [layer(refs, tar, Compression("zstd")) for tar in tars]
    first = refs.from_layers(one[:3])
    names(first)
    second = refs.from_layers(two[:2])
    on_first, on_second = step(refs, first, write(f="1")), step(refs, second, write(f="1"))
    # A layer that nobody has seen before stands on the shared ones of its own image.
    third = refs.from_layers([*two[:2], one[2], two[3]])
    on_third = step(refs, third, write(g="1"))
    moved = refs.diff(on_second, step(refs, on_second, write(h="1")))
    both = refs.merge([on_first, on_second, moved])
    mixed = [*two[:2], one[2], two[3]]
    wanted: dict[ImmutableRef, Sequence[LayerDescriptor | None]] = {
        first: one[:3], second: two[:2], third: mixed,
        on_first: one[:3], on_second: two[:2], on_third: mixed, moved: [],
        both: [*one[:3], None, *two[:2]],
    }  # fmt: skip
    refs.core.stacks.clear()
    refs.core.called.clear()
    for ref, layers in wanted.items():
        found = [have.descriptor for have in ref.remote(RemoteOptions(GZIP)).layers]
        for have, want in zip(found, layers, strict=False):
            assert want is None or have == want.descriptor
        assert [have.descriptor for have in ref.layers() if have] == found
        packed = ref.packed()
        assert packed is not None and list(packed.descriptors) == found
    assert names(on_third) == ["a", "b", "c", "d", "g"]
    assert len(both.remote().layers) == 3 + 1 + 2 + 1 + 1
    forced = second.remote(RemoteOptions(Compression("gzip", 1, force=True)))
    assert [made.diff_id for made in forced.layers] == [came.diff_id for came in two[:2]]
    assert not {made.descriptor.digest for made in forced.layers} & {came.descriptor.digest for came in two}


def test_a_name_of_a_layer_that_cannot_be_had_is_done_without(refs: RefManager) -> None:
    tar = make_tar([Row("f", b"1" * 5000)])
    one = layer(refs, tar, GZIP)
    names(refs.from_layers([one]))
    gone = layer(refs, tar, Compression("zstd"))
    other = refs.from_layers([gone])
    assert other.remote().descriptors == (gone.descriptor,)
    refs.content.remove(gone.descriptor.digest)
    assert other.remote().descriptors == (one.descriptor,)


def test_a_damaged_blob_is_fetched_anew_by_the_build_that_meets_it(refs: RefManager) -> None:
    far = Far({})
    one = far_layer(make_tar([Row("f", b"1" * 5000)]), far)
    image = refs.from_layers([one])
    refs.ensure_blobs(image.remote())
    assert len(far.asked) == 1
    damage(refs, one.descriptor.digest)
    assert names(image) == ["f"]
    assert len(far.asked) == 2
    assert refs.content.verify(one.descriptor.digest) == one.descriptor.size


def test_a_damaged_blob_is_not_exported(refs: RefManager) -> None:
    far = Far({})
    one = far_layer(make_tar([Row("f", b"1" * 5000)]), far)
    image = refs.from_layers([one])
    assert names(image) == ["f"]
    top = step(refs, image, write(g="2"))
    remote = top.remote(RemoteOptions(GZIP))
    for descriptor in remote.descriptors:
        damage(refs, descriptor.digest)
    again = top.remote(RemoteOptions(GZIP))
    refs.ensure_blobs(again)
    assert again.descriptors == remote.descriptors
    for descriptor in again.descriptors:
        refs.content.verify(descriptor.digest)
    assert len(far.asked) == 2


def test_a_damaged_blob_that_nobody_else_has_is_named(refs: RefManager) -> None:
    one = layer(refs, make_tar([Row("f", b"1" * 5000)]), GZIP)
    image = refs.from_layers([one])
    damage(refs, one.descriptor.digest)
    with pytest.raises(StoreError, match="was damaged in the store, and nothing is known that has it"), image.mount():
        pass
    assert not refs.content.has(one.descriptor.digest)


def test_a_lying_provider_is_no_damage(refs: RefManager) -> None:
    far = Far({})
    one = far_layer(make_tar([Row("f", b"1")]), far)
    liar = dataclasses.replace(one, diff_id=digests.from_bytes(b"other"))
    with pytest.raises(DigestMismatch, match="unexpected digest"), refs.from_layers([liar]).mount():
        pass
    assert far.asked == [one.descriptor.digest], "fetched once: the bytes are what the blob's digest says"
    assert names(refs.from_layers([one])) == ["f"]


def test_layers_of_an_older_store_are_proved_by_their_directories(tmp_path: Path) -> None:
    tars = [make_tar([Row("a", b"1")]), make_tar([Row("b", b"2")])]
    with RefManager(tmp_path / "s", snapshotter_name="native") as refs:
        layers = [layer(refs, tar, GZIP) for tar in tars]
        ids = []
        for count in (1, 2):
            with refs.from_layers(layers[:count]) as image:
                ids.append(image.id)
        with refs.get(ids[0]) as lower, lower.mount():
            pass
    chains = [layers[0].diff_id, digests.from_bytes(f"{layers[0].diff_id} {layers[1].diff_id}".encode())]
    with sqlite3.connect(tmp_path / "s" / "store.db") as old:
        for record, chain in zip(ids, chains, strict=True):
            old.execute("UPDATE record SET chain_id = ? WHERE id = ?", (chain, record))
        old.execute("DELETE FROM meta WHERE key = ?", (database.PROVEN,))
        old.execute("PRAGMA user_version=1")
    old.close()
    with RefManager(tmp_path / "s", snapshotter_name="native") as refs:
        assert refs.from_layers(layers[:1]).id == ids[0], "it is unpacked, so it was verified"
        assert refs.from_layers(layers).id != ids[1], "that one was only what an image had said"
