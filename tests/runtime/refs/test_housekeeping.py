"""Cache directories, usage, pruning, and the doctor."""

from __future__ import annotations

import errno
import io
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from dockc.errors import StoreError, UsageError
from dockc.runtime.cancel import Cancelled
from dockc.runtime.content.errors import store_error
from dockc.runtime.content.store import ContentStore
from dockc.runtime.kernel import syscalls
from dockc.runtime.refs.manager import RefManager, RefNotFound
from dockc.runtime.refs.plan import matcher
from dockc.runtime.refs.policy import Disk, Policy, Rule, Space, check_filters
from dockc.runtime.refs.types import RecordType, Sharing
from dockc.runtime.refs.usage import disk_usage
from dockc.runtime.store.doctor import Problem, examine
from dockc.solver.cache.storage.base import CacheResult
from dockc.solver.cache.storage.sqlite import SqliteKeyStorage
from tests.runtime.refs.test_refs import Far, far_layer, names, step
from tests.runtime.store_helpers import Row, layer, make_tar, names_in, need_mounts, write


def test_cache_directories_persist(refs: RefManager) -> None:
    with refs.cache_dir("apt") as place:
        (place / "f").write_text("1")
    with refs.cache_dir("apt", Sharing.PRIVATE) as place:
        assert (place / "f").read_text() == "1"
    with refs.cache_dir("other") as place:
        assert list(place.iterdir()) == []
    with RefManager(refs.root) as second, second.cache_dir("apt", Sharing.LOCKED) as place:
        assert (place / "f").exists()


def test_shared_by_many_private_for_one(refs: RefManager) -> None:
    with refs.cache_dir("k") as one, refs.cache_dir("k") as two:
        assert one == two
    with refs.cache_dir("p", Sharing.PRIVATE) as one, refs.cache_dir("p", Sharing.PRIVATE) as two:
        assert one != two
        (one / "f").touch()
    with refs.cache_dir("p", Sharing.PRIVATE) as again:
        assert again in (one, two)
    assert len([r for r in refs.usage() if r.record_type is RecordType.EXEC_CACHE_MOUNT]) == 3
    with refs.cache_dir("k", Sharing.LOCKED) as one, refs.cache_dir("k", Sharing.SHARED) as two:
        assert one != two, "a locked one is never shared"


def test_locked_waits(refs: RefManager) -> None:
    order: list[str] = []

    def use(name: str) -> None:
        with refs.cache_dir("k", Sharing.LOCKED) as place:
            order.append(f"{name} in")
            (place / "f").write_text(name)
            time.sleep(0.05)
            assert (place / "f").read_text() == name
            order.append(f"{name} out")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, "abcd"))
    assert all(order[n].split()[0] == order[n + 1].split()[0] for n in range(0, 8, 2))
    stop = threading.Event()
    with refs.cache_dir("k", Sharing.LOCKED):
        threading.Timer(0.1, stop.set).start()
        with pytest.raises(Cancelled), refs.cache_dir("k", Sharing.LOCKED, cancelled=stop):
            pass


def test_a_cache_directory_begins_as_its_base(refs: RefManager) -> None:
    base = step(refs, None, write(d__a="1"), lambda root: root.chmod(0o700), lambda root: os.chown(root / "d", 3, 4))
    with refs.cache_dir("k", base=base) as place:
        assert (place / "d/a").read_text() == "1"
        assert (place / "d").stat().st_uid == 3
        assert place.stat().st_mode & 0o777 == 0o700
        (place / "d/a").write_text("2")
    with refs.cache_dir("k", base=base) as place:
        assert (place / "d/a").read_text() == "2"
    assert names(base) == ["d", "d/a"]
    with base.mount() as root:
        assert (root / "d/a").read_text() == "1"
    with refs.cache_dir("k") as place:
        assert list(place.iterdir()) == []


