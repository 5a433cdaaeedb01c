"""Refs: lazy image layers, steps on top of each other, merges, differences, blobs."""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dockc.errors import DigestMismatch, StoreError, UnsafePath
from dockc.oci import digest as digests
from dockc.oci.descriptor import Descriptor
from dockc.runtime.archive.compress import Compression, Decompressor
from dockc.runtime.cancel import Cancelled
from dockc.runtime.content.store import ContentStore
from dockc.runtime.refs.manager import RefManager, RefNotFound
from dockc.runtime.refs.ref import ImmutableRef
from dockc.runtime.refs.types import LayerDescriptor, Progress, RemoteOptions
from tests.runtime.store_helpers import Row, folder, hardlink, layer, make_tar, names_in, symlink, tree, write

GZIP, ZSTD, PLAIN = Compression("gzip"), Compression("zstd"), Compression("uncompressed")


def step(
    refs: RefManager, parent: ImmutableRef | None, *changes: Callable[[Path], object], name: str = ""
) -> ImmutableRef:
    with refs.new_mutable(parent, description=name) as made:
        with made.mount() as root:
            for change in changes:
                change(root)
        return made.commit()


def names(ref: ImmutableRef) -> list[str]:
    with ref.mount() as root:
        return sorted(path for path in tree(root) if path != ".")


def text(ref: ImmutableRef, name: str) -> str:
    with ref.mount() as root:
        return (root / name).read_text()


def members(refs: RefManager, descriptor: Descriptor) -> list[str]:
    with refs.content.open(descriptor.digest) as stream:
        data = Decompressor(stream).read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()