def test_usage(refs: RefManager) -> None:
    base = step(refs, None, lambda root: (root / "big").write_bytes(bytes(300_000)), name="base")
    top = step(refs, base, write(a="1"), name="top")
    far = Far({})
    lazy = refs.from_layers([far_layer(make_tar([Row("f", b"1" * 100_000)]), far)], description="image")
    by_name = {record.description: record for record in refs.usage()}
    assert by_name["base"].size >= 300_000
    assert not any(record.shared for record in by_name.values())
    assert by_name["top"].parents == (base.id,)
    assert (by_name["image"].lazy, by_name["image"].size) == (True, 0)
    lazy.prefetch()
    (image,) = [record for record in refs.usage() if record.description == "image"]
    assert not image.lazy
    assert image.size >= 200_000, "its blob and its directory"
    assert all(record.in_use for record in refs.usage())
    top.release()
    assert not next(r for r in refs.usage() if r.id == top.id).in_use


def test_pruning_takes_what_nobody_needs(refs: RefManager) -> None:
    removed: list[str] = []
    refs.core.on_removed = lambda record, _: removed.append(record)
    base = step(refs, None, write(a="1"), name="base")
    held = step(refs, base, write(b="1"), name="held")
    loose = step(refs, base, write(c="1"), name="loose")
    remote = loose.remote()
    base.release()
    loose.release()
    with refs.cache_dir("busy"), held.mount() as root:
        done = refs.prune()
        assert [record.description for record in done.records] == ["loose"]
        assert removed == [loose.id]
        assert sorted(names_in(root)) == ["a", "b"]
    assert not refs.content.has(remote.descriptors[1].digest)
    assert done.size > 4096
    with pytest.raises(RefNotFound):
        refs.get(loose.id)
    held.release()
    assert {record.description for record in refs.prune().records} == {"base", "held", "cached mount busy"}
    assert refs.usage() == []
    assert list((refs.root / "snapshots").iterdir()) == []


def test_pruning_policies(refs: RefManager) -> None:
    for name in ("one", "two", "three"):
        step(refs, None, lambda root: (root / "f").write_bytes(os.urandom(100_000)), name=name).release()
    step(refs, None, name="inner").release()
    refs.core.db.update(next(r.id for r in refs.usage() if r.description == "inner"), record_type="internal")
    assert refs.prune([Rule(keep_duration=3600 * 10**9)]).records == ()
    only = refs.prune([Rule(filters=("description~=^tw",))])
    assert [record.description for record in only.records] == ["two"]
    kept = refs.prune([Rule(max_used_space=150_000)])
    assert [record.description for record in kept.records] == ["one"], "least recently used first"
    assert [record.description for record in refs.prune().records] == ["three"]
    assert [record.description for record in refs.prune([Rule(all=True)]).records] == ["inner"]


def test_filters(refs: RefManager) -> None:
    step(refs, step(refs, None, name="base"), name="top").release()
    base, top = refs.usage()

    def matching(text: str) -> set[str]:
        return {record.description for record in (base, top) if matcher(check_filters([text]))(record)}

    assert matching("inuse") == matching("inuse==true") == {"base"}
    assert matching("shared") == set()
    assert matching("private") == matching("shared==false") == {"base", "top"}
    assert matching("parents") == matching("inuse==false") == {"top"}
    assert matching("description==top,type==regular") == {"top"}
    assert matching("description!=top") == matching(f"id=={base.id}") == {"base"}
    assert matching("mutable") == set()
    assert matching("immutable") == {"base", "top"}
    assert matching(f"parents=={base.id}") == {"top"}
    assert matching("") == {"base", "top"}
    for bad in ("colour==red", "description~=(", "type <", "id=x", "id=="):
        with pytest.raises(UsageError):
            check_filters([bad])


def test_pruning_frees_squashed_stacks(store: RefManager) -> None:
    chain = [layer(store, make_tar([Row(f"f{n}", b"x")])) for n in range(210)]
    with store.from_layers(chain) as image, image.mount():
        assert list((store.root / "squashed").glob("*.layers"))
        store.prune()
        assert list((store.root / "squashed").glob("*.layers")), "in use"
    store.prune()
    assert not list((store.root / "squashed").glob("*.layers"))
    assert not list((store.root / "snapshots").iterdir())