class Far:
    """A provider that remembers what was asked of it."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        self.blobs = blobs
        self.asked: list[str] = []

    def fetch(
        self,
        descriptor: Descriptor,
        content: ContentStore,
        *,
        cancelled: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.asked.append(descriptor.digest)
        with content.writer(descriptor.digest, descriptor.size, cancelled=cancelled) as writer:
            if not writer.complete:
                writer.write(self.blobs[descriptor.digest][writer.offset :])
            writer.commit()


def far_layer(tar: bytes, far: Far) -> LayerDescriptor:
    digest = digests.from_bytes(tar)
    far.blobs[digest] = tar
    return LayerDescriptor(digest, Descriptor(PLAIN.media_type, digest, len(tar)), far)


def test_steps(refs: RefManager) -> None:
    base = step(refs, None, write(a="1", dir__b="2"), lambda root: os.link(root / "a", root / "hard"))
    top = step(refs, base, write(c="3"), lambda root: (root / "dir/b").unlink())
    assert names(base) == ["a", "dir", "dir/b", "hard"]
    assert names(top) == ["a", "c", "dir", "hard"]
    other = step(refs, base, lambda root: (root / "a").write_text("changed"))
    assert (text(other, "a"), text(base, "a")) == ("changed", "1")


def test_a_mutable_ref_is_one_holders_and_one_mounts(refs: RefManager) -> None:
    made = refs.new_mutable()
    with made.mount() as root:
        (root / "f").write_text("1")
        with pytest.raises(StoreError, match="is mounted already"), made.mount():
            pass
        with pytest.raises(StoreError, match="is still mounted"):
            made.commit()
    with made.mount() as root:
        assert (root / "f").read_text() == "1"
    done = made.commit()
    made.release()
    assert text(done, "f") == "1"
    with pytest.raises(StoreError, match="has been committed or released"):
        made.commit()
    done.release()
    with pytest.raises(StoreError, match="has been released"):
        done.clone()


def test_what_is_given_up_is_gone(refs: RefManager) -> None:
    with refs.new_mutable() as made, made.mount() as root:
        (root / "f").touch()
    assert list((refs.root / "snapshots").iterdir()) == []
    assert refs.usage() == []
    with pytest.raises(RefNotFound):
        refs.get(made.id)


def test_rewriting_over_several_mounts(refs: RefManager) -> None:
    base = step(refs, None, write(a="1", b="1", d__x="1"))
    made = refs.new_mutable(base)
    with made.mount() as root:
        (root / "a").unlink()
        (root / "b").write_text("2")
    with made.mount() as root:
        assert sorted(names_in(root)) == ["b", "d"]
        (root / "a").write_text("again")
        (root / "d/x").unlink()
        (root / "d").rmdir()
    done = made.commit()
    assert names(done) == ["a", "b"]
    assert (text(done, "a"), text(done, "b")) == ("again", "2")


def test_the_root_directory_keeps_its_looks(refs: RefManager) -> None:
    base = step(refs, None, lambda root: root.chmod(0o711), lambda root: os.chown(root, 5, 6))
    top = step(refs, base, write(f="1"))
    with top.mount() as root:
        assert root.stat().st_mode & 0o7777 == 0o711
        assert (root.stat().st_uid, root.stat().st_gid) == (5, 6)


def test_images_are_lazy(refs: RefManager) -> None:
    far = Far({})
    chain = [
        far_layer(make_tar([folder("etc", 0o700), Row("etc/a", b"1"), Row("gone")]), far),
        far_layer(make_tar([Row("etc/b", b"2"), Row(".wh.gone")]), far),
    ]
    image = refs.from_layers(chain, description="an image")
    assert far.asked == []
    assert all(record.lazy for record in refs.usage())
    assert refs.exists(image.id)
    again = refs.from_layers(chain)
    assert again.id == image.id
    assert names(image) == ["etc", "etc/a", "etc/b"]
    assert sorted(far.asked) == sorted(item.descriptor.digest for item in chain)
    with image.mount() as root:
        assert (root / "etc").stat().st_mode & 0o777 == 0o700
    names(again)
    assert len(far.asked) == 2
    assert [item.descriptor for item in image.remote().layers] == [item.descriptor for item in chain]
    shorter = refs.from_layers(chain[:1])
    assert names(shorter) == ["etc", "etc/a", "gone"]
    assert len(far.asked) == 2


def test_a_lazy_image_is_exported_without_unpacking(refs: RefManager) -> None:
    far = Far({})
    image = refs.from_layers([far_layer(make_tar([Row("f", b"1")]), far)])
    top = step(refs, None, write(g="1"))
    merged = refs.merge([image, top])
    remote = merged.remote()
    assert far.asked == []
    assert remote.layers[0].provider is far
    refs.ensure_blobs(remote)
    assert len(far.asked) == 1
    assert all(refs.content.has(item.digest) for item in remote.descriptors)


def test_layers_that_lie(refs: RefManager) -> None:
    tar = make_tar([Row("f", b"1")])
    true = layer(refs, tar, GZIP)
    liar = refs.from_layers([LayerDescriptor(digests.from_bytes(b"other"), true.descriptor)])
    with (
        pytest.raises(DigestMismatch, match=f"layer {true.descriptor.digest}: unexpected digest: expected"),
        liar.mount(),
    ):
        pass
    far = Far({})
    wrong = far_layer(tar, far)
    far.blobs[wrong.descriptor.digest] = b"x" * len(tar)
    with pytest.raises(DigestMismatch, match="unexpected digest"), refs.from_layers([wrong]).mount():
        pass
    evil = refs.from_layers([layer(refs, make_tar([Row("../../evil")]))])
    with pytest.raises(UnsafePath, match="leads out of its root"), evil.mount():
        pass
    lost = refs.from_layers([LayerDescriptor(digests.from_bytes(b"!"), Descriptor("", digests.from_bytes(b"?"), 1))])
    with pytest.raises(StoreError, match="is not in the store, and nothing is known that has it"), lost.mount():
        pass
    assert not refs.exists(lost.id)
    assert not any((refs.root / "snapshots").iterdir()), "nothing half unpacked is left"
    assert names_in(refs.staging) <= {"empty"}


def test_trailing_bytes_are_part_of_the_digest(refs: RefManager) -> None:
    tar = make_tar([Row("f", b"1")]) + b"\0" * 10240
    assert names(refs.from_layers([layer(refs, tar, ZSTD)])) == ["f"]


def test_merge(refs: RefManager) -> None:
    one = step(refs, None, write(dir__a="1", both="one", x="file"))
    two = step(refs, None, write(dir__b="2", both="two", x__y="dir"), lambda root: (root / "dir").chmod(0o700))
    three = step(refs, step(refs, None, write(both="old", dir__a="old")), lambda root: (root / "dir/a").unlink())
    merged = refs.merge([one, two])
    assert names(merged) == ["both", "dir", "dir/a", "dir/b", "x", "x/y"]
    assert text(merged, "both") == "two"
    with merged.mount() as root:
        assert (root / "dir").stat().st_mode & 0o777 == 0o700
    assert names(refs.merge([one, two, three])) == ["both", "dir", "dir/b", "x", "x/y"], "deletions count"
    assert refs.merge([merged]).id == merged.id
    assert refs.merge([refs.scratch(), merged, refs.scratch()]).id == merged.id
    assert names(refs.merge([])) == []
    on_top = step(refs, merged, write(new="1"))
    assert "new" in names(on_top)
    assert [len(members(refs, item)) for item in on_top.remote(RemoteOptions(PLAIN)).descriptors] == [4, 5, 1]


def test_difference_of_known_layers(refs: RefManager) -> None:
    base = step(refs, None, write(a="1", b="1"))
    middle = step(refs, base, write(c="2"))
    top = step(refs, middle, lambda root: (root / "a").unlink())
    change = refs.diff(base, top)
    assert names(change) == ["c"]
    assert names(refs.merge([base, change])) == names(top)
    assert [item.digest for item in change.remote().descriptors] == [i.digest for i in top.remote().descriptors[1:]]
    assert names(refs.diff(base, base)) == []
    assert refs.diff(None, top).id == top.id
    assert names(refs.diff(None, None)) == []
    assert names(refs.diff(refs.scratch(), base)) == ["a", "b"]
    assert text(step(refs, change, write(d="x")), "d") == "x"


def test_a_difference_holds_only_what_was_changed(refs: RefManager) -> None:
    base = step(refs, None, write(dir__kept="1", dir__deep__gone="1", whole__old="1", plain__x="1"))

    def change(root: Path) -> None:
        with (root / "dir/kept").open("r+b"):
            pass
        (root / "plain/tmp").touch()
        (root / "plain/tmp").unlink()
        (root / "dir/deep/gone").unlink()
        shutil.rmtree(root / "whole")
        (root / "whole").mkdir()
        (root / "whole/new").write_text("2")

    top = step(refs, base, change)
    difference = refs.diff(base, top)
    assert names(difference) == ["dir", "dir/deep", "whole", "whole/new"]

    def owned(root: Path) -> None:
        (root / "plain").chmod(0o711)

    other = step(refs, None, write(plain__own="1", whole__other="1", dir__kept="3"), owned)
    merged = refs.merge([other, difference])
    assert names(merged) == ["dir", "dir/deep", "dir/kept", "plain", "plain/own", "whole", "whole/new", "whole/other"]
    assert text(merged, "dir/kept") == "3", "what was only opened is not put over what is there"
    with merged.mount() as root:
        assert (root / "plain").stat().st_mode & 0o777 == 0o711
    assert names(refs.merge([base, difference])) == names(top)
    on_top = step(refs, merged, write(more="1"))
    assert "whole/other" in names(on_top), "also for what stands on the combination"
    assert [item.digest for item in difference.remote().descriptors] == [i.digest for i in top.remote().descriptors[1:]]
    assert (refs.root / "snapshots" / merged.id / "moved").is_dir()
    on_top.release()
    merged.release()
    refs.prune()
    assert not (refs.root / "snapshots" / merged.id).exists(), "it goes with the combination"


def test_a_directory_that_was_only_touched_is_no_difference_of_strangers(refs: RefManager) -> None:
    one, two = step(refs, None, write(dir__a="1")), step(refs, None, write(dir__a="1", z="1"))
    with one.mount() as left:
        when = (left / "dir/a").stat().st_mtime_ns
    three = step(
        refs,
        two,
        lambda root: os.utime(root / "dir/a", ns=(when, when)),
        lambda root: os.utime(root / "dir", ns=(1, 1)),
    )
    assert names(refs.diff(one, three)) == ["z"]


def test_difference_of_strangers(refs: RefManager) -> None:
    def linked(root: Path) -> None:
        os.link(root / "only", root / "only2")

    one = step(refs, None, write(same="1", changed="1", gone__deep="1"))
    two = step(refs, None, write(same="1", changed="2", only="3"), linked)
    with one.mount() as left, two.mount() as right:
        when = (left / "same").stat().st_mtime_ns
    three = step(refs, two, lambda root: os.utime(root / "same", ns=(when, when)))
    del left, right
    change = refs.diff(one, three)
    assert names(change) == ["changed", "only", "only2"]
    assert sorted(members(refs, change.remote(RemoteOptions(PLAIN)).descriptors[0])) == [
        ".wh.gone", "changed", "only", "only2",
    ]  # fmt: skip
    assert names(refs.merge([one, change])) == names(three)
    nothing = refs.diff(one, None)
    assert names(refs.merge([one, nothing])) == []


def test_blobs_are_made_once_in_each_form_and_deterministic(refs: RefManager) -> None:
    ref = step(refs, None, write(a="1" * 5000, dir__b="2"))
    first = ref.remote(RemoteOptions(GZIP))
    assert ref.remote(RemoteOptions(GZIP)) == first
    assert ref.layers()[0] is not None
    zstd, plain = ref.remote(RemoteOptions(ZSTD)), ref.remote(RemoteOptions(PLAIN))
    assert {first.diff_ids, zstd.diff_ids} == {plain.diff_ids}
    assert plain.descriptors[0].digest == plain.diff_ids[0]
    assert [r.descriptors[0].media_type.rpartition(".")[2] for r in (first, zstd, plain)] == [
        "tar+gzip",
        "tar+zstd",
        "tar",
    ]
    for remote in (first, zstd, plain):
        assert members(refs, remote.descriptors[0]) == ["a", "dir", "dir/b"]
    refs.content.remove(first.descriptors[0].digest)
    assert ref.remote(RemoteOptions(GZIP)) == first
    epoch = ref.remote(RemoteOptions(PLAIN, rewrite_timestamp=1))
    assert epoch.diff_ids != plain.diff_ids
    assert ref.remote(RemoteOptions(PLAIN)) == plain


def test_base_blobs_stay_as_they_came_unless_forced(refs: RefManager) -> None:
    tar = make_tar([Row("f", b"1" * 3000)])
    base = refs.from_layers([layer(refs, tar, Compression("gzip", 1))])
    came = base.remote(RemoteOptions(ZSTD, rewrite_timestamp=1)).layers[0]
    assert came.descriptor == layer(refs, tar, Compression("gzip", 1)).descriptor
    forced = base.remote(RemoteOptions(Compression("zstd", force=True))).layers[0]
    assert forced.descriptor.media_type.endswith("zstd")
    assert forced.diff_id == came.diff_id
    assert members(refs, forced.descriptor) == ["f"]


def test_what_was_only_touched_is_not_exported(store: RefManager) -> None:
    base = step(store, None, write(a="1", dir__b="2"))

    def look(root: Path) -> None:
        with (root / "dir/b").open("r+b"):
            pass  # overlayfs copies it up
        (root / "tmp").touch()
        (root / "tmp").unlink()

    top = step(store, base, look)
    assert (store.root / "snapshots" / top.id / "fs/dir/b").exists()
    assert members(store, top.remote(RemoteOptions(PLAIN)).descriptors[1]) == []


def test_metadata_is_found_again(tmp_path: Path, refs: RefManager) -> None:
    ref = step(refs, None, write(a="1"), name="mine")
    ref.set_meta("key", b"value")
    assert refs.find("key", b"value") == (ref.id,)
    assert refs.find("key", b"other") == ()
    with RefManager(refs.root) as second:
        assert second.find("key", b"value") == (ref.id,)
        with second.get(ref.id) as same:
            assert same.get_meta("key") == b"value"
            assert same.description == "mine"
            assert names(same) == ["a"]
    ref.set_meta("key", None)
    assert refs.find("key", b"value") == ()


def test_retained_mutable_refs(refs: RefManager) -> None:
    made = refs.new_mutable(retain=True)
    made.set_meta("local", b"context")
    with made.mount() as root:
        (root / "f").touch()
    assert refs.find_mutable("local", b"context") is None, "busy"
    made.release()
    found = refs.find_mutable("local", b"context")
    assert found is not None
    with found.mount() as root:
        assert names_in(root) == {"f"}
    found.commit().release()
    assert refs.find_mutable("local", b"context") is None


def test_a_chain_deeper_than_any_mount(store: RefManager) -> None:
    chain = [
        layer(store, make_tar([folder("d"), Row(f"d/f{n}", b"x"), Row("last", str(n).encode())])) for n in range(640)
    ]
    chain[300] = layer(store, make_tar([folder("d"), Row("d/.wh.f7"), Row("d/.wh.f299"), symlink("link", "last")]))
    chain[450] = layer(
        store, make_tar([folder("d"), Row("d/.wh..wh..opq"), Row("d/f450", b"x"), hardlink("h", "d/f450")])
    )
    image = store.from_layers(chain)
    with image.mount() as root:
        assert sorted(names_in(root / "d")) == sorted(f"f{n}" for n in range(450, 640))
        assert (root / "link").read_text() == "639"
    half = store.from_layers(chain[:420])
    with half.mount() as root:
        present = {f"f{n}" for n in range(420)} - {"f7", "f299", "f300"}
        assert names_in(root / "d") == present
    top = step(store, image, write(new="1"), lambda root: (root / "d/f500").unlink())
    assert "d/f500" not in names(top)
    assert "d/f501" in names(top)


def test_steps_beyond_the_recursion_limit(store: RefManager) -> None:
    chain = [layer(store, make_tar([Row("f", str(n).encode())])) for n in range(3)]
    tar = make_tar([Row("f", b"same")])
    many = [layer(store, make_tar([Row("f", b"0")])), *(layer(store, tar) for _ in range(2500))]
    image = store.from_layers(many)
    assert len(image.layers()) == 2501
    assert len(store.merge([image, store.from_layers(chain)]).layers()) == 2504


def test_an_opaque_root_hides_everything_below(refs: RefManager) -> None:
    image = refs.from_layers(
        [layer(refs, make_tar([Row("a")])), layer(refs, make_tar([Row(".wh..wh..opq"), Row("b")]))]
    )
    assert names(image) == ["b"]
    assert names(step(refs, image, write(c="1"))) == ["b", "c"]


def test_views_cannot_be_written(store: RefManager) -> None:
    ref = step(store, None, write(a="1"))
    with ref.mount() as root, pytest.raises(OSError, match="Read-only file system"):
        (root / "b").touch()


def test_native_is_chosen_where_overlayfs_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A store on a file system that cannot carry an overlay: another overlay."""
    from dockc.runtime.snapshot.mounts import mount_overlay, unmount
    from tests.runtime.store_helpers import need_mounts

    need_mounts()
    for name in ("lower", "upper", "work", "here"):
        (tmp_path / name).mkdir()
    mount_overlay([tmp_path / "lower"], tmp_path / "here", upper=tmp_path / "upper", work=tmp_path / "work")
    try:
        with RefManager(tmp_path / "here" / "store") as refs:
            base = step(refs, None, write(a="1"))
            top = step(refs, base, write(b="2"), lambda root: (root / "a").unlink())
            assert names(top) == ["b"]
            assert refs.snapshotter.name in ("native", "overlay")
            if refs.snapshotter.name == "native":
                assert "overlayfs cannot be mounted" in caplog.text
    finally:
        unmount(tmp_path / "here")


def test_one_failed_transfer_ends_the_others(refs: RefManager) -> None:
    far = Far({})
    chain = [far_layer(make_tar([Row(f"f{n}")]), far) for n in range(3)]
    waiting = threading.Event()

    class Slow(Far):
        def fetch(
            self,
            descriptor: Descriptor,
            content: ContentStore,
            *,
            cancelled: threading.Event | None = None,
            progress: Progress | None = None,
        ) -> None:
            assert cancelled is not None
            waiting.set()
            assert cancelled.wait(30), "told to stop"
            raise Cancelled

    class Broken(Slow):
        def fetch(self, *arguments: object, **options: object) -> None:
            waiting.wait(30)
            raise StoreError("the other side is gone")

    slow, broken = Slow({}), Broken({})
    image = refs.from_layers(
        [dataclasses.replace(chain[0], provider=slow), dataclasses.replace(chain[1], provider=broken), chain[2]]
    )
    with pytest.raises(StoreError, match="the other side is gone"):
        image.prefetch()
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        refs.from_layers([dataclasses.replace(chain[0], provider=slow)]).prefetch(cancelled=stop)


def test_who_needs_a_layer_fetches_it_where_whoever_named_it_cannot(refs: RefManager) -> None:
    class Refused(Far):
        def fetch(self, descriptor: Descriptor, *arguments: object, **options: object) -> None:
            self.asked.append(descriptor.digest)
            raise StoreError("who are you?")

    own, refused, nobody = Far({}), Refused({}), Refused({})
    layer = dataclasses.replace(
        far_layer(make_tar([Row("f", b"f")]), own), provider=refused, origin="docker-image://r/a"
    )
    image = refs.from_layers([layer])
    with pytest.raises(StoreError, match="who are you"):
        image.prefetch(instead=(lambda origin: None, lambda origin: nobody))
    assert not own.asked and len(nobody.asked) == 1
    asked: list[str] = []

    def find(origin: str) -> Far:
        asked.append(origin)
        return own

    image.prefetch(instead=(lambda origin: nobody, find))
    assert asked == ["docker-image://r/a"] and len(own.asked) == 1
    # Where the one who named it can, nobody else is asked.
    other = far_layer(make_tar([Row("g", b"g")]), own)
    refs.from_layers([dataclasses.replace(other, origin="docker-image://r/a")]).prefetch(instead=(find,))
    assert len(asked) == 1