def test_sizes_of_what_is_being_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dir").mkdir()
    for name in ("a", "b", "dir/c"):
        (tmp_path / name).write_bytes(b"1" * 5000)
    whole = disk_usage(tmp_path)
    real = os.scandir

    def listing(folder: str) -> list[os.DirEntry[str]]:
        with real(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        (tmp_path / "a").unlink(missing_ok=True)
        (tmp_path / "dir/c").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(os, "scandir", listing)
    assert 5000 <= disk_usage(tmp_path) < whole


def test_two_prunes_and_builds_at_once(store: RefManager) -> None:
    failed: list[BaseException] = []
    until = time.monotonic() + 2

    def build(number: int) -> None:
        try:
            with RefManager(store.root) as refs:
                while time.monotonic() < until:
                    base = step(refs, None, write(a="same"))
                    top = step(refs, base, write(b="same"))
                    assert len(top.remote().layers) == 2
                    assert names(top) == ["a", "b"]
                    refs.ensure_blobs(top.remote())
                    for ref in (base, top):
                        ref.release()
                    if number:
                        refs.prune()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=build, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert examine(store).healthy


def problems(refs: RefManager, **options: object) -> list[tuple[Problem, bool]]:
    return sorted((f.problem, f.fixed) for f in examine(refs, **options).findings)  # type: ignore[arg-type]


def test_the_doctor(store: RefManager, tmp_path: Path) -> None:
    keys = SqliteKeyStorage(tmp_path / "cache.db")
    base = store.from_layers([layer(store, make_tar([Row("f", b"1")]))], description="image")
    names(base)
    top, other = step(store, base, write(g="1")), step(store, None, write(h="1"))
    above = step(store, other, write(i="1"))
    for number, ref in enumerate((base, top, other, above)):
        keys.add_result(f"key{number}", CacheResult(ref.id, 1))
    assert top.remote().layers[1].descriptor.size > 0
    assert examine(store, keys=keys).healthy
    blob = store.content.path(top.remote().descriptors[1].digest)
    blob.write_bytes(b"bad")
    (store.root / "snapshots" / "stranger").mkdir()
    shutil.rmtree(store.root / "snapshots" / base.id)
    shutil.rmtree(store.root / "snapshots" / other.id)
    keys.add_result("key9", CacheResult("gone", 1))
    found = [
        (Problem.BLOB_DAMAGED, False),
        (Problem.DIRECTORY_MISSING, False),
        (Problem.DIRECTORY_MISSING, False),
        (Problem.RESULT_MISSING, False),
        (Problem.DIRECTORY_UNKNOWN, False),
    ]
    assert problems(store, keys=keys) == sorted(found)
    assert not examine(store, keys=keys).healthy
    for ref in (other, above):
        ref.release()
    store.core.on_removed = keys.release
    report = examine(store, keys=keys, fix=True)
    assert report.healthy
    assert examine(store, keys=keys).findings == ()
    assert names(base) == ["f"], "unpacked again from its blob"
    assert names(top) == ["f", "g"]
    assert top.remote().layers[1].descriptor.size > 0
    assert store.exists(top.id)
    assert not store.exists(above.id)
    assert keys.result_ids() == tuple(sorted((base.id, top.id))) or set(keys.result_ids()) == {base.id, top.id}
    keys.close()


def test_the_doctor_leaves_what_is_held(store: RefManager) -> None:
    ref = step(store, None, write(a="1"))
    shutil.rmtree(store.root / "snapshots" / ref.id)
    assert problems(store, fix=True) == [(Problem.DIRECTORY_MISSING, False)]
    ref.release()
    assert problems(store, fix=True) == [(Problem.DIRECTORY_MISSING, True)]
    assert problems(store) == []


def test_the_store_keeps_to_its_share_of_the_disk(tmp_path: Path) -> None:
    need_mounts()
    place = tmp_path / "small"
    place.mkdir()
    syscalls.mount("tmpfs", str(place), "tmpfs", 0, "size=10m")
    rules = Policy(max_used_space=Space(4_000_000), min_free_space=Space(5_000_000)).on(Disk.of(place))
    try:
        with RefManager(place / "store") as refs:
            for number in range(8):
                step(refs, None, lambda root: (root / "f").write_bytes(os.urandom(900_000)), name=f"{number}").release()
            assert refs.collect([Rule(keep_duration=3600 * 10**9, max_used_space=1)]).records == (), "used just now"
            said = [refs.census().items[one.id].usage.description for one in refs.planned(rules).taken]
            gone = [record.description for record in refs.collect(rules).records]
            assert gone == said == [str(number) for number in range(len(gone))], "what was used longest ago first"
            assert sum(record.size for record in refs.usage()) <= 4_000_000
            assert Disk.of(place).free >= 5_000_000
            assert refs.collect(rules).records == ()
            assert refs.collect(Policy(enabled=False).on(Disk.of(place))).records == ()
    finally:
        syscalls.umount(str(place), syscalls.MNT_DETACH)


def test_letting_go_needs_no_space(refs: RefManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may be full just then; what this process held is free once it has ended."""
    held = refs.new_mutable().commit()

    def full(*args: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(refs._core.db, "unhold", full)
        held.release()
    assert refs.prune([Rule(all=True)]).records == ()
    again = refs.get(held.id)
    again.release()
    assert [one.id for one in refs.prune([Rule(all=True)]).records] == [held.id]


def test_clocks_that_jump_cost_no_running_build_its_blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blob that another process has just written looks old where the clock has jumped a year ahead or back."""
    with (
        RefManager(tmp_path / "s", snapshotter_name="native") as other,
        RefManager(tmp_path / "s", snapshotter_name="native") as refs,
    ):
        fresh = other.content.put(b"about to be used")
        for jump in (366 * 86400, -366 * 86400):
            with monkeypatch.context() as patch:
                now = time.time() + jump
                patch.setattr(time, "time", lambda now=now: now)
                patch.setattr(time, "time_ns", lambda now=now: int(now * 1e9))
                refs.prune([Rule(all=True)])
            assert refs.content.has(fresh)
        path = refs.content.path(fresh)
        lease = next(p for p in (tmp_path / "s/leases").iterdir() if p.name == other.core.lease.id)
        os.utime(path, (time.time() - 366 * 86400,) * 2)  # written after a jump back, while a build of before goes on
        os.utime(lease, (time.time(),) * 2)
        refs.prune([Rule(all=True)])
        assert not refs.content.has(fresh), "that it is old both ways is believed"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EIO, "reports an error (input/output error)"),
        (errno.ENOSPC, "is full"),
        (errno.EROFS, "cannot be written: Read-only file system"),
        (errno.EACCES, "cannot be written"),
        (errno.EPERM, "unpacking: Operation not permitted: f"),
        (errno.ENAMETOOLONG, "unpacking: File name too long: f"),
    ],
)
def test_errors_of_the_disk_are_told(tmp_path: Path, number: int, said: str) -> None:
    error = store_error(OSError(number, os.strerror(number), "f"), "unpacking", tmp_path)
    assert said in error.message


def test_a_disk_that_cannot_read_a_blob_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read error of a blob counts as damage: it is fetched anew."""
    far = Far({})
    one = far_layer(make_tar([Row("f", b"1" * 5000)]), far)
    with RefManager(tmp_path / "s", snapshotter_name="native") as refs:
        image = refs.from_layers([one])
        refs.ensure_blobs(image.remote())
        refs.content._checked.clear()
        opened = ContentStore.open
        broken = [True]

        class Broken(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        def failing(self: ContentStore, digest: str) -> BinaryIO:
            if broken:
                broken.clear()
                return Broken()
            return opened(self, digest)

        monkeypatch.setattr(ContentStore, "open", failing)
        refs.ensure_blobs(image.remote())
        assert len(far.asked) == 2
        assert names(image) == ["f"]