def test_what_only_the_database_remembers_of_a_place_is_given_up_together(tmp_path: Path) -> None:
    far = Far({})
    layers = [
        dataclasses.replace(far_layer(make_tar([Row("f", bytes(n))]), far), origin="docker-image://r/a")
        for n in range(3)
    ]
    with closing(RefManager(tmp_path / "store")) as first:
        ids = [first.from_layers([layer]).id for layer in layers]
    with closing(RefManager(tmp_path / "store", provider_factory=lambda origin: far)) as again:
        assert all(map(again.exists, ids))
        told = again.from_layers([layers[2]])
        again.abandon([layers[0].descriptor.digest])
        assert [again.exists(one) for one in ids] == [False, False, True]
        told.prefetch()


def test_the_first_layers_are_unpacked_while_others_come(refs: RefManager) -> None:
    """A layer that never comes does not keep those below it from being unpacked; the next try goes on from there."""
    far = Far({})
    chain = [far_layer(make_tar([Row(f"f{n}", bytes(n))]), far) for n in range(3)]
    lowest = refs.from_layers(chain[:1])
    unpacked = threading.Event()

    class Late(Far):
        def fetch(
            self,
            descriptor: Descriptor,
            content: ContentStore,
            *,
            cancelled: threading.Event | None = None,
            progress: Progress | None = None,
        ) -> None:
            assert cancelled is not None
            while not refs.core.has_directory(lowest.id):
                assert not cancelled.wait(0.01), "nobody was unpacked meanwhile"
            unpacked.set()
            raise StoreError("the other side is gone")

    image = refs.from_layers([*chain[:2], dataclasses.replace(chain[2], provider=Late({}))])
    with pytest.raises(StoreError, match="the other side is gone"), image.mount():
        pass
    assert unpacked.is_set() and names(lowest) == ["f0"]
    assert names(refs.from_layers(chain)) == ["f0", "f1", "f2"]
    assert sorted(far.asked) == sorted({layer.descriptor.digest for layer in chain}), "each was fetched once"


def test_a_step_that_touches_nothing(refs: RefManager) -> None:
    far = Far({})
    base = refs.from_layers([far_layer(make_tar([folder("d", 0o700), Row("f", b"1")]), far)])
    done = refs.new_mutable(base).commit()
    assert names(done) == ["d", "f"]
    assert members(refs, done.remote(RemoteOptions(PLAIN)).descriptors[1]) == []


def test_equal_combinations_are_one_ref(refs: RefManager) -> None:
    one, two = step(refs, None, write(a="1")), step(refs, None, write(b="1"))
    top = step(refs, one, write(c="1"))
    assert refs.scratch().id == refs.scratch().id == refs.from_layers(()).id
    assert refs.merge([one, two]).id == refs.merge([one, two]).id != refs.merge([two, one]).id
    assert refs.diff(one, top).id == refs.diff(one, top).id
